"""Distillation from end to end on tiny models: what the student writes, what its teachers say, what it becomes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from drills import DRILLS

from openmimo.checkpoint import Checkpoint
from openmimo.engine.params import SamplingParams
from openmimo.errors import ConfigError
from openmimo.model.model import MiMo, load_model
from openmimo.tokenizer import Tokenizer
from openmimo.train.distill import MopdObjective
from openmimo.train.log import read_metrics
from openmimo.train.loss import LossWeights
from openmimo.train.mopd import Practice, distil
from openmimo.train.optim import OptimConfig
from openmimo.train.report import write_report
from openmimo.train.teachers import SELF, ServerTeacher, Teachers
from openmimo.train.trainer import TrainConfig
from tests.torch.drill_model import save, tiny_model

NO_MTP = LossWeights(mtp=0.0, balance=0.0)
DOMAINS = ("sum", "order", "reverse")


def outspoken(seed: int = 0) -> MiMo:
    """Fresh weights, but not every token is equally likely."""
    model = tiny_model(seed)
    with torch.no_grad():
        model.model.embed_tokens.weight *= 10
    return model


def changed(model: MiMo, seed: int) -> MiMo:
    """A teacher: the same model with other weights."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2 and ".mtp" not in name:
                parameter += 0.3 * parameter.std() * torch.randn(parameter.shape, generator=generator)
    return model


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("mopd")
    teachers = {name: save(changed(outspoken(), seed + 1), out / name) for seed, name in enumerate(DOMAINS[:2])}
    return {"student": save(outspoken(), out / "student"), **teachers}


def draw(step: int):
    return {name: [(DRILLS[name], task) for task in DRILLS[name].tasks("train", step, 6)] for name in DOMAINS}


PRACTICE = Practice(draw, params=SamplingParams(max_new_tokens=4), slots=16, part_tokens=512)


def run(folders, out: Path, steps: int, practice: Practice = PRACTICE) -> list[dict]:
    teachers = Teachers({"sum": folders["sum"], "order": folders["order"], "reverse": SELF}, folders["student"])
    optim = OptimConfig(lr=3e-3, weight_decay=0.0, warmup=0.0, decay=0.0)
    weights = LossWeights(mtp=0.3, balance=0.0)
    config = TrainConfig(str(out), steps, save_every=3, optim=optim, weights=weights, balance_speed=0.0, bf16=False)
    distil(folders["student"], teachers, practice, config)
    return [record for record in read_metrics(out / "metrics.jsonl") if "loss" in record]


@pytest.fixture(scope="module")
def unbroken(folders, tmp_path_factory) -> tuple[Path, list[dict]]:
    out = tmp_path_factory.mktemp("unbroken") / "run"
    return out, run(folders, out, 6)


def test_the_student_moves_towards_every_teacher(unbroken):
    first, last = (unbroken[1][step]["kl by domain"] for step in (0, -1))
    assert first["reverse"] == pytest.approx(0.0, abs=1e-6)  # its teacher is what it is itself
    for domain in ("sum", "order"):
        assert first[domain] > 0.02
        assert last[domain] < 0.8 * first[domain]


def test_sampler_and_trainer_agree_so_that_nothing_is_masked(unbroken):
    """With the experts replayed and float32 on both sides, importance weights are 1."""
    assert max(record["sampler_gap"] for record in unbroken[1]) < 1e-5
    assert all(record["masked by domain"] == dict.fromkeys(DOMAINS, 0.0) for record in unbroken[1])


def test_a_run_leaves_its_preflight_report_and_plots_of_every_domain(unbroken):
    out, _ = unbroken
    report = json.loads((out / "preflight.json").read_text())
    assert [check["domain"] for check in report["domains"]] == list(DOMAINS)
    assert report["domains"][2]["is_self"]
    assert report["refusals"] == []
    page = write_report(out).read_text()
    assert all(f"{name} by domain" in page for name in ("kl", "reward", "gradient_share", "entropy", "masked"))


def test_a_resumed_run_equals_an_unbroken_one(folders, unbroken, tmp_path):
    run(folders, tmp_path / "run", 3)
    resumed = run(folders, tmp_path / "run", 6)
    assert [record["kl"] for record in resumed] == [record["kl"] for record in unbroken[1]]


