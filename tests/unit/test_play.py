"""`openmimo world`: a day as a table, a world or an episode by hand, a log played again."""

import io
import json
from pathlib import Path

import pytest

from openmimo.cli import main
from openmimo.environments import environment_names, make_environment
from openmimo.environments.home import tool_dicts
from openmimo.episodes import EpisodeHead, Replayer, append_episode, draw_task, read_episodes
from openmimo.errors import RequestError
from openmimo.messages import ToolCall
from openmimo.play import parse_reply

TOOLS = tool_dicts(("HassTurnOn", "HassLightSet"))


def typed(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))


def gold_lines(seed: int) -> list[str]:
    """What somebody would type who knows what is right."""
    home = make_environment("home")
    (task,) = home.tasks("eval", seed, 1)
    lines = []
    for message in home.gold(task):
        if message.role == "assistant":
            calls = [f"{c.name} " + " ".join(f'{k}="{v}"' for k, v in c.arguments.items()) for c in message.tool_calls]
            lines.append("; ".join(calls) or message.content)
    return lines


def test_calls_and_text_are_read_as_typed():
    assert parse_reply("It is off.", TOOLS).content == "It is off."
    assert parse_reply("it's on; HassTurnOn is a tool", TOOLS).content == "it's on; HassTurnOn is a tool"
    line = 'HassTurnOn name="kitchen lamp"; HassLightSet name=5 brightness=35 color=red'
    assert parse_reply(line, TOOLS).tool_calls == (
        ToolCall("HassTurnOn", {"name": "kitchen lamp"}, "call_0"),
        ToolCall("HassLightSet", {"name": "5", "brightness": 35, "color": "red"}, "call_1"),
    )
    assert parse_reply('HassTurnOn name="a;b"', TOOLS).tool_calls[0].arguments == {"name": "a;b"}
    with pytest.raises(RequestError, match='lamp must be a parameter, an equals sign and a value: name="kitchen lamp"'):
        parse_reply("HassTurnOn lamp", TOOLS)


@pytest.mark.parametrize("seed", range(6))
def test_what_is_right_scores_one_and_is_logged_and_replays_the_same(seed, tmp_path, monkeypatch, capsys):
    log = tmp_path / "episodes.jsonl"
    typed(monkeypatch, *gold_lines(seed))
    assert main(["world", "play", "--seed", str(seed), "--log", str(log)]) == 0
    assert "reward 1\n" in capsys.readouterr().out
    (episode,) = read_episodes(log)
    assert (episode.head.environment, episode.head.seed, episode.reward) == ("home", seed, 1.0)
    assert episode.messages[0].role == "system"
    assert main(["world", "replay", str(log)]) == 0
    assert "reward 1\n" in capsys.readouterr().out


def test_giving_up_scores_nothing_and_shows_what_was_right(monkeypatch, capsys):
    typed(monkeypatch, "")
    assert main(["world", "play", "--seed", "0"]) == 0
    out = capsys.readouterr().out
    assert "reward 0\nright would be:\n" in out
    assert gold_lines(0)[-1] in out


def test_a_wrong_word_is_explained_and_can_be_typed_again(monkeypatch, capsys):
    first, *rest = gold_lines(0)
    typed(monkeypatch, f"{first.split()[0]} oops", first, *rest)
    main(["world", "play", "--seed", "0", "--json"])
    played = json.loads(capsys.readouterr().out)
    assert played["reward"] == 1.0
    assert played["messages"][0]["role"] == "system"


def test_a_log_that_no_longer_holds_ends_in_one(tmp_path, monkeypatch, capsys):
    log = tmp_path / "episodes.jsonl"
    for seed in ("0", "1"):
        typed(monkeypatch, *gold_lines(int(seed)))
        main(["world", "play", "--seed", seed, "--log", str(log)])
    text = log.read_text(encoding="utf-8")
    log.write_text(text.replace('{"reward": 1.0}', '{"reward": 0.5}', 1), encoding="utf-8")
    capsys.readouterr()
    assert main(["world", "replay", str(log), "--json"]) == 1
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["differences"] == ["the reward was 0.5, now it is 1"]
    assert second["differences"] == []
    changed = text.replace('"task": "', '"task": "x', 1)
    log.write_text(changed, encoding="utf-8")
    assert main(["world", "replay", str(log)]) == 1
    assert "the generator of tasks has changed" in capsys.readouterr().out


