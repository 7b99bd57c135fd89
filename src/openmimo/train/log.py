"""What a training run tells: `metrics.jsonl` for programs, a progress bar or plain lines for people."""

import json
import sys
import time
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["RunLog"]


class RunLog:
    """Appends every record to `metrics.jsonl`; shows a bar on a terminal, a line every `plain_every` steps elsewhere.

    Args:
        folder: run folder.
        steps: length of the run.
        start: step to begin at; lines of an earlier attempt at or past it are dropped.
    """

    def __init__(self, folder: Path, steps: int, start: int, plain_every: int = 20):
        self.path, self.steps, self.plain_every = folder / "metrics.jsonl", steps, plain_every
        self._keep_before(start)
        self._file = self.path.open("a", encoding="utf-8")
        self._bar = _bar() if sys.stderr.isatty() else None
        if self._bar:
            self._bar.start()
            self._task = self._bar.add_task("train", total=steps, completed=start, text="")

    def step(self, step: int, record: dict[str, Any]) -> None:
        """Log one optimiser step.

        Args:
            step: 0-based.
            record: its scalars.
        """
        self._write({"step": step, "time": round(time.time(), 2), **record})
        text = " ".join(f"{key} {value:.4g}" for key, value in record.items() if isinstance(value, int | float))
        if self._bar:
            self._bar.update(self._task, completed=step + 1, text=text)
        elif step % self.plain_every == 0 or step + 1 == self.steps:
            print(f"{step + 1}/{self.steps} {text}", file=sys.stderr, flush=True)

    def note(self, **record: Any) -> None:
        """Log something that is not a step, such as an evaluation."""
        self._write({"time": round(time.time(), 2), **record})
        print(json.dumps(record), file=sys.stderr, flush=True)

    def close(self) -> None:
        """Finish the bar and the file."""
        if self._bar:
            self._bar.stop()
        self._file.close()

    def _write(self, record: dict[str, Any]) -> None:
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()

    def _keep_before(self, start: int) -> None:
        if self.path.exists():
            lines = [line for line in self.path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
            kept = [line for line in lines if json.loads(line).get("step", -1) < start]
            self.path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")


def _bar() -> Progress:
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
    )
    return Progress(*columns)
