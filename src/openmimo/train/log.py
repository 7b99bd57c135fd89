"""What a training run tells: `metrics.jsonl` for programs, a progress bar or plain lines for people."""

import json
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["METRICS", "RunLog", "read_metrics"]

METRICS = "metrics.jsonl"
DIGITS = 5
SMOOTHED = 0.95
"""Share of the old value in the shown time of a step."""


class RunLog:
    """Appends every record to `metrics.jsonl`; shows a bar on a terminal, a line every `plain_every` steps elsewhere.

    Args:
        folder: run folder.
        steps: length of the run.
        start: step to begin at; lines of an earlier attempt at or past it are dropped.
        plain_every: steps between two plain lines.
    Raises:
        OSError: the file cannot be written.
    """

    def __init__(self, folder: Path, steps: int, start: int, plain_every: int = 20):
        self.path, self.steps, self.plain_every = folder / METRICS, steps, plain_every
        self._keep_before(start)
        self._file = self.path.open("a", encoding="utf-8")
        self._bar = _bar() if sys.stderr.isatty() else None
        self._last = time.monotonic()
        self._step_s: float | None = None
        if self._bar:
            self._bar.start()
            self._task = self._bar.add_task("train", total=steps, completed=start, text="")

    def step(self, step: int, record: dict[str, Any]) -> None:
        """Log one optimiser step.

        Args:
            step: 0-based.
            record: its numbers; loss and tok_s are shown.
        """
        self._write({"step": step, "time": round(time.time(), 2), **record})
        now = time.monotonic()
        took, self._last = now - self._last, now
        self._step_s = took if self._step_s is None else SMOOTHED * self._step_s + (1 - SMOOTHED) * took
        text = _summary(record)
        if self._bar:
            self._bar.update(self._task, completed=step + 1, text=text)
        elif step % self.plain_every == 0 or step + 1 == self.steps:
            left = _clock(self._step_s * (self.steps - step - 1))
            print(f"{step + 1}/{self.steps} {text} ETA {left}", file=sys.stderr, flush=True)

    def note(self, **record: Any) -> None:
        """Log something that is not a step, such as an evaluation; `alarm` and `note` are for people."""
        self._write({"time": round(time.time(), 2), **record})
        text = next((f"{key}: {record[key]}" for key in ("alarm", "note") if key in record), json.dumps(record))
        if self._bar:
            self._bar.console.print(text, markup=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()
        self._file.close()

    def _write(self, record: dict[str, Any]) -> None:
        self._file.write(json.dumps(_rounded(record)) + "\n")
        self._file.flush()

    def _keep_before(self, start: int) -> None:
        """Drop what a resumed run does again, and a last line that was cut off; the file is replaced whole."""
        if self.path.exists():
            kept = (json.dumps(record) + "\n" for record in read_metrics(self.path) if record.get("step", -1) < start)
            partial = self.path.with_suffix(".tmp")
            partial.write_text("".join(kept), encoding="utf-8")
            os.replace(partial, self.path)


def read_metrics(path: Path) -> Iterator[dict[str, Any]]:
    """Read a `metrics.jsonl`.

    Args:
        path: the file.
    Returns:
        its records; lines that a crash cut off are left out.
    """
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            yield record


def _rounded(value: Any) -> Any:
    """The same data with short numbers; those that are not finite become null, as JSON has none."""
    if isinstance(value, float):
        is_small = 0 < abs(value) <= 1e-2
        short = float(f"{value:.4g}") if is_small else round(value, DIGITS)
        return short if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value


def _summary(record: dict[str, Any]) -> str:
    parts = [f"{key} {record[key]:.4g}" for key in ("loss", "accuracy", "agree0") if key in record]
    return " ".join([*parts, f"{record['tok_s']:,} tok/s"] if "tok_s" in record else parts)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _bar() -> Progress:
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
    )
    return Progress(*columns)
