"""Distillation from end to end on tiny models: what the student writes, what its teachers say, what it becomes."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from openmimo.chat import Message
from openmimo.checkpoint import Checkpoint
from openmimo.engine.params import SamplingParams
from openmimo.environments import Task
from openmimo.model.model import MiMo, load_model
from openmimo.train.log import read_metrics
from openmimo.train.loss import LossWeights
from openmimo.train.mopd import Practice, distil
from openmimo.train.optim import OptimConfig
from openmimo.train.teachers import Teachers
from openmimo.train.trainer import TrainConfig
from tests.torch.tiny import write_tiny


@dataclass
class OneTurn:
    """An episode of one reply; the reward is the share of its letters that are in the wanted set."""

    messages: list[Message]
    wanted: str
    tools: tuple[dict[str, Any], ...] = ()

    def step(self, reply: Message) -> list[Message]:
        self.messages.append(reply)
        return []

    def reward(self) -> float:
        text = self.messages[-1].content
        return sum(letter in self.wanted for letter in text) / max(len(text), 1)


@dataclass
class Letters:
    """Tasks that ask for letters of one half of the alphabet."""

    name: str
    wanted: str

    def tasks(self, split: str, seed: int, count: int, phrasings: str | None = None) -> Iterator[Task]:
        for number in range(count):
            yield Task(f"{self.name}-{seed}-{number}", "", (Message("user", f"{self.name} {number % 4}"),), (), ())

    def start(self, task: Task) -> OneTurn:
        return OneTurn(list(task.messages), self.wanted)

    def gold(self, task: Task) -> tuple[Message, ...]:
        return ()


DOMAINS = {"early": Letters("early", "abcdefghijklm"), "late": Letters("late", "nopqrstuvwxyz")}
MTP = ".mtp"


def draw(step: int, count: int = 4):
    return {name: [(env, task) for task in env.tasks("train", step, count)] for name, env in DOMAINS.items()}


def changed(model: MiMo, seed: int, amount: float = 0.1) -> MiMo:
    """A teacher: the same model with other weights."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2 and MTP not in name:
                parameter += amount * torch.randn(parameter.shape, generator=generator)
    return model


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("mopd")
    student = write_tiny(out / "student")
    for seed, name in enumerate(DOMAINS):
        write_tiny(out / name, changed(load_model(Checkpoint.open(student)), seed + 1))
    return {"student": student, **{name: out / name for name in DOMAINS}}


def run(folders, out: Path, steps: int = 10, named=None, **settings) -> list[dict]:
    teachers = Teachers(named or {name: folders[name] for name in DOMAINS}, folders["student"])
    practice = Practice(draw, params=SamplingParams(max_new_tokens=4), **settings)
    optim = OptimConfig(lr=5e-3, weight_decay=0.0, warmup=0.0, decay=0.0)
    weights = LossWeights(mtp=0.3, balance=0.0)
    config = TrainConfig(str(out), steps, optim=optim, weights=weights, balance_speed=0.0, bf16=False)
    distil(folders["student"], teachers, practice, config)
    return [record for record in read_metrics(out / "metrics.jsonl") if "loss" in record]


def test_the_student_moves_towards_every_teacher(folders, tmp_path):
    records = run(folders, tmp_path / "run", steps=10)
    first, last = records[0]["kl by domain"], records[-1]["kl by domain"]
    print(first, last, [r["tok_s"] for r in records])
    for domain in DOMAINS:
        assert last[domain] < 0.5 * first[domain]
