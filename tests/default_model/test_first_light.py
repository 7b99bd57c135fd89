"""First light: the real server with the model in the package, talked to by a browser and by the openai client."""

from collections.abc import Iterator

import openai
import pytest
from live_server import running
from page_steps import check_light_goes_off, chromium

import openmimo
from openmimo.environments.home import LiveHome, demo_home
from openmimo.server.app import create_app


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with openmimo.load() as engine, running(create_app(engine, [LiveHome(demo_home())])) as url:
        yield url


@pytest.mark.browser
def test_page_turns_the_kitchen_light_off(url: str):
    with chromium() as browser, browser.new_context(viewport={"width": 1280, "height": 800}) as context:
        check_light_goes_off(context.new_page(), url, timeout_s=30)


def test_openai_client_streams_a_tool_call(url: str):
    home = LiveHome(demo_home())
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    messages = [
        {"role": "system", "content": home.system_content()},
        {"role": "user", "content": "turn off the kitchen light"},
    ]
    name, arguments, finish = "", "", None
    with client:
        for chunk in client.chat.completions.create(
            model="openmimo-nano", messages=messages, tools=home.tools(), temperature=0, stream=True
        ):
            for choice in chunk.choices:
                finish = choice.finish_reason or finish
                for call in choice.delta.tool_calls or []:
                    name += call.function.name or ""
                    arguments += call.function.arguments or ""
    assert (name, arguments, finish) == ("HassTurnOff", '{"name": "kitchen light"}', "tool_calls")
