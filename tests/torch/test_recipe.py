"""The recipe of the default model, cut down to two steps of each stage."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import openmimo
from openmimo.checkpoint import Checkpoint
from openmimo.model.model import load_model
from openmimo.tokenizer import Tokenizer
from recipes import nano

pytestmark = pytest.mark.timeout(600)  # it trains a tokenizer, which takes minutes on a busy machine


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nano")
    with pytest.MonkeyPatch.context() as patch:
        stages = [word for stage in ("", "refine-", "head-") for word in (f"--{stage}steps", "2")]
        patch.setattr(sys, "argv", ["nano.py", "--out", str(folder), *stages])
        nano.main()
    return folder


def test_the_recipe_ends_in_a_checkpoint_that_the_engine_drafts_with(out: Path):
    folder = out / "heads" / "step-000002"
    ids = list(range(40, 70))
    with openmimo.load(folder, weights="f32", mtp=3) as engine:
        assert engine.generate(ids, openmimo.SamplingParams(temperature=0, max_new_tokens=8)).stats.drafted > 0
        native = engine.logits(ids)
    model = load_model(Checkpoint.open(folder))
    with torch.no_grad():
        assert np.abs(model.logits(model(torch.tensor([ids])))[0].numpy() - native).max() < 1e-3


def test_batches_of_the_recipe_depend_on_seed_and_step_alone(out: Path):
    chat = nano.ChatFormat.load(out, Tokenizer.load(out), "v2")
    first, again = (nano.HomeTrees(chat, 7).training(3, 100) for _ in range(2))
    other = nano.HomeTrees(chat, 7).training(4, 100)
    assert torch.equal(first.ids_BT, again.ids_BT)
    assert first.ids_BT.shape != other.ids_BT.shape or not torch.equal(first.ids_BT, other.ids_BT)
