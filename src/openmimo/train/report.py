"""`report.html` of a run folder: what `metrics.jsonl` holds, as plots. One file, inline SVG, no script."""

import html
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openmimo.errors import ConfigError
from openmimo.train.log import METRICS, read_metrics

__all__ = ["summarise", "write_report"]

REPORT = "report.html"
MAX_POINTS = 300
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 560, 220, 58, 24, 8
COLOURS = ("#2a6fdb", "#d9480f", "#2b8a3e", "#862e9c", "#c2255c", "#0b7285", "#8a6d00", "#555555")
PLOTS = (
    ("Loss, nats", ("loss", "mtp0", "mtp1", "mtp2")),
    ("Share of targets that are the first choice", ("accuracy", "agree0", "agree1", "agree2")),
    ("Learning rate", ("lr",)),
    ("Gradient norm before clipping", ("grad_norm",)),
    ("Expert load, largest / mean", ("load_worst", "load_mean")),
    ("Share of experts without a token", ("idle",)),
    ("num-zeros, share of each group", ("zeros_experts", "zeros_router", "zeros_rest")),
    ("Tokens per second", ("tok_s",)),
    ("Mean reward of fresh tasks", ("reward",)),
    ("Nats a token: entropy, KL to the start", ("entropy", "kl")),
    ("Log-probability, engine against trainer", ("sampler_gap",)),
    ("Own tokens of a rollout", ("length",)),
    ("Tokens for each engine step", ("acceptance",)),
    ("Groups with a signal, wasted groups, idle slots, truncated", ("valid", "wasted", "slots_idle", "truncated")),
)
NO_SERIES = {"step", "time", "note", "alarm", "skipped", "experts"}
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #222; }
h1 { font-size: 1.4rem; } h2 { font-size: 1rem; margin: 0 0 .3rem; }
section { display: inline-block; margin: 0 1rem 1.5rem 0; }
svg { background: #fafafa; border: 1px solid #ddd; } text { font: 11px system-ui, sans-serif; fill: #555; }
.alarm { background: #ffe3e3; border-left: 4px solid #c92a2a; padding: .4rem .8rem; }
table { border-collapse: collapse; }
td, th { text-align: right; padding: .1rem .8rem .1rem 0; } .key { margin-right: .8rem; white-space: nowrap; }
"""

Points = list[tuple[float, float]]


@dataclass
class _History:
    """What a metrics file holds, sorted by what becomes of it."""

    series: dict[str, Points] = field(default_factory=lambda: defaultdict(list))
    scores: dict[str, dict[str, Points]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    experts: list[tuple[int, list[list[float]]]] = field(default_factory=list)
    alarms: list[tuple[int, str]] = field(default_factory=list)
    notes: list[tuple[int, str]] = field(default_factory=list)
    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0
    skipped: int = 0


def write_report(folder: Path) -> Path:
    """Write `report.html` of a run folder, replacing an older one.

    Args:
        folder: with a metrics.jsonl.
    Returns:
        the report's path.
    Raises:
        ConfigError: there is no metrics.jsonl.
        OSError: the report cannot be written.
    """
    history = _read(folder)
    path, partial = folder / REPORT, folder / f".{REPORT}.tmp"
    partial.write_text(_page(folder.resolve().name, history), encoding="utf-8")
    os.replace(partial, path)
    return path


def summarise(folder: Path) -> dict[str, Any]:
    """Sum up a run for programs.

    Args:
        folder: with a metrics.jsonl.
    Returns:
        steps, tokens, seconds, skipped steps, alarms, and the last value of every curve.
    Raises:
        ConfigError: there is no metrics.jsonl.
    """
    history = _read(folder)
    last = {name: points[-1][1] for name, points in history.series.items()}
    scores = {name: {key: points[-1][1] for key, points in group.items()} for name, group in history.scores.items()}
    return {
        "folder": str(folder),
        "steps": history.steps,
        "tokens": history.tokens,
        "seconds": round(history.seconds, 1),
        "skipped": history.skipped,
        "alarms": [text for _, text in history.alarms],
        "last": last,
        "scores": scores,
    }


def _read(folder: Path) -> _History:
    if not (folder / METRICS).is_file():
        raise ConfigError(f"{folder} has no {METRICS}: give the folder of a training run")
    history = _History()
    for record in read_metrics(folder / METRICS):
        step = int(record.get("step", 0))
        if "alarm" in record:
            history.alarms.append((step, str(record["alarm"])))
        elif "note" in record:
            history.notes.append((step, str(record["note"])))
            history.skipped += "skipped" in record
        elif "loss" in record and "tokens" in record:
            _take_step(history, step, record)
        else:
            _take_scores(history, step, record)
    return history


def _take_step(history: _History, step: int, record: Mapping[str, Any]) -> None:
    history.steps = max(history.steps, step + 1)
    history.tokens += record["tokens"]
    history.seconds += record["tokens"] / max(record.get("tok_s") or 1, 1)
    for name, value in record.items():
        if name not in NO_SERIES and isinstance(value, int | float):
            history.series[name].append((step, value))
        elif isinstance(value, dict):
            _take_scores(history, step, {name: value})
    if record.get("experts"):
        history.experts.append((step, record["experts"]))


def _take_scores(history: _History, step: int, record: Mapping[str, Any]) -> None:
    """An evaluation: numbers form one plot, each table or list of numbers one of its own."""
    for name, value in record.items():
        if name in NO_SERIES:
            continue
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, number in [("", value)] if isinstance(value, int | float) else items:
            if isinstance(number, int | float):
                plot, curve = (name, str(key)) if key != "" else ("Evaluation", name)
                history.scores[plot][curve].append((step, number))


def _page(name: str, history: _History) -> str:
    title = html.escape(f"Training run {name}")
    head = f"<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><title>{title}</title><style>{STYLE}</style>"
    rate = history.tokens / history.seconds if history.seconds else 0
    facts = (
        f"{history.steps:,} steps, {history.tokens:,} tokens, {history.seconds / 60:,.1f} minutes of steps, "
        f"{rate:,.0f} tokens/s, {history.skipped} steps skipped."
    )
    body = [f"<h1>{title}</h1>", f"<p>{facts}</p>"]
    body += [f"<p class='alarm'>step {step + 1}: {html.escape(text)}</p>" for step, text in history.alarms]
    body += [
        _section(title, {key: history.series[key] for key in keys if key in history.series}) for title, keys in PLOTS
    ]
    body += [_section(name, curves) for name, curves in history.scores.items()]
    body += [_expert_map(history.experts)] if history.experts else []
    if history.notes:
        items = "".join(f"<li>step {step + 1}: {html.escape(text)}</li>" for step, text in history.notes[-50:])
        body.append(f"<h2>Notes</h2><ul>{items}</ul>")
    return "\n".join([head, "</head><body>", *filter(None, body), "</body></html>", ""])


def _section(title: str, curves: Mapping[str, Points]) -> str:
    if not curves:
        return ""
    keys = "".join(
        f"<span class='key' style='color:{COLOURS[i % len(COLOURS)]}'>&#9632; {html.escape(name)} "
        f"{_number(points[-1][1])}</span>"
        for i, (name, points) in enumerate(curves.items())
    )
    return f"<section><h2>{html.escape(title)}</h2>{_plot(list(curves.values()))}<div>{keys}</div></section>"


def _plot(curves: Sequence[Points]) -> str:
    thin = [_thin(points) for points in curves]
    xs, ys = zip(*(point for points in thin for point in points), strict=True)
    low, high = min(0.0, *ys), max(ys)
    high = high if high > low else low + 1
    last = max(xs) or 1

    def place(x: float, y: float) -> str:
        across = LEFT + (WIDTH - LEFT - 8) * x / last
        return f"{across:.1f},{HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * (y - low) / (high - low):.1f}"

    lines = [f"<svg width='{WIDTH}' height='{HEIGHT}' viewBox='0 0 {WIDTH} {HEIGHT}' role='img'>"]
    for part in range(5):
        y = low + (high - low) * part / 4
        start, end = place(0, y), place(last, y)
        (x1, y1), x2 = start.split(","), end.split(",")[0]
        lines.append(f"<line x1='{x1}' y1='{y1}' x2='{x2}' y2='{y1}' stroke='#e3e3e3'/>")
        lines.append(f"<text x='{LEFT - 6}' y='{float(y1) + 4:.1f}' text-anchor='end'>{_number(y)}</text>")
        x = place(last * part / 4, low).split(",")[0]
        anchor = "end" if part == 4 else "middle"
        lines.append(f"<text x='{x}' y='{HEIGHT - 8}' text-anchor='{anchor}'>{last * part / 4:,.0f}</text>")
    for i, points in enumerate(thin):
        path, colour = " ".join(place(x, y) for x, y in points), COLOURS[i % len(COLOURS)]
        lines.append(f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='1.5'/>")
    return "".join([*lines, "</svg>"])


def _expert_map(experts: Sequence[tuple[int, list[list[float]]]]) -> str:
    """A row for each expert, a column for each record: white without tokens, dark with twice the fair share."""
    shown = experts[:: -(-len(experts) // 60)]
    routers = range(len(shown[0][1]))
    cell, sections = 9, []
    for router in routers:
        num_experts = len(shown[0][1][router])
        rects = "".join(
            f"<rect x='{column * cell}' y='{row * cell}' width='{cell}' height='{cell}' fill='#2a6fdb' "
            f"fill-opacity='{min(1.0, share * num_experts / 2):.2f}'/>"
            for column, (_, shares) in enumerate(shown)
            for row, share in enumerate(shares[router])
        )
        size = f"width='{len(shown) * cell}' height='{num_experts * cell}'"
        sections.append(f"<section><h2>Experts of router {router}</h2><svg {size} role='img'>{rects}</svg></section>")
    return "\n".join(sections)


def _thin(points: Points) -> Points:
    """Means of equal groups, at most MAX_POINTS of them."""
    size = -(-len(points) // MAX_POINTS)
    groups: Iterable[Points] = (points[i : i + size] for i in range(0, len(points), size))
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
