"""Rollouts: what the model read, which tokens are its own, and that engine and trainer give them the same chances."""

from pathlib import Path

import drills
import pytest
import torch

import openmimo
from openmimo import SamplingParams
from openmimo.chat import ChatFormat, Message
from openmimo.environments.text import text_task
from openmimo.errors import TrainingError
from openmimo.tokenizer import Tokenizer
from openmimo.train.policy import own_logits, pack_rollouts
from openmimo.train.rollout import Rollout, continuation, roll_out
from tests.torch.drill_model import save, tiny_model

PARAMS = SamplingParams(max_new_tokens=6, seed=3)
TEMPLATE_WITH_TOOLS = """\
{%- for m in messages if m.role != "system" -%}
  {{- "<|im_start|>" ~ m.role[0] ~ m.content ~ ("<|im_end|>\\n" if m.role == "assistant" else "\\n") -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- "<|im_start|>a" -}}{%- endif -%}
"""


class Echo:
    """Answers the first two replies with a tool result and counts what it was told."""

    name = "echo"

    def __init__(self):
        self.task = text_task("count", "", "go", "", "")

    def start(self, task):
        return EchoEpisode(task)


class EchoEpisode:
    def __init__(self, task):
        self.messages, self.tools, self.told = list(task.messages), (), []

    def step(self, reply):
        self.told.append(reply.content)
        return [Message("tool", f"{len(self.told)}")] if len(self.told) < 3 else []

    def reward(self):
        return len(self.told) / 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return save(tiny_model(), tmp_path_factory.mktemp("tiny") / "model")


def drill_tasks(count: int):
    return [(drills.DRILLS["sum"], task) for task in drills.DRILLS["sum"].tasks("train", 5, count)]


def test_samples_share_their_prompt_and_own_what_follows(folder: Path):
    with openmimo.load(folder, mtp=1, threads=1) as engine:
        groups = roll_out(engine, drill_tasks(3), 4, PARAMS)
        assert engine.chat is not None
        for (_, task), group in zip(drill_tasks(3), groups, strict=True):
            prompt = engine.chat.encode(task.messages)
            for rollout in group:
                assert (rollout.domain, rollout.kind, rollout.task_id) == ("sum", "sum", task.id)
                assert rollout.ids[: rollout.prompt_length] == prompt
                assert rollout.is_own == [False] * len(prompt) + [True] * rollout.num_own
                assert 1 <= rollout.num_own <= 6
                assert rollout.is_truncated == (rollout.ids[-1] not in (drills.END, drills.PAD))
    assert len({tuple(rollout.ids) for group in groups for rollout in group}) > 8


def test_the_same_seed_gives_the_same_rollouts_whatever_runs_beside_them(folder: Path):
    with openmimo.load(folder, mtp=1, threads=1) as engine:
        all_at_once = roll_out(engine, drill_tasks(3), 4, PARAMS)
        one_task = roll_out(engine, drill_tasks(1), 4, PARAMS)
        other_seed = roll_out(engine, drill_tasks(1), 4, SamplingParams(max_new_tokens=6, seed=4))
    assert [rollout.ids for rollout in all_at_once[0]] == [rollout.ids for rollout in one_task[0]]
    assert [rollout.ids for rollout in one_task[0]] != [rollout.ids for rollout in other_seed[0]]


def log_probabilities(model, rollout: Rollout) -> list[float]:
    ids = torch.tensor([rollout.ids])
    with torch.no_grad():
        scores = torch.log_softmax(model.logits(model(ids))[0], -1)
    return [scores[i - 1, rollout.ids[i]].item() if own else 0.0 for i, own in enumerate(rollout.is_own)]


