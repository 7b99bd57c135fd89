"""Reinforcement learning: a run through the program resumes to the bit, learns, and ends by its rules."""

import json
from pathlib import Path
from typing import Any

import drills
import pytest
import torch
from torch import Tensor

from openmimo.checkpoint import Checkpoint
from openmimo.errors import ConfigError
from openmimo.model.model import load_model
from openmimo.train import rl_player
from openmimo.train.collect import collect
from openmimo.train.command import TrainRequest, run_command
from openmimo.train.log import read_metrics
from openmimo.train.optim import OptimConfig
from openmimo.train.rl import RLConfig, train_rl
from openmimo.train.rl_memory import Memory
from openmimo.train.rl_player import Player
from openmimo.train.trainer import TrainConfig
from tests.torch.cluster_worlds import Odd
from tests.torch.drill_model import tiny_model

RECIPE = """
import drills
from openmimo.train.loss import LossWeights
from openmimo.train.optim import OptimConfig
from openmimo.train.rl import RLConfig, train_rl
from tests.torch.cluster_worlds import Odd
from tests.torch.drill_model import tiny_model

def rl(run):
    optim = OptimConfig(lr=3e-3, weight_decay=0.0, warmup=0.0, decay=0.0)
    weights = LossWeights(mtp=0.3)
    config = run.config(6, "odd", save_every=1, bf16=False, balance_speed=1e-3, optim=optim, weights=weights)
    settings = RLConfig(groups=4, samples=8, max_new_tokens=3, eval_tasks=20, slots=16, max_kl=9.0, max_fall=1.0)
    return train_rl(tiny_model(), config, settings, {"odd": Odd()}, drills.text_files(), 2)
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("recipe") / "odd.py"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def unbroken(recipe: Path) -> Path:
    summary = run_command(TrainRequest("rl", recipe, out=recipe.parent / "unbroken"))
    assert summary is not None
    assert summary["steps"] == 6
    return Path(summary["checkpoint"])


def curve(folder: Path, name: str) -> list:
    return [record[name] for record in read_metrics(folder / "metrics.jsonl") if name in record]


def test_a_stopped_run_goes_on_as_if_it_had_not_been(recipe: Path, unbroken: Path):
    for steps in (3, 6):
        summary = run_command(TrainRequest("rl", recipe, out=recipe.parent / "stopped", steps=steps))
        assert summary is not None
    resumed = Path(summary["checkpoint"])
    assert (resumed / "model.safetensors").read_bytes() == (unbroken / "model.safetensors").read_bytes()
    for name in ("reward", "loss", "solved", "valid", "kl"):
        assert curve(resumed.parent, name) == curve(unbroken.parent, name)


def test_what_the_run_logs(unbroken: Path):
    assert len(curve(unbroken.parent, "reward")) == 6
    assert curve(unbroken.parent, "kl")[0] == pytest.approx(0.0, abs=1e-6)
    assert curve(unbroken.parent, "kl")[-1] > 0
    assert max(curve(unbroken.parent, "sampler_gap")) < 1e-4  # engine and trainer agree, weights are handed over
    assert curve(unbroken.parent, "start_greedy")[0].keys() == {"odd"}
    assert len(curve(unbroken.parent, "sampled")) == 3
    assert (unbroken.parent / "report.html").exists()


def test_groups_that_outlive_a_step_are_trained_on_in_the_next(recipe: Path):
    path = recipe.parent / "partial.py"
    settings = "slots=2, max_age=2, easy_share=0.0,"
    path.write_text(
        RECIPE.replace("slots=16,", settings).replace("groups=4", "groups=1").replace("run.config(6", "run.config(4")
    )
    summary = run_command(TrainRequest("rl", path, out=recipe.parent / "partial"))
    assert summary is not None
    folder = Path(summary["checkpoint"]).parent
    assert sum(curve(folder, "stale")) > 0
    assert sum(curve(folder, "wasted")) == 0  # nothing got too old in four steps
    assert curve(folder, "ratio_mean") == pytest.approx([1.0] * 4, abs=0.1)


def small_run(folder: Path, steps: int, evaluate_every: int = 0, **settings: Any) -> Path:
    """RL of a tiny model with few small batches."""
    optim = OptimConfig(lr=3e-3, weight_decay=0.0, warmup=0.0, decay=0.0)
    config = TrainConfig(str(folder), steps, save_every=2, bf16=False, optim=optim)
    usual = {"groups": 2, "samples": 4, "max_new_tokens": 3, "eval_tasks": 4, "slots": 8, "max_kl": 9.0, "seed": 1}
    return train_rl(
        tiny_model(), config, RLConfig(**(usual | settings)), {"odd": Odd()}, drills.text_files(), evaluate_every
    )  # type: ignore[arg-type]


def weights_of(folder: Path) -> dict[str, Tensor]:
    return load_model(Checkpoint.open(folder)).state_dict()


def same_weights(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


GREEDY_AND_SAMPLED = {0: (90.0, 40.0), 2: (88.0, 60.0), 4: (89.0, 55.0), 6: (84.0, 99.0)}
"""What is scored after so many steps: the mean is best after 2, and greedy accuracy has fallen too far after 6."""


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> dict[int, dict[str, Tensor]]:
    """Scores as above; gives the weights that were scored."""
    seen: dict[int, dict[str, Tensor]] = {}

    def score(self: Player) -> dict[str, dict[str, float]]:
        step = len([record for record in read_metrics(self.folder / "metrics.jsonl") if "loss" in record])
        seen[step] = {name: value.clone() for name, value in self.model.state_dict().items()}
        return {
            name: {"odd": value} for name, value in zip(("greedy", "sampled"), GREEDY_AND_SAMPLED[step], strict=True)
        }

    monkeypatch.setattr(Player, "_score", score)
    return seen


@pytest.mark.parametrize("is_interrupted", [False, True])
def test_a_run_that_forgets_ends_with_the_best_scored_weights(tmp_path: Path, scripted, is_interrupted: bool):
    if is_interrupted:
        small_run(tmp_path, 4, 2)
        assert [path.name for path in tmp_path.glob("best-*")] == ["best-000002"]
    result = small_run(tmp_path, 20, 2)
    assert result.name == "step-000006"
    assert same_weights(weights_of(result), scripted[2])
    assert not same_weights(scripted[2], scripted[6])
    assert curve(tmp_path, "restored") == [2]
    assert "greedy accuracy fell from 90.0% to 84.0%" in curve(tmp_path, "note")[-1]
    assert small_run(tmp_path, 20, 2) == result
    assert same_weights(weights_of(result), scripted[2])


def test_a_run_that_forgets_at_its_last_step_ends_with_the_best_weights_too(tmp_path: Path, scripted):
    assert same_weights(weights_of(small_run(tmp_path, 6, 2)), scripted[2])
    assert scripted.keys() == GREEDY_AND_SAMPLED.keys()


def test_a_run_that_does_not_forget_ends_with_its_last_weights(tmp_path: Path, scripted):
    result = small_run(tmp_path, 4, 2)
    assert same_weights(weights_of(result), scripted[4])


def test_the_second_update_on_a_batch_has_other_ratios_and_the_clip_stops_some_tokens(tmp_path: Path):
    """Two updates share a batch out, so the second one is made by weights that did not sample it."""
    small_run(tmp_path, 6, updates=2, clip=(0.01, 0.01), groups=4, samples=8)
    ratios, unused, gaps = (curve(tmp_path, name) for name in ("ratio_mean", "unused", "sampler_gap"))
    assert ratios[::2] == pytest.approx([1.0] * 3, abs=1e-5)
    assert unused[::2] == [0.0] * 3
    assert max(gaps[::2]) < 1e-4 < min(gaps[1::2])
    assert max(unused[1::2]) > 0
    assert len(curve(tmp_path, "rollout_s")) == 3  # one batch for every two steps


def test_the_ratio_of_a_second_update_is_free_within_the_clip(tmp_path: Path):
    small_run(tmp_path, 2, updates=2, clip=(0.99, 99.0))
    assert curve(tmp_path, "unused") == [0.0, 0.0]
    assert abs(curve(tmp_path, "ratio_mean")[1] - 1.0) > 1e-4


@pytest.mark.parametrize("max_age", [1, 2])
def test_groups_that_are_too_old_are_given_up_and_the_ratios_of_stale_ones_are_truncated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, max_age: int
):
    """Seven groups are started for a batch of one, and all end at once; the next steps take one of them each."""
    ages: list[int] = []

    def eager(pool, draws, wanted, samples, _, *rest):
        collected = collect(pool, draws, wanted, samples, 0.15, *rest)
        ages.append(max(group.age for group in collected.groups))
        return collected

    monkeypatch.setattr(rl_player, "collect", eager)
    small_run(tmp_path, 6, groups=1, samples=8, slots=64, most=8, max_age=max_age, easy_share=0.0)
    stale, gaps, wasted = (curve(tmp_path, name) for name in ("stale", "sampler_gap", "wasted"))
    assert max(ages) == max_age
    assert stale == [float(age > 0) for age in ages]
    for age, gap, share in zip(ages, gaps, wasted, strict=True):
        assert gap > 1e-4 if age else gap < 1e-4
        assert (share > 0) == (age == max_age)  # what is left then has been carried for as long as may be
    assert all(0 < ratio <= 2.0 for ratio in curve(tmp_path, "ratio_mean"))


def test_settings_that_cannot_work_are_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="samples=1"):
        RLConfig(samples=1)
    with pytest.raises(ConfigError, match="updates=3"):
        RLConfig(groups=32, updates=3)
    config = TrainConfig(str(tmp_path), 1, optim=OptimConfig())
    with pytest.raises(ConfigError, match="at least one environment"):
        train_rl(tiny_model(), config, RLConfig(), {}, {})


def test_solved_tasks_are_remembered_from_the_log_until_they_are_solved_no_more(tmp_path: Path):
    lines = [
        {"step": 0, "valid": 1.0, "solved": [[0, 5], [1, 6]], "unsolved": [], "kl": 0.0, "start_greedy": {"a": 90.0}},
        {"step": 1, "valid": 0.0, "solved": [[0, 7]], "unsolved": [[1, 6]], "kl": 0.1},
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    memory = Memory.from_run(tmp_path, RLConfig(), ["a"])
    assert list(memory.easy) == [(0, 5), (0, 7)]
    assert memory.likely == 0.375  # half of (half of 0.5 and 1.0), and 0.0
    assert memory.reason == ""


def test_a_run_ends_when_it_strays_or_forgets():
    memory = Memory(RLConfig(max_kl=0.2, max_fall=0.05), ["a"])
    memory.saw_kl(0.19)
    memory.saw_scores({"a": 90.0, "b": 50.0})
    memory.saw_scores({"a": 85.5, "b": 0.0})
    assert memory.reason == ""
    memory.saw_scores({"a": 84.0, "b": 99.0})
    assert "greedy accuracy fell from 90.0% to 84.0%" in memory.reason
    memory = Memory(RLConfig(max_kl=0.2), ["a"])
    memory.saw_kl(0.21)
    assert "0.21 nats a token" in memory.reason