HEAD = '{"episode": {"environment": "home", "split": "eval", "seed": 0, "index": 0, "task": "", "kind": ""}}'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no episode"),
        ("{", "line 1 must be a JSON object"),
        ('{"role": "user", "content": "hi"}', "line 1: an episode must begin with"),
        ('{"episode": {"environment": "home"}}', "line 1: an episode needs environment, split, seed"),
        (HEAD + '\n{"role": "robot"}', "line 2: message role 'robot' is not known"),
        (HEAD + '\n{"reward": 7}', "line 2: a reward must be a number from 0 to 1"),
        (HEAD.replace('"home"', '"moon"'), "there is no environment 'moon': choose from"),
        (HEAD.replace('"index": 0', '"index": -1'), "index -1 of a task must be 0 to"),
        (HEAD.replace('"eval"', '"test"'), "there is no split 'test'"),
        (HEAD.replace("0,", '0, "phrasings": "odd",', 1), "there is no split 'odd'"),
        (HEAD.replace("0,", '0, "count": "8",', 1), "line 1: count must be int, or left out"),
        (HEAD.replace("0,", '0, "count": 0,', 1), "count 0 must be more than the index"),
    ],
)
def test_a_damaged_log_is_refused_by_line(text, said, tmp_path, capsys):
    log = tmp_path / "log.jsonl"
    log.write_text(text, encoding="utf-8")
    assert main(["world", "replay", str(log)]) == 2
    assert said in capsys.readouterr().err


def test_what_is_not_there_is_said(tmp_path, monkeypatch, capsys):
    assert main(["world", "replay", str(tmp_path / "none.jsonl")]) == 2
    assert "none.jsonl cannot be read: No such file or directory" in capsys.readouterr().err
    assert main(["world", "play", "moon"]) == 2
    assert "there is no environment 'moon'" in capsys.readouterr().err
    typed(monkeypatch, "")
    assert main(["world", "play", "--log", str(tmp_path)]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_a_log_that_breaks_off_is_played_as_far_as_it_goes(tmp_path, monkeypatch, capsys):
    log = tmp_path / "episodes.jsonl"
    typed(monkeypatch, *gold_lines(0))
    main(["world", "play", "--log", str(log)])
    lines = log.read_text(encoding="utf-8").splitlines()
    Path(log).write_text("\n".join(lines[:-1]), encoding="utf-8")
    capsys.readouterr()
    assert main(["world", "replay", str(log), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["logged"] is None


@pytest.mark.parametrize("name", environment_names())
def test_a_right_episode_of_every_environment_replays_the_same(name, tmp_path):
    environment, task = draw_task(name, "eval", 1)
    episode, messages = environment.start(task), list(task.messages)
    for message in environment.gold(task):
        if message.role == "assistant":
            messages += [message, *episode.step(message)]
    append_episode(tmp_path / "log", EpisodeHead(name, "eval", 1, 0, task.id, task.kind), messages, episode.reward())
    (logged,) = read_episodes(tmp_path / "log")
    again = Replayer().play(logged)
    assert (logged.reward, again.reward, again.differences) == (1.0, 1.0, [])


def test_a_live_world_is_acted_in_by_hand(monkeypatch, capsys):
    typed(monkeypatch, "HassVacuumStart; HassTurnOff name=tv", "wait 20", "wait 0", "dance", "HassTurnOn name=sauna")
    assert main(["world", "live"]) == 0
    out = capsys.readouterr().out
    shown, _, answers = out.partition("an empty line ends.\n")
    assert "It is 07:40" in shown
    assert "  HassSetVolume name= area= volume_level=\n" in shown
    lines = answers.splitlines()
    assert lines[:3] == ["vacuum: cleaning living room", "tv: off", "- vacuum hall: vacuum, cleaning living room 100%"]
    assert any("It is 08:00" in line for line in lines)
    assert "- vacuum hall: vacuum, cleaning kitchen 87%" in lines
    assert lines[-3:] == [
        "wait 0: must be minutes, 1 to 1440",
        "dance is no tool of this world: choose one of those above, or `wait 30`",
        "HassTurnOn: there is no sauna (not_found)",
    ]


def test_control_characters_do_not_reach_the_terminal(tmp_path, capsys):
    log = tmp_path / "episodes.jsonl"
    (task,) = make_environment("home").tasks("eval", 0, 1)
    head = HEAD.replace('"task": ""', f'"task": "{task.id}"')
    log.write_text(head + '\n{"role": "user", "content": "\\u001b[2J\\u0007hello [bold]"}', encoding="utf-8")
    main(["world", "replay", str(log)])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "user: [2Jhello [bold]" in out


def test_a_day_is_a_table_of_hours_or_data(capsys):
    assert main(["world", "day", "--seed", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 1 + 24 + 1
    assert lines[2].split()[0] == "01:00"
    assert lines[-1].startswith("sun ")
    assert main(["world", "day", "--seed", "3", "--json"]) == 0
    day = json.loads(capsys.readouterr().out)
    assert len(day["hours"]) == 24
    meter = day["meter"]
    used = day["house_kwh"] + day["car_kwh"]
    assert meter["sun"] + meter["bought"] == pytest.approx(
        used + meter["sold"] + meter["stored"] + meter["lost"], abs=0.01
    )
