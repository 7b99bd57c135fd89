"""`openmimo train`: a recipe's stage, SFT of a checkpoint on a file, or the report of a run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from openmimo.errors import ConfigError
from openmimo.train.finetune import finetune
from openmimo.train.processes import process_group
from openmimo.train.recipe import Run, Stage, load_stage
from openmimo.train.report import summarise, write_report

__all__ = ["TrainRequest", "run_command"]


@dataclass(frozen=True)
class TrainRequest:
    """What the command line asks for; None where it says nothing.

    Attributes:
        stage: "pretrain", "sft", "rl", "mopd" or "report".
        target: a recipe, a checkpoint folder or a run folder.
        data: JSONL file.
        out: folder of the run.
        steps, lr, bad_lines: as the options.
        allow_changes: resume although settings differ.
    """

    stage: Stage | Literal["report"]
    target: Path
    data: Path | None = None
    out: Path | None = None
    steps: int | None = None
    lr: float | None = None
    bad_lines: Literal["stop", "skip"] | None = None
    allow_changes: bool = False


def run_command(request: TrainRequest) -> dict[str, Any] | None:
    """Do it.

    Args:
        request: what to do.
    Returns:
        a summary with the checkpoint's and the report's path; None on all but the first process of torchrun.
    Raises:
        ConfigError: options do not fit together, or the target is not what it must be.
        OpenMiMoError: whatever training raises.
    """
    _check(request)
    if request.stage == "report":
        report = write_report(request.target)
        return {**summarise(request.target), "checkpoint": None, "report": str(report)}
    with process_group() as is_first:
        run = Run(
            request.out or Path("runs") / request.target.stem, request.stage, request.steps, request.allow_changes
        )
        extra: dict[str, Any] = {}
        if request.data:
            done = finetune(request.target, request.data, run, request.lr or 3e-4, request.bad_lines or "stop")
            checkpoint = done.checkpoint
            extra = {"conversations": done.data.num_lines, "skipped_lines": done.data.skipped}
        else:
            checkpoint = load_stage(request.target, request.stage)(run)
        if not is_first:
            return None
        report = write_report(checkpoint.parent)  # a stage of several trainings ends with the last one's
        return {**summarise(checkpoint.parent), **extra, "checkpoint": str(checkpoint), "report": str(report)}


def _check(request: TrainRequest) -> None:
    """A setting that cannot take effect is an error."""
    if request.steps is not None and request.steps < 1:
        raise ConfigError(f"--steps {request.steps} must be at least 1")
    if request.lr is not None and not 0 < request.lr < 1:
        raise ConfigError(f"--lr {request.lr} must be between 0 and 1; 3e-4 is a start")
    if request.data and request.stage != "sft":
        raise ConfigError(f"--data goes with sft and a checkpoint folder, not with {request.stage}")
    if request.data and not request.target.is_dir():
        raise ConfigError(f"{request.target} is not a checkpoint folder: --data fine-tunes one")
    if not request.data and (request.lr is not None or request.bad_lines):
        raise ConfigError("--lr and --bad-lines go with --data: a recipe states its own settings")
    if not request.data and request.stage == "sft" and request.target.is_dir():
        raise ConfigError(f"{request.target} is a folder: give --data FILE.jsonl to fine-tune it, or a recipe")
    ignored = [request.out, request.steps, request.allow_changes]
    if request.stage == "report" and any(ignored):
        raise ConfigError("report takes a run folder and nothing else")