def test_engine_and_trainer_agree_on_every_token_over_several_turns(folder: Path):
    echo = Echo()
    with openmimo.load(folder, mtp=1, threads=1) as engine:
        assert engine.tokenizer is not None
        engine.chat = ChatFormat(engine.tokenizer, TEMPLATE_WITH_TOOLS)
        (group,) = roll_out(
            engine, [(echo, echo.task)], 8, SamplingParams(max_new_tokens=40, seed=1, logit_bias={drills.END: 5.0})
        )
        text = [engine.tokenizer.decode(rollout.ids) for rollout in group]
    finished = [rollout for rollout in group if not rollout.is_truncated]
    assert finished
    assert any(line.count("<|im_end|>\n<|im_start|>t") == 2 for line in text)
    for rollout in group:
        assert rollout.logprobs == pytest.approx(log_probabilities(tiny_model().eval(), rollout), abs=1e-4)
    for rollout in finished:
        assert rollout.reward == 0.75
        assert rollout.is_own[-1]
        assert len(rollout.stats) == 3


def test_replayed_experts_bring_a_rounded_engine_nearer_to_the_trainer(folder: Path):
    with openmimo.load(folder, weights="q8", mtp=1, threads=1) as engine:
        params = SamplingParams(max_new_tokens=30, seed=2, routes=True)
        groups = roll_out(engine, drill_tasks(4), 4, params)
    for rollout in (rollout for group in groups for rollout in group):
        assert rollout.routes_TLK is not None
        assert rollout.routes_TLK.shape == (len(rollout.ids) - 1, 2, 2)
    batch, model = pack_rollouts(groups, drills.PAD), tiny_model().eval()
    gaps = []
    for replays in (False, True):
        with torch.no_grad():
            scores_RV = own_logits(model, batch, replays)[1].log_softmax(-1)
        gaps.append((scores_RV.gather(-1, batch.ids_R[:, None]).squeeze(-1) - batch.sampled_R).abs())
    assert gaps[1].mean() < gaps[0].mean()
    assert gaps[1].max() < gaps[0].max()


def test_the_experts_of_earlier_turns_stay_those_of_their_own_run(folder: Path):
    echo = Echo()
    with openmimo.load(folder, threads=1) as engine:
        assert engine.tokenizer is not None
        engine.chat = ChatFormat(engine.tokenizer, TEMPLATE_WITH_TOOLS)
        ends = SamplingParams(max_new_tokens=20, seed=1, logit_bias={drills.END: 5.0}, routes=True)
        ((rollout,),) = roll_out(engine, [(echo, echo.task)], 1, ends)
        again = engine.generate(rollout.ids, SamplingParams(max_new_tokens=1, routes=True))
    assert again.routes_TLK is not None
    assert len(rollout.stats) > 1
    assert all(stats.cached_tokens > 0 for stats in rollout.stats[1:])
    assert rollout.routes_TLK is not None
    assert rollout.routes_TLK.tolist() == again.routes_TLK[: len(rollout.ids) - 1].tolist()


def test_an_episode_without_end_counts_as_truncated(folder: Path):
    echo = Echo()
    with openmimo.load(folder, threads=1) as engine:
        assert engine.tokenizer is not None
        engine.chat = ChatFormat(engine.tokenizer, TEMPLATE_WITH_TOOLS)
        ends = SamplingParams(max_new_tokens=40, seed=1, logit_bias={drills.END: 50.0})
        ((few,),) = roll_out(engine, [(echo, echo.task)], 1, ends, max_replies=2)
        ((all_three,),) = roll_out(engine, [(echo, echo.task)], 1, ends, max_replies=3)
    assert (few.is_truncated, few.reward, few.num_own) == (True, 0.5, 2)
    assert (all_three.is_truncated, all_three.reward, all_three.num_own) == (False, 0.75, 3)


def test_a_template_that_rewrites_earlier_turns_is_refused(folder: Path):
    tokenizer = Tokenizer.load(folder)
    rewriting = ChatFormat(
        tokenizer, "{{ messages | length }}{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}"
    )
    turns = [Message("user", "a"), Message("assistant", "b")]
    with pytest.raises(TrainingError, match="only appends"):
        continuation(rewriting, turns, [Message("tool", "c")], (), drills.END)
