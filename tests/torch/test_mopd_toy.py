"""The toy recipe and its scoreboard at reduced length: every row is there, and the figures are what they say."""

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import mopd_scores
import mopd_toy
import pytest
import torch
from drills import Drill

ROWS = [
    "SFT", "teacher sum", "teacher order", "teacher reverse", "MOPD full", "MOPD sampled-outcome", "MOPD full-scaled",
    "MOPD full, in q4", "MOPD full, finished, in q4", "Mix-RL", "SFT on teacher samples", "average", "task arithmetic",
]  # fmt: skip


@pytest.mark.timeout(600)
def test_one_command_makes_the_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    torch.set_num_threads(1)
    settings = replace(mopd_toy.RL, groups=2, samples=4, eval_tasks=1, max_new_tokens=2, slots=4, max_fall=1.0)
    for name, value in {
        "ROWS": 1, "SFT_STEPS": 1, "MOST_STEPS": 1, "STEPS": {"sum": 1, "order": 1, "reverse": 1}, "RL": settings,
        "MOPD_STEPS": 1, "FINISH_STEPS": 1, "ROLLOUTS": 4, "PROGRESS_TASKS": 1,
        "VARIANTS": {name: mopd_toy.VARIANTS[name] for name in ("full", "sampled-outcome")},
        "PARAMS": replace(mopd_toy.PARAMS, max_new_tokens=2),
    }.items():  # fmt: skip
        monkeypatch.setattr(mopd_toy, name, value)
    monkeypatch.setattr(mopd_scores, "TASKS", 2)
    monkeypatch.setattr(mopd_scores, "SCALED", {"full-scaled": mopd_scores.SCALED["full-scaled"]})
    # A fresh model is never right; half of what it writes must be, or there is nothing to reinforce.
    monkeypatch.setattr(Drill, "score", lambda self, task, content: float(sum(map(ord, content)) % 2))
    table = mopd_scores.main(tmp_path, [7])
    assert [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines()[2 : 2 + len(ROWS)]] == ROWS
    assert (tmp_path / "scores.md").read_text() == table
    found = json.loads((tmp_path / "scores.json").read_text())
    assert list(found["seeds"]["7"]) == ROWS
    bars = ElementTree.fromstring((tmp_path / "scores.svg").read_text())
    assert len(bars.findall("{http://www.w3.org/2000/svg}rect")) == 3 * len(ROWS)


def scores(**sampled: float) -> mopd_scores.Scores:
    """The same figure in all drills."""
    return {model: {drill: {"sampled": value} for drill in mopd_toy.STEPS} for model, value in sampled.items()}


def test_recovered_headroom_by_hand():
    found = scores(SFT=50.0, student=74.0, **{f"teacher {drill}": 80.0 for drill in ("sum", "order", "reverse")})
    assert mopd_scores.recovered(found, "student") == pytest.approx({"sum": 80.0, "order": 80.0, "reverse": 80.0})


def test_intervals_over_seeds_and_over_problems():
    mean, spread = mopd_scores.interval([80.0, 82.0, 84.0])
    assert (mean, spread) == pytest.approx((82.0, 4.303 * 2 / 3**0.5))
    assert mopd_scores.interval([50.0])[1] == pytest.approx(5.6, abs=0.1)  # of 300 problems
