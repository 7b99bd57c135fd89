"""Scores: intervals by hand, entropy by hand, and a suite played by an engine that always says the same."""

import json
import math
from types import SimpleNamespace

import pytest

from openmimo.chat import Message, ToolCall
from openmimo.engine import SamplingParams
from openmimo.engine.request import Stats, TokenLogprob
from openmimo.environments import make_environment
from openmimo.environments.home import HomeEnvironment
from openmimo.episodes import Replayer, read_episodes
from openmimo.errors import RequestError
from openmimo.evals import Score, format_scores, pick_suites, score, score_suite, suite_names, token_entropy, wilson


class Parrot:
    """An engine that answers every request with the next of its texts, and cannot read prompts beyond a length."""

    def __init__(self, replies: dict[str, Message], max_chars: int = 10**9):
        self.replies, self.max_chars = replies, max_chars
        self.chat = SimpleNamespace(parser=self._parser)
        self.seeds: list[int | None] = []

    def _parser(self, tools):
        parser = SimpleNamespace(message=None, finish=lambda: None)
        parser.feed = lambda text: setattr(parser, "message", self.replies.get(text, Message("assistant", "no idea")))
        return parser

    def generate(self, messages: list[Message], params: SamplingParams, tools):
        if sum(len(message.content) for message in messages) > self.max_chars:
            raise RequestError("too long", code="context_length_exceeded")
        self.seeds.append(params.seed)
        sure = TokenLogprob(1, math.log(0.5), ((1, math.log(0.5)), (2, math.log(0.5))))
        stats = Stats(10, 0, 4, 0.0, 0.0, 2, 0, ())
        is_last = messages[-1].role == "user"
        return SimpleNamespace(text=messages[-1].content if is_last else "", stats=stats, logprobs=(sure,) * 4)


def test_wilson_of_eight_in_ten():
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)


def test_the_interval_of_partial_rewards_is_the_normal_one():
    cell = Score([0.5, 1.0, 0.0, 0.5])
    spread = 1.96 * math.sqrt((0.25 + 0.25) / 3 / 4)
    assert cell.percent == 50.0
    assert cell.interval == pytest.approx((100 * max(0.0, 0.5 - spread), 100 * (0.5 + spread)))
    assert Score([1.0] * 8 + [0.0] * 2).interval == pytest.approx((49.02, 94.33), abs=0.01)


def test_entropy_counts_the_rest_as_one():
    halves = TokenLogprob(0, math.log(0.5), ((0, math.log(0.5)), (1, math.log(0.25))))
    assert token_entropy(halves) == pytest.approx(0.5 * math.log(2) + 2 * 0.25 * math.log(4))
    assert token_entropy(TokenLogprob(0, 0.0, ((0, 0.0),))) == 0.0


def test_right_answers_score_and_others_do_not():
    environment = make_environment("maths")
    tasks = list(environment.tasks("eval", 1, 20))
    known = {task.request: task.gold[0] for task in tasks[:15]}
    engine = Parrot(known)
    column = score(engine, environment, tasks, SamplingParams(), samples=2)
    assert column.scores["all"].percent == 75.0
    assert sum(len(cell.rewards) for kind, cell in column.scores.items() if kind != "all") == 20
    assert len(column.scores["all"].wrong) == 10
    assert (column.acceptance_length, column.calls) == (2.0, 0)
    assert column.entropy == pytest.approx(math.log(2))
    assert len(set(engine.seeds)) == 40


def test_calls_that_invent_are_counted():
    environment = HomeEnvironment(weights={"named": 1.0})
    tasks = list(environment.tasks("eval", 1, 8))
    calls = (
        ToolCall("Teleport", {}, "a"),
        ToolCall("GetLiveContext", {}, "b"),
        ToolCall("HassTurnOn", {"name": "x"}, "c"),
    )
    engine = Parrot({task.request: Message("assistant", tool_calls=calls) for task in tasks})
    column = score(engine, environment, tasks, SamplingParams())
    assert column.calls == 24
    assert 16 <= column.invented <= 24  # GetLiveContext is not on offer everywhere
    assert column.scores["all"].percent == 0.0


def test_a_prompt_that_does_not_fit_is_a_wrong_answer():
    environment = make_environment("recall")
    tasks = list(environment.tasks("eval", 1, 16))
    column = score(Parrot({}, max_chars=50), environment, tasks, SamplingParams())
    assert (column.scores["all"].percent, column.entropy) == (0.0, 0.0)


def test_a_board_has_known_and_held_out_phrasings_greedy_and_sampled():
    board = score_suite(Parrot({}), "maths", 4, 0, samples=1)
    assert list(board.columns) == [
        "known phrasings", "known phrasings, sampled", "held-out phrasings", "held-out phrasings, sampled",
    ]  # fmt: skip
    assert list(score_suite(Parrot({}), "maths", 2, 0).columns) == ["known phrasings", "held-out phrasings"]
    table = format_scores(board)
    assert "| all | 0.0 (0-49, n 4) |" in table
    assert "| entropy, nats a token | 0.693 |" in table
    assert board.as_data()["known phrasings"]["scores"]["all"] == {"n": 4, "percent": 0.0, "low": 0.0, "high": 48.99}


@pytest.mark.parametrize(("suite", "count"), [("home", 12), ("recall", 12), ("maths", 12)])
def test_every_logged_episode_replays_with_the_same_reward(suite, count, tmp_path):
    environment = make_environment(suite)
    known = [task for phrasings in ("train", "eval") for task in environment.tasks("eval", 5, count, phrasings)]
    engine = Parrot({task.request: task.gold[0] for task in known if len(task.request) % 3})
    board = score_suite(engine, suite, count, 5, samples=2, log=tmp_path / "log")
    episodes, replayer = list(read_episodes(tmp_path / "log")), Replayer()
    for logged in episodes:
        again = replayer.play(logged)
        assert (again.reward, again.differences) == (logged.reward, [])
    assert [logged.reward for logged in episodes[:count]] == board.columns["known phrasings"].scores["all"].rewards
    assert {0.0, 1.0} == {logged.reward for logged in episodes}
    heads = [(logged.head.phrasings, logged.head.index, logged.head.sample) for logged in episodes]
    attempts = [(index, sample) for index in range(count) for sample in (0, 1)]
    assert heads == [
        (phrasings, *played)
        for phrasings in ("train", "eval")
        for played in [*((index, None) for index in range(count)), *attempts]
    ]


def test_heads_of_greedy_episodes_say_nothing_of_samples(tmp_path):
    score_suite(Parrot({}), "maths", 2, 0, log=tmp_path / "log")
    head = json.loads((tmp_path / "log").read_text(encoding="utf-8").splitlines()[0])["episode"]
    assert (head["phrasings"], head["count"], head["index"]) == ("train", 2, 0)
    assert "sample" not in head


def test_an_unknown_suite_is_named_with_those_there_are():
    with pytest.raises(RequestError, match="no suite 'chess': choose from home"):
        pick_suites("home,chess")
    assert pick_suites("recall, home,recall") == ("recall", "home")
    assert pick_suites(None) == suite_names()
