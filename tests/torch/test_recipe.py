"""The recipe of the default model, cut down to two steps of each stage."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import nano
import nano_mopd
import numpy as np
import pytest
import torch

import openmimo
from openmimo.checkpoint import Checkpoint, default_model_path
from openmimo.environments import make_environment
from openmimo.model.model import load_model
from openmimo.train.recipe import Run
from openmimo.train.rollout import percent_by_domain, roll_out

NUM_HARD = 48
pytestmark = pytest.mark.timeout(600)  # it trains a tokenizer, which takes minutes on a busy machine


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nano")
    nano.pretrain(Run(folder, "pretrain", 2))  # the second step's batch is marked
    nano.sft(Run(folder, "sft", 2))
    return folder


def test_the_recipe_ends_in_a_checkpoint_that_the_engine_drafts_with(out: Path):
    folder = out / "sft" / "step-000002"
    ids = list(range(40, 70))
    with openmimo.load(folder, weights="f32", mtp=3) as engine:
        assert engine.generate(ids, openmimo.SamplingParams(temperature=0, max_new_tokens=8)).stats.drafted > 0
        native = engine.logits(ids)
    model = load_model(Checkpoint.open(folder))
    with torch.no_grad():
        assert np.abs(model.logits(model(torch.tensor([ids])))[0].numpy() - native).max() < 1e-3


def test_batches_of_the_recipe_depend_on_seed_and_step_alone(out: Path):
    first, again = (nano.prepare(out)[0].training(3, 100) for _ in range(2))
    other = nano.prepare(out)[0].training(4, 100)
    assert torch.equal(first.ids_BT, again.ids_BT)
    assert first.ids_BT.shape != other.ids_BT.shape or not torch.equal(first.ids_BT, other.ids_BT)


def test_a_teacher_and_a_student_come_out_of_it_and_stand_in_one_table(out: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(nano_mopd, "SPECIALISTS", {"maths": 1})
    monkeypatch.setattr(nano_mopd, "REINFORCED", {"maths": 1})
    monkeypatch.setattr(nano_mopd, "LESSONS", {"maths": 2, "programs": 1})
    monkeypatch.setattr(nano_mopd, "RL", replace(nano_mopd.RL, groups=2, samples=2, max_new_tokens=8, eval_tasks=2))
    monkeypatch.setattr(nano_mopd, "PARAMS", replace(nano_mopd.PARAMS, max_new_tokens=8))
    monkeypatch.setattr(nano_mopd, "SCORED", 2)
    nano_mopd.sft(Run(out, "sft", 1))
    teacher = nano_mopd.rl(Run(out, "rl", 1))
    student = nano_mopd.mopd(Run(out, "mopd", 1))
    both = {"maths": student, "programs": student}
    models = {"teacher": {"maths": teacher}, "student": both}
    table = nano_mopd.as_table({row: nano_mopd.score_all(folders) for row, folders in models.items()}).splitlines()
    assert table[0] == "| | maths | programs |"
    assert re.fullmatch(r"\| teacher \| \d+ / \d+ \|  \|", table[2])
    assert re.fullmatch(r"\| student \| \d+ / \d+ \| \d+ / \d+ \|", table[3])
    assert len(load_model(Checkpoint.open(nano_mopd.merged(Run(out, "mopd")))).heads) == 3
    assert len(load_model(Checkpoint.open(student)).heads) == 3, "the student drafts, as the supervised model does"


def test_hard_tasks_are_those_whose_right_reply_is_not_the_first_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(nano_mopd, "HARD_SHARE", 1.0)
    shutil.copy(default_model_path() / "tokenizer.json", tmp_path)
    trees, environment = nano.prepare(tmp_path)[0], make_environment("programs")
    marker = nano_mopd.mark(load_model(Checkpoint.open(default_model_path())))
    hard = nano_mopd.Mistakes(environment, trees, marker)
    tasks = list(hard.tasks("train", 5, NUM_HARD))
    with openmimo.load(default_model_path(), mtp="off") as engine:
        params = openmimo.SamplingParams(temperature=0, max_new_tokens=200)
        usual_tasks = environment.tasks("train", 5, NUM_HARD)
        pairs = [[(hard, task) for task in tasks], [(environment, task) for task in usual_tasks]]
        drawn, usual = (percent_by_domain(roll_out(engine, some, 1, params))["programs"] for some in pairs)
    assert drawn < usual
    assert list(hard.tasks("eval", 5, 2)) == list(environment.tasks("eval", 5, 2))


def test_readme_and_card_show_the_scores_of_the_model_that_ships():
    table = nano.summary(json.loads((default_model_path() / "scores.json").read_text(encoding="utf-8")))
    for page in (Path(nano.__file__).parents[1] / "README.md", default_model_path() / "MODEL_CARD.md"):
        assert table in page.read_text(encoding="utf-8"), f"{page} should hold:\n{table}"
