"""The simulated world in the terminal: a day as a table, a world or an episode by hand, a log played again."""

import json
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

from rich.console import Console

from openmimo.environments import Episode, LiveWorld, Task
from openmimo.environments.world import Hour, World, run_day, sample_world
from openmimo.episodes import EpisodeHead, Replayer, append_episode, draw_task, read_episodes
from openmimo.errors import RequestError
from openmimo.messages import Message, ToolCall

__all__ = ["act_by_hand", "day_as_data", "format_day", "parse_reply", "play_by_hand", "replay_log"]

SHOWN_ROOMS = 4
DAY_MINUTES = 24 * 60


# ---- a day


def day_as_data(seed: int) -> dict[str, Any]:
    """Let the world of a seed run for a day.

    Args:
        seed: which world.
    Returns:
        JSON-ready data: what kind of day it is, the hours, the energy totals in kWh and ct.
    """
    world, start = sample_world(seed), perf_counter()
    hours = [asdict(hour) for hour in run_day(world)]
    return {
        "seed": seed,
        **_occasion(world),
        "hours": hours,
        "meter": world.plant.state()["meter"],
        "house_kwh": round(world.house_kwh, 3),
        "car_kwh": round(world.car_kwh, 3),
        "us_per_minute": round((perf_counter() - start) / 1440 * 1e6),
    }


def _occasion(world: World) -> dict[str, Any]:
    sky = world.home.sky
    assert sky is not None, "a sampled world has a sky"
    return {
        "latitude_deg": round(sky.latitude_deg, 1),
        "day_of_year": sky.day_of_year,
        "people": [person.name for person in world.home.people],
        "devices": [f"{device.area} {device.domain}: {device.name}" for device in world.home.devices],
        "panels_kw": world.plant.peak_kw,
        "battery_kwh": world.plant.capacity_kwh,
    }


def format_day(day: Mapping[str, Any]) -> str:
    """A day as a table: one line for each hour.

    Args:
        day: from `day_as_data`.
    Returns:
        Text.
    """
    hours = [Hour(**hour) for hour in day["hours"]]
    rooms = list(hours[0].rooms_c)[:SHOWN_ROOMS]
    head = ["time", "out", *rooms, "sun kW", "house", "car", "grid", "battery", "ct", "car at", "people"]
    rows = [head, *([*_cells(hour, rooms), _people(hour)] for hour in hours)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head) - 1)]
    lines = [
        "  ".join([*(cell.rjust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]) for row in rows
    ]
    return "\n".join([_heading(day), *lines, _totals(day)])


def _heading(day: Mapping[str, Any]) -> str:
    return (
        f"day {day['day_of_year']} of the year at {day['latitude_deg']:g}° latitude; {', '.join(day['people'])}; "
        f"{len(day['devices'])} devices, {day['panels_kw']:g} kW of panels, {day['battery_kwh']:g} kWh battery"
    )


def _totals(day: Mapping[str, Any]) -> str:
    meter = day["meter"]
    return (
        f"sun {meter['sun']:.1f} kWh, house {day['house_kwh']:.1f}, car {day['car_kwh']:.1f}, bought "
        f"{meter['bought']:.1f}, sold {meter['sold']:.1f}, battery {meter['stored']:+.1f}, lost in it "
        f"{meter['lost']:.1f}; cost {meter['cost_ct'] / 100:.2f} EUR; {day['us_per_minute']} us a minute"
    )


def _cells(hour: Hour, rooms: Sequence[str]) -> list[str]:
    temperatures = (f"{celsius:.1f}" for celsius in (hour.outside_c, *(hour.rooms_c[area] for area in rooms)))
    powers = (f"{kw:.1f}" for kw in (hour.sun_kw, hour.house_kw, hour.car_kw, hour.grid_kw))
    car = f"{hour.car_place} {hour.car_percent}%"
    return [hour.clock, *temperatures, *powers, f"{hour.battery_percent}%", str(hour.price_ct), car]


def _people(hour: Hour) -> str:
    return ", ".join(f"{name} {place}" for name, place in hour.people.items())


# ---- an episode by hand


def parse_reply(line: str, tools: Sequence[Mapping[str, Any]]) -> Message:
    """Read what somebody typed: calls such as `HassTurnOn name="kitchen lamp"`, parted by ";", else text.

    Args:
        line: the line.
        tools: on offer, in the OpenAI shape; a line that begins with the name of one is a call.
    Returns:
        An assistant message.
    Raises:
        RequestError: it begins like a call but is none.
    """
    offered = {tool["function"]["name"]: tool["function"]["parameters"]["properties"] for tool in tools}
    try:
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";")
        lexer.whitespace_split = True
        words = list(lexer)
    except ValueError:
        words = []
    if not words or words[0] not in offered:
        return Message("assistant", line)
    calls = tuple(_call(part, offered, index) for index, part in enumerate(_parts(words)))
    return Message("assistant", tool_calls=calls)


