"""Environments that tool workers import: one for fresh weights, and one that takes its judge down."""

import os
import signal
import time
from pathlib import Path

from openmimo.environments.text import TextEnvironment, text_task


class Odd(TextEnvironment):
    """Any text whose characters add up to an odd number is right, so that fresh weights have a chance."""

    name = "odd"

    def sample_group(self, rng, split, phrasings, count):
        return [text_task("odd", "", f"{rng.random():.3f}", "", "") for _ in range(count)]

    def score(self, task, content):
        return float(sum(map(ord, content)) % 2)


class Troubled(Odd):
    """The first time that it judges it hangs, the second time it dies; from then on it is `Odd`."""

    name = "troubled"

    def __init__(self, folder: Path):
        self.folder = folder

    def score(self, task, content):
        trouble = len(list(self.folder.iterdir()))
        (self.folder / str(trouble)).touch()
        if trouble == 0:
            time.sleep(600)
        if trouble == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().score(task, content)


class Locked(Odd):
    """Holds what cannot be sent."""

    def __init__(self, thing):
        self.thing = thing
