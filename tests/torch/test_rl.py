"""Reinforcement learning: a run through the program resumes to the bit, learns, and ends by its rules."""

import json
from pathlib import Path

import pytest
import torch

from openmimo.errors import ConfigError
from openmimo.train.command import TrainRequest, run_command
from openmimo.train.log import read_metrics
from openmimo.train.optim import OptimConfig
from openmimo.train.rl import RLConfig, _Memory, train_rl
from openmimo.train.trainer import TrainConfig
from tests.torch.drill_model import tiny_model

RECIPE = '''
import drills
from openmimo.environments.text import TextEnvironment, text_task
from openmimo.train.loss import LossWeights
from openmimo.train.optim import OptimConfig
from openmimo.train.rl import RLConfig, train_rl
from tests.torch.drill_model import tiny_model

class Odd(TextEnvironment):
    """Any text whose characters add up to an odd number is right, so that fresh weights have a chance."""
    name = "odd"
    def sample_group(self, rng, split, phrasings, count):
        return [text_task("odd", "", f"{rng.random():.3f}", "", "") for _ in range(count)]
    def score(self, task, content):
        return float(sum(map(ord, content)) % 2)

def rl(run):
    optim = OptimConfig(lr=3e-3, weight_decay=0.0, warmup=0.0, decay=0.0)
    weights = LossWeights(mtp=0.3)
    config = run.config(6, "odd", save_every=1, bf16=False, balance_speed=1e-3, optim=optim, weights=weights)
    settings = RLConfig(groups=4, samples=8, max_new_tokens=3, eval_tasks=20, slots=16, max_kl=9.0, max_fall=1.0)
    return train_rl(tiny_model(), config, settings, {"odd": Odd()}, drills.text_files(), 2)
'''


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
    memory = _Memory.from_run(tmp_path, RLConfig(), ["a"])
    assert list(memory.easy) == [(0, 5), (0, 7)]
    assert memory.likely == 0.375  # half of (half of 0.5 and 1.0), and 0.0
    assert memory.reason == ""


def test_a_run_ends_when_it_strays_or_forgets():
    memory = _Memory(RLConfig(max_kl=0.2, max_fall=0.05), ["a"])
    memory.saw_kl(0.19)
    memory.saw_scores({"a": 90.0, "b": 50.0})
    memory.saw_scores({"a": 85.5, "b": 0.0})
    assert memory.reason == ""
    memory.saw_scores({"a": 84.0, "b": 99.0})
    assert "greedy accuracy fell from 90.0% to 84.0%" in memory.reason
    memory = _Memory(RLConfig(max_kl=0.2), ["a"])
    memory.saw_kl(0.21)
    assert "0.21 nats a token" in memory.reason
