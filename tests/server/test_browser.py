"""The page in a real browser, against the scripted engine."""

import threading
from collections.abc import Iterator

import pytest
from fake_engine import FakeEngine, app_of
from live_server import running, until
from page_steps import ask, check_light_goes_off, chromium, device, open_page
from playwright.sync_api import Browser, Page, expect

from openmimo.environments.car import LiveCar
from openmimo.environments.energy import LiveEnergy
from openmimo.environments.home import LiveHome

pytestmark = pytest.mark.browser

HOSTILE = '<img src=x onerror="document.title=1"><script>document.title=2</script><a href="javascript:1">x</a>'


def call_of(name: str) -> str:
    return f"<tool_call>\n<function=HassTurnOff>\n<parameter=name>{name}</parameter>\n</function>\n</tool_call>"


def light_off(prompt: str) -> str:
    if "<tool_response>" in prompt:
        return "<think></think>The kitchen light is off."
    return f"<think>1. kitchen light: kitchen light, on 80%</think>{call_of('kitchen light')}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_context(viewport={"width": 1280, "height": 800}) as context:
        yield context.new_page()


@pytest.fixture
def url(engine: FakeEngine) -> Iterator[str]:
    engine.script.reply = light_off
    with running(app_of(engine, LiveHome(), LiveCar(), LiveEnergy())) as url:
        yield url


def test_page_turns_the_kitchen_light_off(page: Page, url: str) -> None:
    check_light_goes_off(page, url)
    expect(page.locator(".said")).to_have_text("The kitchen light is off.")
    expect(page.locator(".card .argument")).to_have_text("namekitchen light")
    expect(page.locator(".card .result")).to_have_text("kitchen light: off")
    expect(page.locator(".stats")).to_contain_text("drafts")
    thought = page.locator(".thought").first
    expect(thought).to_be_hidden()
    page.locator(".thinking summary").first.click()
    expect(thought).to_have_text("1. kitchen light: kitchen light, on 80%")


def test_failed_call_is_shown_as_failed(page: Page, url: str, engine: FakeEngine) -> None:
    engine.script.reply = lambda prompt: "I found none." if "<tool_response>" in prompt else call_of("sauna")
    open_page(page, url)
    ask(page, "turn off the sauna")
    expect(page.locator(".card")).to_have_class("card error")
    expect(page.locator(".card .result")).to_contain_text("sauna")


def test_click_toggles_a_light_and_every_open_page_sees_it(page: Page, url: str) -> None:
    open_page(page, url)
    other = page.context.new_page()
    open_page(other, url)
    device(page, "kitchen light").locator(".badge").click()
    for each in (page, other):
        expect(device(each, "kitchen light")).to_have_attribute("data-state", "off")
    device(page, "kitchen light").focus()
    page.keyboard.press("Enter")
    expect(device(page, "kitchen light")).to_have_attribute("data-state", "on 80%")
    expect(device(page, "kitchen light")).to_have_attribute("aria-pressed", "true")


def test_text_of_the_model_is_never_markup(page: Page, url: str, engine: FakeEngine) -> None:
    engine.script.reply = lambda prompt: f"<think>{HOSTILE}</think>{HOSTILE}"
    problems = open_page(page, url)
    ask(page, HOSTILE)
    expect(page.locator(".said")).to_have_text(HOSTILE)
    expect(page.locator(".turn img, .turn script, .turn a")).to_have_count(0)
    assert page.title() == "openmimo · home"
    assert problems == []


def test_stop_button_cancels_the_reply(page: Page, url: str, engine: FakeEngine) -> None:
    engine.script.reply = lambda prompt: "word " * 2000
    engine.script.pause_s = 0.01
    open_page(page, url)
    page.fill("#prompt", "talk")
    page.keyboard.press("Enter")
    expect(page.locator(".said")).to_contain_text("word")
    page.click("#stop")
    until(engine.streams[0].is_cancelled.is_set, timeout_s=10.0)
    expect(page.locator(".problem")).to_have_text("Stopped.")
    expect(page.locator("#send")).to_be_visible()


def test_stop_during_prefill_cancels_too(page: Page, url: str, engine: FakeEngine) -> None:
    engine.script.gate = threading.Event()
    open_page(page, url)
    page.fill("#prompt", "talk")
    page.keyboard.press("Enter")
    until(lambda: len(engine.streams) == 1)
    page.keyboard.press("Escape")
    until(engine.streams[0].is_cancelled.is_set, timeout_s=10.0)


def test_errors_of_the_server_are_shown(page: Page, url: str, engine: FakeEngine) -> None:
    engine.script.is_full = True
    open_page(page, url)
    ask(page, "turn off the kitchen light")
    expect(page.locator(".problem")).to_contain_text("try again later")


@pytest.mark.parametrize(("width", "height", "scheme"), [(1280, 800, "light"), (380, 800, "dark")])
def test_layout_fits_the_window(browser: Browser, url: str, width: int, height: int, scheme: str) -> None:
    with browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme) as context:  # type: ignore[arg-type]
        page = context.new_page()
        open_page(page, url)
        ask(page, "turn off the kitchen light")
        overflow = "document.documentElement.scrollWidth - innerWidth"
        assert page.evaluate(overflow) <= 0
        for part in ("#plan svg", "#composer", ".card", ".stats"):
            box = page.locator(part).bounding_box()
            assert box is not None
            assert box["width"] > 100
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width
            assert box["y"] >= 0
            assert box["y"] + box["height"] <= height


