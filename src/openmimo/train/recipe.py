"""Recipes: Python files of the user's own that say what a training run is.

A recipe defines some of `pretrain(run)`, `sft(run)`, `rl(run)` and `mopd(run)`. Each gets a `Run`, trains in
its folder, and returns the folder of the resulting checkpoint, usually what `train` returned.
"""

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from openmimo.errors import ConfigError
from openmimo.train.snapshot import find_snapshot
from openmimo.train.trainer import TrainConfig

__all__ = ["Run", "Stage", "load_stage"]

Stage = Literal["pretrain", "sft", "rl", "mopd"]
STAGES: tuple[Stage, ...] = ("pretrain", "sft", "rl", "mopd")


@dataclass(frozen=True)
class Run:
    """What the program hands to a recipe.

    Attributes:
        out: folder of the whole recipe.
        stage: which of its stages this is.
        steps: number of steps that was asked for, or None.
        allow_changes: resume although settings differ.
    """

    out: Path
    stage: Stage
    steps: int | None = None
    allow_changes: bool = False

    @property
    def folder(self) -> Path:
        """Run folder of this stage."""
        return self.out / self.stage

    def config(self, steps: int, part: str = "", **settings: Any) -> TrainConfig:
        """Settings of this stage.

        Args:
            steps: the recipe's own number; one that was asked for goes before it.
            part: name of one of several trainings of the stage, such as a teacher's; each has a folder of its own.
            settings: further fields of `TrainConfig`.
        Returns:
            the settings, with folder, steps and allow_changes filled in.
        """
        chosen = self.steps if self.steps is not None else steps
        return TrainConfig(str(self.folder / part), steps=chosen, allow_changes=self.allow_changes, **settings)

    def result_of(self, stage: Stage, part: str = "") -> Path:
        """The last checkpoint of another stage.

        Args:
            stage: which.
            part: as for `config`.
        Returns:
            its folder.
        Raises:
            ConfigError: it has not been run, or all it left is damaged.
        """
        folder = self.out / stage / part
        snapshot, damage = find_snapshot(folder)
        if snapshot is None:
            reason = "; ".join(damage) or "it holds no snapshot"
            raise ConfigError(f"{self.stage} goes on from {folder}, but {reason}: run {stage} first")
        return snapshot


def load_stage(path: Path, stage: Stage) -> Callable[[Run], Path]:
    """Find a stage in a recipe.

    Args:
        path: a Python file; it is run.
        stage: name of the function.
    Returns:
        the function.
    Raises:
        ConfigError: there is no such file, it is no Python, or it has no such stage.
    """
    if path.suffix != ".py" or not path.is_file():
        raise ConfigError(f"{path} is not a Python file: give a recipe, such as recipes/toy.py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent.resolve()))  # as for a script: a recipe may be in several files
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise ConfigError(f"{path} is not Python: {error}") from error
    found = [name for name in STAGES if callable(getattr(module, name, None))]
    if stage not in found:
        raise ConfigError(f"{path} defines no function {stage}(run): it has {', '.join(found) or 'no stages'}")
    return getattr(module, stage)
