"""Two processes under torchrun learn what one does from the batches of both."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import openmimo
from openmimo.checkpoint import Checkpoint
from openmimo.model.model import load_model
from openmimo.train.command import TrainRequest, run_command
from openmimo.train.log import read_metrics
from openmimo.train.recipe import Stage
from tests.torch.drill_model import save, tiny_model

ROOT = Path(__file__).parents[2]
RECIPE = """
import os
from pathlib import Path

import drills
import torch
from openmimo.train.loss import LossWeights
from openmimo.train.optim import OptimConfig
from openmimo.train.data import Branch, Tree, pack
from openmimo.train.processes import rank_and_world
from drills import DRILLS
from openmimo.engine.params import SamplingParams
from openmimo.train.mopd import Practice, distil
from openmimo.train.rl import RLConfig, train_rl
from openmimo.train.teachers import SELF, Teachers
from openmimo.train.trainer import train
from tests.torch.cluster_worlds import Odd
from tests.torch.drill_model import tiny_model

# The balance loss of both batches together is not the mean of theirs, nor is the heads' of unequal ones: there is none.
SETTINGS = {"bf16": False, "balance_speed": 0.0, "optim": OptimConfig(lr=3e-3, warmup=0.0, decay=0.0)}

def row(number):
    ids = torch.randint(0, 250, (24,), generator=torch.Generator().manual_seed(number)).tolist()
    return Tree([], [Branch(ids, [1.0] * len(ids))])

SETTINGS["shards"] = os.environ.get("SHARDS") == "yes"

def pretrain(run):
    each = 2 // rank_and_world()[1]  # rows for each process
    def source(index):
        return pack([row(number) for number in range(index * each, (index + 1) * each)], drills.PAD)
    weights = LossWeights(mtp=0.3, balance=0.0)
    return train(tiny_model(), run.config(5, **SETTINGS, weights=weights), source, drills.text_files())

def mopd(run):
    folder = Path(__file__).parent
    teachers = Teachers({"sum": folder / "teacher", "order": SELF}, folder / "student")
    def draw(number):  # not as many tasks on one process as on the other, and so not as many parts
        count = 2 + 5 * (number % 2)
        return {name: [(DRILLS[name], task) for task in DRILLS[name].tasks("train", number, count)]
                for name in ("sum", "order")}
    practice = Practice(draw, params=SamplingParams(max_new_tokens=4), slots=16, part_tokens=64)
    return distil(folder / "student", teachers, practice, run.config(2, **SETTINGS, weights=LossWeights(mtp=0.3)))

def rl(run):
    config = run.config(3, **SETTINGS, weights=LossWeights(mtp=0.0, balance=0.0))
    settings = RLConfig(groups=4, samples=8, max_new_tokens=3, eval_tasks=20, slots=16, max_kl=9.0, max_fall=1.0)
    return train_rl(tiny_model(), config, settings, {"odd": Odd()}, drills.text_files(), 1)
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "both.py"
    path.write_text(RECIPE)
    return path


def alone(recipe: Path, stage: Stage) -> Path:
    """The last checkpoint, trained in this process."""
    torch.set_num_threads(1)
    summary = run_command(TrainRequest(stage, recipe, out=recipe.parent / "alone"))
    assert summary is not None
    return Path(summary["checkpoint"])


def torchrun(*command: str) -> None:
    """Run a program with two processes."""
    paths = [Path(openmimo.__file__).parents[1], ROOT / "recipes", ROOT]  # the package that has an engine
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "OMP_NUM_THREADS": "1"}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*launcher, *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def together(recipe: Path, stage: Stage, *options: str, folder: str = "together") -> Path:
    """The same with two processes, which have a folder of their own."""
    out = recipe.parent / folder
    torchrun("-m", "openmimo", "train", stage, str(recipe), "--out", str(out), *options)
    return max((out / stage).glob("step-*"))


def assert_close(one: Path, other: Path) -> None:
    assert one.name == other.name
    found, expected = (load_model(Checkpoint.open(folder)).state_dict() for folder in (one, other))
    for name, tensor in expected.items():
        assert torch.allclose(found[name], tensor, atol=1e-5, rtol=1e-4), name


def curve(checkpoint: Path, name: str) -> list:
    return [record[name] for record in read_metrics(checkpoint.parent / "metrics.jsonl") if name in record]


@pytest.mark.timeout(300)
def test_two_processes_train_as_one_does_on_both_batches_with_the_model_whole_or_split(recipe: Path, monkeypatch):
    one = alone(recipe, "pretrain")
    for shards, steps in (("yes", "2"), ("no", "3"), ("yes", "5")):
        monkeypatch.setenv("SHARDS", shards)
        two = together(recipe, "pretrain", "--steps", steps)
        assert two.name == f"step-00000{steps}"
    assert_close(two, one)
    for name in ("grad_norm", "zeros"):
        assert curve(two, name) == pytest.approx(curve(one, name), rel=1e-3, abs=1e-5)


@pytest.mark.timeout(300)
def test_rl_shares_out_the_groups_that_the_first_process_has_played(recipe: Path, monkeypatch):
    one, two = alone(recipe, "rl"), together(recipe, "rl", "--steps", "1")
    assert two.name == "step-000001"
    monkeypatch.setenv("SHARDS", "yes")
    two = together(recipe, "rl")  # resumed
    assert_close(two, one)
    for name in ("reward", "solved", "valid", "greedy", "sampled"):
        assert curve(two, name) == curve(one, name)


@pytest.mark.timeout(300)
def test_a_split_student_learns_what_a_whole_one_does_of_lessons_that_differ_in_number(recipe: Path, monkeypatch):
    save(tiny_model(0), recipe.parent / "student")
    save(tiny_model(1), recipe.parent / "teacher")
    results = []
    for shards in ("no", "yes"):
        monkeypatch.setenv("SHARDS", shards)
        results.append(together(recipe, "mopd", folder=shards))
    assert_close(*results)
    for name in ("loss", "grad_norm", "kl"):
        one, other = (curve(result, name)[0] for result in results)
        assert other == pytest.approx(one, rel=1e-3)


def test_optimisers_move_the_parts_of_a_split_model_as_they_move_a_whole_one(tmp_path: Path):
    torchrun(str(ROOT / "tests" / "torch" / "split_steps.py"), str(tmp_path))