def test_example_is_one_click_away(page: Page, url: str) -> None:
    open_page(page, url)
    page.get_by_role("button", name="turn off the kitchen light").click()
    expect(page.locator(".said")).to_have_text("The kitchen light is off.")
    expect(page.locator("#welcome")).to_have_count(0)


def trunk_open(prompt: str) -> str:
    if "<tool_response>" in prompt:
        return "<think></think>The trunk is open."
    if "yes" not in prompt.rpartition("<|im_start|>user")[2]:
        return "<think>trunk, closed</think>Shall I open the trunk?"
    parameters = "<parameter=name>trunk</parameter>\n<parameter=confirmed>true</parameter>\n"
    return f"<tool_call>\n<function=CarUnlock>\n{parameters}</function>\n</tool_call>"


def test_the_car_is_a_page_of_its_own(page: Page, url: str, engine: FakeEngine) -> None:
    problems = open_page(page, url)
    engine.script.reply = trunk_open
    page.get_by_role("link", name="car").click()
    trunk = device(page, "trunk")
    expect(trunk).to_have_attribute("data-state", "closed")
    assert page.title() == "openmimo · car"
    ask(page, "open the trunk")
    expect(page.locator(".said").last).to_have_text("Shall I open the trunk?")
    expect(trunk).to_have_attribute("data-state", "closed")
    ask(page, "yes")
    expect(trunk).to_have_attribute("data-state", "open")
    expect(page.locator(".card.ok code")).to_have_text("CarUnlock")
    device(page, "sunroof").locator(".badge").click()
    expect(device(page, "sunroof")).to_have_attribute("data-state", "closed")
    page.locator('.place[data-name="office"] .spot').click()
    page.get_by_role("button", name="+10 min").click()
    expect(page.locator(".note").first).to_contain_text("driving to office")
    page.get_by_role("link", name="home").click()
    expect(device(page, "kitchen light")).to_have_attribute("data-state", "on 80%")
    expect(page.locator(".turn")).to_have_count(0)
    page.go_back()
    expect(page.locator(".turn")).to_have_count(4)  # each world keeps its own talk
    assert problems == []


def test_a_person_may_do_more_than_the_model_and_is_told_what_was_refused(page: Page, url: str) -> None:
    problems = open_page(page, url)
    robot = device(page, "vacuum")
    robot.locator(".badge").click()
    expect(robot).to_have_attribute("data-state", "cleaning living room 100%")
    robot.focus()
    page.keyboard.press("Enter")
    expect(robot).to_have_attribute("data-state", "returning 100%")
    page.goto(f"{url}/#car")
    page.locator('.place[data-name="beach"] .hit').click()
    expect(page.locator("#notice")).to_have_text(
        "The battery is too low for beach. Choose a charging stop on the map, or charge more."
    )
    device(page, "driver seat").locator(".badge").click()
    expect(page.locator("#notice")).to_be_hidden()
    expect(device(page, "driver seat")).to_have_attribute("data-state", "level 1")
    page.get_by_label("Charge to").select_option("90%")
    page.get_by_role("button", name="Warmer").click()
    expect(device(page, "climate")).to_have_attribute("data-state", "on, set to 22 °C")
    page.get_by_label("Leave at").fill("09:00")
    page.get_by_role("button", name="Set", exact=True).click()
    page.locator('.place[data-name="belmo charger"] .hit').click()
    expect(page.locator(".note").nth(1)).to_have_text("leaves for beach at 09:00")
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    page.get_by_role("button", name="Cancel trip").click()
    expect(page.locator(".note").nth(1)).to_have_text("charging to 90%")
    assert problems == []


def test_energy_shows_what_is_planned(page: Page, url: str) -> None:
    problems = open_page(page, f"{url}/#energy")
    expect(device(page, "dishwasher")).to_have_attribute("data-state", "not planned")
    body = {"name": "ScheduleAppliance", "arguments": {"name": "dishwasher", "start": 10}}
    assert page.request.post(f"{url}/worlds/energy/call", data=body).ok
    expect(device(page, "dishwasher")).to_have_attribute("data-state", "planned 10:00")
    expect(device(page, "dishwasher").locator(".span")).to_have_count(1)
    device(page, "dishwasher").click()
    expect(device(page, "dishwasher")).to_have_attribute("data-state", "not planned")
    page.get_by_label("What to run").select_option("sauna")
    page.get_by_label("Hour", exact=True).select_option("9")
    page.get_by_role("button", name="Plan", exact=True).click()
    expect(device(page, "sauna")).to_have_attribute("data-state", "planned 09:00")
    page.get_by_label("What to run").select_option("car")
    for hour in ("9", "11"):
        page.get_by_label("Hour", exact=True).select_option(hour)
        page.get_by_role("button", name="Plan", exact=True).click()
    expect(device(page, "car")).to_have_attribute("data-state", "40%, planned 09:00, 11:00")
    device(page, "car").locator(".lane").click()
    expect(device(page, "car")).to_have_attribute("data-state", "40%")
    assert problems == []
