"""The model in the package: its size, its speed to load, its exactness, and that it does what its card says."""

import json
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch

import openmimo
from openmimo.checkpoint import Checkpoint, default_model_path
from openmimo.engine import Engine
from openmimo.environments.home import HomeEnvironment, LiveHome, demo_home
from openmimo.evals import GREEDY, score
from openmimo.model.model import load_model


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with openmimo.load() as engine:
        yield engine


def requests_about_the_demo_home() -> list[openmimo.Message]:
    home = LiveHome(demo_home())
    return [openmimo.Message("system", home.system_content()), openmimo.Message("user", "turn off the kitchen light")]


def test_it_fits_in_25_megabytes():
    assert sum(path.stat().st_size for path in default_model_path().iterdir()) <= 25e6


def test_it_loads_in_under_a_second():
    seconds = []
    for _ in range(3):
        started = time.monotonic()
        openmimo.load().close()
        seconds.append(time.monotonic() - started)
    assert min(seconds) < 1.0


def test_native_f32_equals_the_torch_twin():
    checkpoint = Checkpoint.open(default_model_path())
    with openmimo.load(weights="f32", mtp="off") as engine:
        assert engine.chat is not None
        ids = engine.chat.encode(requests_about_the_demo_home())
        native, native_mtp = engine.logits(ids), engine.mtp_logits(ids)
    model = load_model(checkpoint)
    with torch.no_grad():
        hidden = model(torch.tensor([ids]))
        assert np.abs(model.logits(hidden)[0].numpy() - native).max() < 1e-3
        states = model.mtp_states(hidden, torch.tensor([ids]))
        for k, (state, found) in enumerate(zip(states, native_mtp, strict=True)):
            assert np.abs(model.lm_head(state)[0, : -1 - k].numpy() - found).max() < 1e-3


def test_greedy_text_is_the_same_with_and_without_drafts(engine: Engine):
    drafted = engine.generate(requests_about_the_demo_home(), GREEDY, LiveHome(demo_home()).tools())
    with openmimo.load(mtp="off") as plain:
        undrafted = plain.generate(requests_about_the_demo_home(), GREEDY, LiveHome(demo_home()).tools())
    assert drafted.token_ids == undrafted.token_ids


@pytest.mark.parametrize("phrasings", ["train", "eval"])
def test_it_acts_as_its_card_says(engine: Engine, phrasings: str):
    environment = HomeEnvironment()
    found = score(engine, environment, environment.tasks("eval", 11, 150, phrasings), GREEDY)
    claimed = json.loads((default_model_path() / "scores.json").read_text(encoding="utf-8"))["home"]
    column = claimed["known phrasings" if phrasings == "train" else "held-out phrasings"]
    # 150 items have a standard error of at most 4.1 points.
    assert found.scores["all"].percent >= column["scores"]["all"]["percent"] - 12


def test_three_heads_draft_most_of_what_it_writes():
    environment = HomeEnvironment()
    with openmimo.load(mtp=3) as engine:
        found = score(engine, environment, environment.tasks("eval", 12, 240), GREEDY)
    assert found.acceptance_length >= 3.0