def test_the_sampled_form_with_outcome_moves_too(folders, tmp_path):
    objective = MopdObjective(alpha=0.1, is_full=False, has_scales=True)
    records = run(folders, tmp_path / "run", 1, replace(PRACTICE, samples=2, objective=objective))
    assert records[0]["grad_norm"] > 0


def test_a_rounded_student_is_distilled_from_its_own_floats(folders, tmp_path):
    """The engine also rounds activations, so sampler and trainer differ a little; nothing is masked for it."""
    practice = replace(PRACTICE, draw=lambda step: {"sum": draw(0)["sum"]}, weights="q4")
    teachers = Teachers({"sum": SELF}, folders["student"])
    optim = OptimConfig(lr=5e-4, weight_decay=0.0, warmup=0.0, decay=0.0)
    config = TrainConfig(str(tmp_path / "run"), 12, optim=optim, weights=NO_MTP, balance_speed=0.0, bf16=False)
    distil(folders["student"], teachers, practice, config)
    records = [record for record in read_metrics(tmp_path / "run" / "metrics.jsonl") if "loss" in record]
    assert 1e-6 < records[0]["sampler_gap"] < 0.1
    last = [record["kl"] for record in records[-4:]]  # every step has other rollouts, and KL goes up and down with them
    assert sum(last) / len(last) < 0.8 * records[0]["kl"]
    assert records[0]["masked by domain"] == {"sum": 0.0}


def test_a_server_teaches_what_a_checkpoint_does(folders, tmp_path, monkeypatch):
    """The same teacher behind an API: the same first step."""
    taught = Checkpoint.open(folders["sum"])
    model, words = load_model(taught), Tokenizer.load(folders["sum"])

    def score(_: ServerTeacher, ids: list[int]) -> tuple[list[float], list[str]]:
        with torch.no_grad():
            scores_TV = model.logits(model(torch.tensor([ids])))[0].log_softmax(-1)
        known = scores_TV[:-1].gather(1, torch.tensor(ids[1:])[:, None]).squeeze(1)
        return [0.0, *known.tolist()], [words.decode([token_id]) for token_id in ids]

    monkeypatch.setattr(ServerTeacher, "_score", score)
    server = ServerTeacher("http://localhost:1/v1", "big")
    curves = []
    for name, teacher, is_full in (("server", server, None), ("folder", folders["sum"], False)):
        objective = MopdObjective(is_full=is_full)
        practice = replace(PRACTICE, draw=lambda step: {"sum": draw(step)["sum"]}, objective=objective)
        config = TrainConfig(str(tmp_path / name), 1, weights=NO_MTP, balance_speed=0.0, bf16=False)
        distil(folders["student"], Teachers({"sum": teacher}, folders["student"]), practice, config)
        curves.append(next(one for one in read_metrics(tmp_path / name / "metrics.jsonl") if "loss" in one))
    assert curves[0]["kl"] == pytest.approx(curves[1]["kl"], abs=1e-4)
    assert curves[0]["grad_norm"] == pytest.approx(curves[1]["grad_norm"], rel=1e-3)
    (check,) = json.loads((tmp_path / "server" / "preflight.json").read_text())["domains"]
    assert check["kl"] == pytest.approx(curves[0]["kl"], abs=1e-3)
    assert check["overlap"] is None


def test_settings_that_contradict_each_other_are_refused(folders, tmp_path):
    config = TrainConfig(str(tmp_path / "run"), 1)
    own, server = Teachers({"sum": SELF}, folders["student"]), ServerTeacher("http://localhost:1/v1", "big")
    remote = Teachers({"sum": server}, folders["student"])
    full, alone = (replace(PRACTICE, objective=one) for one in (MopdObjective(is_full=True), MopdObjective(alpha=0.5)))
    for teachers, practice, reason in (
        (remote, full, "is a server, which scores what was written and nothing else: leave is_full open or choose"),
        (own, alone, "compares samples of one task, but samples=1"),
        (own, replace(PRACTICE, params=SamplingParams(top_p=0.9)), "temperature 1 and no filters"),
    ):
        with pytest.raises(ConfigError, match=reason):
            distil(folders["student"], teachers, practice, config)
    assert not (tmp_path / "run").exists()