def _parts(words: Sequence[str]) -> Iterator[list[str]]:
    part: list[str] = []
    for word in [*words, ";"]:
        if word != ";":
            part.append(word)
        elif part:
            yield part
            part = []


def _call(words: Sequence[str], offered: Mapping[str, Mapping[str, Any]], index: int) -> ToolCall:
    name, *pairs = words
    wrong = [pair for pair in pairs if "=" not in pair]
    if wrong:
        raise RequestError(f'{wrong[0]} must be a parameter, an equals sign and a value: name="kitchen lamp"')
    split = (pair.split("=", 1) for pair in pairs)
    arguments = {key: _value(text, offered.get(name, {}).get(key, {})) for key, text in split}
    return ToolCall(name, arguments, f"call_{index}")


def _value(text: str, schema: Mapping[str, Any]) -> Any:
    """A value as the schema wants it; what is no JSON is text."""
    if schema.get("type") == "string":
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def play_by_hand(environment: str, split: str, seed: int, log: Path | None, is_json: bool) -> None:
    """Play one episode with what is typed: the prompt, then replies until one calls nothing, then the reward.

    Args:
        environment, split, seed: which task, see `draw_task`.
        log: file that the episode is appended to.
        is_json: prints nothing but the finished episode as one JSON object.
    Raises:
        RequestError: there is no such task, or the log cannot be written.
    """
    world, task = draw_task(environment, split, seed)
    episode = world.start(task)
    console = Console(highlight=False, soft_wrap=True, quiet=is_json)
    _show_prompt(console, task)
    messages = [*task.messages, *_replies(console, episode)]
    reward = episode.reward()
    console.print(f"reward {reward:g}", style="green" if reward == 1 else "yellow")
    if reward < 1:
        console.print("right would be:", style="dim")
        for message in world.gold(task):
            _show(console, message)
    if log is not None:
        append_episode(log, EpisodeHead(environment, split, seed, 0, task.id, task.kind), messages, reward)
    if is_json:
        shown = [message.to_openai() for message in messages]
        print(json.dumps({"task": task.id, "kind": task.kind, "reward": reward, "messages": shown}, ensure_ascii=False))


def _show_prompt(console: Console, task: Task) -> None:
    for message in task.messages:
        _show(console, message)
    _show_tools(console, task.tools)
    console.print("Type calls, or the answer as text; an empty line gives up.", style="dim")


def _show_tools(console: Console, tools: Sequence[Mapping[str, Any]]) -> None:
    for tool in tools:
        function = tool["function"]
        parameters = "".join(f" {name}=" for name in function["parameters"]["properties"])
        console.print(f"  {function['name']}{parameters}", style="dim", markup=False)


def _replies(console: Console, episode: Episode) -> list[Message]:
    """Everything that was said and done until a reply called nothing, the rounds were used up or the input ended."""
    said: list[Message] = []
    while line := _read():
        try:
            reply = parse_reply(line, episode.tools)
        except RequestError as error:
            console.print(str(error), style="red", markup=False)
            continue
        results = episode.step(reply)
        said += [reply, *results]
        for result in results:
            _show(console, result)
        if not results:
            break
    return said


