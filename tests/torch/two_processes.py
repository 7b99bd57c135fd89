"""A recipe of every stage, and torchrun, which trains it with two processes."""

import os
import subprocess
import sys
from pathlib import Path

import openmimo
from openmimo.train.recipe import Stage

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
    weights = os.environ.get("WEIGHTS", "f32")
    practice = Practice(draw, params=SamplingParams(max_new_tokens=4), weights=weights, slots=16, part_tokens=64)
    return distil(folder / "student", teachers, practice, run.config(2, **SETTINGS, weights=LossWeights(mtp=0.3)))

def rl(run):
    config = run.config(3, **SETTINGS, weights=LossWeights(mtp=0.0, balance=0.0))
    settings = RLConfig(groups=4, samples=8, max_new_tokens=3, eval_tasks=20, slots=16, max_kl=9.0, max_fall=1.0)
    return train_rl(tiny_model(), config, settings, {"odd": Odd()}, drills.text_files(), 1)
"""


def torchrun(*command: str) -> None:
    """Run a program with two processes."""
    paths = [Path(openmimo.__file__).parents[1], ROOT / "recipes", ROOT]  # the package that has an engine
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "OMP_NUM_THREADS": "1"}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*launcher, *command], cwd=ROOT, env=environment, **pipes) as process:
        try:
            _, errors = process.communicate()
        except BaseException:  # the test's time is over
            process.terminate()  # torchrun then ends its workers; a kill would leave them behind
            raise
    assert process.returncode == 0, errors


def together(recipe: Path, stage: Stage, *options: str, folder: str = "together") -> Path:
    """The same with two processes, which have a folder of their own."""
    out = recipe.parent / folder
    torchrun("-m", "openmimo", "train", stage, str(recipe), "--out", str(out), *options)
    return max((out / stage).glob("step-*"))
