"""The toy recipe at reduced length: loss falls, every MTP head learns, and the result runs in the engine."""

from pathlib import Path

import pytest
import torch

import openmimo
from openmimo.chat import ChatFormat, Message
from openmimo.checkpoint import Checkpoint
from openmimo.model.model import load_model
from openmimo.tokenizer import Tokenizer
from openmimo.train.log import read_metrics
from openmimo.train.recipe import Run, load_stage
from recipes import toy

pytestmark = pytest.mark.timeout(900)  # half a minute of computing, on a machine that may be busy
PRETRAIN_STEPS, SFT_STEPS = 30, 36


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("toy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(toy, "ROWS", 2)
        patch.setattr(toy, "TREES", 2)
        patch.setattr(toy.Scoreboard.__init__, "__defaults__", (2,))
        toy.pretrain(Run(folder, "pretrain", PRETRAIN_STEPS))
        toy.sft(Run(folder, "sft", SFT_STEPS))
    return folder


def curve(folder: Path, name: str) -> list[float]:
    return [record[name] for record in read_metrics(folder / "metrics.jsonl") if "tokens" in record]


def mean_of_last(folder: Path, name: str, count: int = 5) -> float:
    return sum(curve(folder, name)[-count:]) / count


def test_pre_training_brings_the_loss_down(out):
    assert curve(out / "pretrain", "loss")[0] > 6.9  # log(1024)
    assert mean_of_last(out / "pretrain", "loss") < 3.5
    assert mean_of_last(out / "pretrain", "agree0") > 0.25


def test_fine_tuning_teaches_the_form_of_replies_to_trunk_and_heads(out):
    assert mean_of_last(out / "sft", "loss") < 2.4
    for head in range(3):
        assert mean_of_last(out / "sft", f"agree{head}") > 0.4


def test_no_expert_is_left_without_tokens(out):
    assert mean_of_last(out / "sft", "idle") == 0
    assert mean_of_last(out / "sft", "zeros_experts") < 0.01


def test_the_result_runs_in_the_engine_with_drafts(out):
    folder = out / "sft" / f"step-{SFT_STEPS:06d}"
    chat = ChatFormat.load(folder, Tokenizer.load(folder), "v2")
    ids = chat.encode([Message("system", "You control a home."), Message("user", "Turn on the lamp")])
    with torch.no_grad():
        model = load_model(Checkpoint.open(folder))
        wanted = model.logits(model(torch.tensor([ids])))[0].numpy()
    with openmimo.load(folder, weights="f32", mtp=3) as engine:
        assert abs(engine.logits(ids) - wanted).max() < 1e-4
        reply = engine.generate(ids, openmimo.SamplingParams(temperature=0, max_new_tokens=40))
    assert reply.text.startswith("<think>")
    assert reply.stats.drafted > 0


def test_batches_depend_on_seed_and_step_alone(out):
    chat, _ = toy.make_format(out)
    assert torch.equal(toy.document_batch(chat, 3).ids_BT, toy.document_batch(chat, 3).ids_BT)
    assert torch.equal(toy.request_batch(chat, 3).ids_BT, toy.request_batch(chat, 3).ids_BT)
    assert not torch.equal(toy.document_batch(chat, 3).ids_BT, toy.document_batch(chat, 4).ids_BT)


@pytest.mark.parametrize("stage", ["pretrain", "sft"])
def test_the_program_finds_its_stages(stage):
    assert callable(load_stage(Path(toy.__file__), stage))
