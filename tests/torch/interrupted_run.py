"""Kills a small training run at one disk operation after another and says how it went on. Run by test_train_faults.py.

A process of its own, because it forks, sets limits and dies. Prints one JSON line for each attempt.
"""

import json
import os
import random
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from openmimo.config import parse_config
from openmimo.errors import StorageError
from openmimo.model.model import new_model
from openmimo.train.snapshot import find_snapshot
from openmimo.train.trainer import TrainConfig, train
from tests.torch.test_model import SMALL
from tests.torch.test_train import copy_task

DISK_EVENTS = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate"}
STEPS, BEFORE, DURING = 8, 4, 6


def run(folder: Path, steps: int) -> Path:
    """Train up to a step; the schedule is always that of STEPS."""

    def source(step: int):
        if step == steps:
            raise KeyboardInterrupt
        return copy_task(step)

    config = TrainConfig(str(folder), STEPS, save_every=2, bf16=False)
    try:
        return train(new_model(parse_config(SMALL, num_mtp_layers=1), seed=0), config, source, {})
    except KeyboardInterrupt:
        return folder


def kill_at_operation(number: int) -> None:
    """Die before the given disk operation: opening for writing, fsync, rename, mkdir, removal."""
    left = number

    def count(event: str, arguments: tuple) -> None:
        nonlocal left
        is_write = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if is_write or event in DISK_EVENTS:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    fsync = os.fsync

    def counted_fsync(descriptor: int) -> None:
        count("os.rename", ())
        fsync(descriptor)

    os.fsync = counted_fsync
    sys.addaudithook(count)


def limit_file_size(num_bytes: int, is_fatal: bool) -> None:
    """At that byte of a file the system kills the process, or fails the write as it does on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL if is_fatal else signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, resource.RLIM_INFINITY))


def in_child(prepare: Callable[[], None], folder: Path, kill_after_s: float | None = None) -> int:
    """Go on in a child until step DURING; returns its exit code, negative for a signal."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            prepare()
            run(folder, DURING)
            code = 0
        except StorageError as error:
            code = 4 if "was not written" in str(error) or "cannot be written" in str(error) else 5
        finally:
            os._exit(code)
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def result(folder: Path) -> tuple[bytes, bytes, list[float]]:
    """Weights, optimiser state and loss curve of a finished run."""
    last = folder / f"step-{STEPS:06d}"
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    return (last / "model.safetensors").read_bytes(), (last / "trainer/optimizers.safetensors").read_bytes(), losses


def main(root: Path, mode: str) -> None:
    torch.set_num_threads(1)
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    run(root / "straight", STEPS)
    run(root / "base", BEFORE)
    wanted, size = result(root / "straight"), max(p.stat().st_size for p in (root / "base").rglob("*") if p.is_file())
    rng = random.Random(mode)
    plans = {
        "operations": ((lambda n=n: kill_at_operation(n), None) for n in range(1, 1000)),
        "bytes": ((lambda n=n: limit_file_size(n, True), None) for n in sorted(rng.sample(range(size), 6))),
        "full": ((lambda n=n: limit_file_size(n, False), None) for n in sorted(rng.sample(range(size), 6))),
        "moments": ((lambda: None, rng.uniform(0.0, 0.4)) for _ in range(4)),
    }
    for prepare, kill_after_s in plans[mode]:
        folder = root / "attempt"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(root / "base", folder)
        code = in_child(prepare, folder, kill_after_s)
        snapshot, damage = find_snapshot(folder)
        run(folder, STEPS)
        record = {"code": code, "found": snapshot and snapshot.name, "damage": damage}
        record |= {"equal": result(folder) == wanted, "left": sorted(p.name for p in folder.glob("*.tmp*"))}
        print(json.dumps(record), flush=True)
        if mode == "operations" and code == 0:
            break


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
