"""Steps on the page that tests with a scripted engine and tests with a real model share."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM_ARGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def find_chromium() -> str:
    """Path of a Chromium; skips the test, saying why, where there is none."""
    found = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    if found is None:
        pytest.skip(f"no Chromium: none of {', '.join(CHROMIUM_NAMES)} is on PATH (apt-get install chromium)")
    return found


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run a headless Chromium."""
    path = find_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(CHROMIUM_ARGS))
        yield browser
        browser.close()


def open_page(page: Page, url: str) -> list[str]:
    """Open the page and wait for the floor plan; gives the list that errors of the page are added to."""
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(url)
    expect(page.locator(".device")).not_to_have_count(0)
    return problems


def device(page: Page, name: str):
    """The device's mark on the floor plan."""
    return page.locator(f'.device[data-name="{name}"]')


def ask(page: Page, text: str, timeout_s: float = 10.0) -> None:
    """Send a turn and wait until the agent is done."""
    page.fill("#prompt", text)
    page.keyboard.press("Enter")
    expect(page.locator(".turn.agent").last).to_be_visible()
    expect(page.locator(".turn.agent.busy")).to_have_count(0, timeout=timeout_s * 1000)


def check_light_goes_off(page: Page, url: str, timeout_s: float = 10.0) -> None:
    """The page answers "turn off the kitchen light" by doing it."""
    problems = open_page(page, url)
    light = device(page, "kitchen light")
    expect(light).to_have_attribute("data-state", "on 80%")
    ask(page, "turn off the kitchen light", timeout_s)
    card = page.locator(".card").last
    expect(card.locator("code")).to_have_text("HassTurnOff")
    expect(card).to_have_class("card ok")
    expect(light).to_have_attribute("data-state", "off")
    expect(page.locator(".said").last).not_to_be_empty()
    expect(page.locator(".stats").last).to_contain_text("tok/s")
    assert problems == []
