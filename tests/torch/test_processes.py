"""Two processes under torchrun learn what one does from the batches of both."""

from pathlib import Path

import pytest
import torch

from openmimo.checkpoint import Checkpoint
from openmimo.model.model import load_model
from openmimo.train.command import TrainRequest, run_command
from openmimo.train.log import read_metrics
from openmimo.train.recipe import Stage
from tests.torch.drill_model import save, tiny_model
from tests.torch.two_processes import RECIPE, ROOT, together, torchrun


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
@pytest.mark.parametrize(("weights", "steps"), [("f32", "2"), ("q4", "1")])  # a code at its border may flip later
def test_a_split_student_learns_what_a_whole_one_does_of_lessons_that_differ_in_number(
    recipe: Path, monkeypatch, weights: str, steps: str
):
    monkeypatch.setenv("WEIGHTS", weights)
    save(tiny_model(0), recipe.parent / "student")
    save(tiny_model(1), recipe.parent / "teacher")
    results = []
    for shards in ("no", "yes"):
        monkeypatch.setenv("SHARDS", shards)
        results.append(together(recipe, "mopd", "--steps", steps, folder=shards))
    assert_close(*results)
    for name in ("loss", "grad_norm", "kl"):
        one, other = (curve(result, name)[0] for result in results)
        assert other == pytest.approx(one, rel=1e-3)


def test_optimisers_move_the_parts_of_a_split_model_as_they_move_a_whole_one(tmp_path: Path):
    torchrun(str(ROOT / "tests" / "torch" / "split_steps.py"), str(tmp_path))