def _read() -> str:
    try:
        return input("> " if sys.stdin.isatty() else "").strip()
    except EOFError:
        return ""


def _show(console: Console, message: Message) -> None:
    """One message. Control characters in it stay on their own side of the terminal."""
    style = {"system": "dim", "user": "bold", "tool": "green"}.get(message.role, "cyan")
    parts = [message.content] if message.content else []
    for call in message.tool_calls:
        arguments = "".join(f" {key}={json.dumps(value, ensure_ascii=False)}" for key, value in call.arguments.items())
        parts.append(f"{call.name}{arguments}")
    for part in parts:
        text = "".join(character for character in part if character.isprintable() or character == "\n")
        console.print(f"{message.role}: {text}", style=style, markup=False)


# ---- a live world by hand


def act_by_hand(world: LiveWorld) -> None:
    """Act in a world with what is typed, calls or `wait MINUTES`, and show what changes. Time passes in waits only.

    Args:
        world: with all its tools, those too that no model is offered.
    """
    console = Console(highlight=False, soft_wrap=True)
    shown = world.system_content().splitlines()
    console.print("\n".join(shown), style="dim", markup=False)
    _show_tools(console, world.tools_by_hand())
    console.print("Type calls, or `wait 30` to let half an hour pass; an empty line ends.", style="dim")
    while line := _read():
        try:
            for result in _carry_out(world, line):
                console.print(result, style="green", markup=False)
        except RequestError as error:
            console.print(str(error), style="red", markup=False)
        now = world.system_content().splitlines()
        for row in now:
            if row not in shown:
                console.print(row, style="dim", markup=False)
        shown = now


def _carry_out(world: LiveWorld, line: str) -> Iterator[str]:
    """Do what a line says; gives what each call did.

    Raises:
        RequestError: it says nothing that can be done, or a tool has refused.
    """
    if waited := re.fullmatch(r"wait +(\S+)", line):
        if not waited[1].isdecimal() or not 0 < int(waited[1]) <= DAY_MINUTES:
            raise RequestError(f"wait {waited[1]}: must be minutes, 1 to {DAY_MINUTES}")
        world.advance(60.0 * int(waited[1]))
        return
    calls = parse_reply(line, world.tools_by_hand()).tool_calls
    if not calls:
        raise RequestError(f"{line.split()[0]} is no tool of this world: choose one of those above, or `wait 30`")
    for call in calls:
        result = world.call(call.name, call.arguments)
        if "error" in result:
            raise RequestError(f"{call.name}: {result['message']} ({result['error']})")
        yield "\n".join(result.get("success", ())) or str(result.get("listing", ""))


# ---- a log


def replay_log(path: Path, is_json: bool) -> bool:
    """Show the episodes of a log and play each again.

    Args:
        path: the log, see `openmimo.episodes`.
        is_json: prints one JSON line for each episode.
    Returns:
        Whether every episode went as it is written.
    Raises:
        RequestError: the log cannot be read.
    """
    console = Console(highlight=False, soft_wrap=True, quiet=is_json)
    replayer, is_same, count = Replayer(), True, 0
    for logged in read_episodes(path):
        count += 1
        head, found = logged.head, replayer.play(logged)
        is_same = is_same and not found.differences
        console.print(f"[{head.environment} / {head.kind}] task {head.task}", style="bold", markup=False)
        for message in logged.messages:
            _show(console, message)
        for difference in found.differences:
            console.print(f"differs: {difference}", style="red", markup=False)
        if found.reward is not None:
            console.print(f"reward {found.reward:g}\n", style="green" if found.reward == 1 else "yellow")
        if is_json:
            data = {**asdict(head), "logged": logged.reward, "reward": found.reward, "differences": found.differences}
            print(json.dumps(data, ensure_ascii=False))
    if not count:
        raise RequestError(f"{path} holds no episode")
    return is_same
