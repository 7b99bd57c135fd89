"""The engine in float32 against logits of the published implementation (tests/oracles)."""

from itertools import product

import numpy as np
import pytest
from native_cases import (
    FLASH,
    FP8,
    FUSED,
    HEARING,
    MXFP4,
    ORACLES,
    SEEING,
    SEVEN,
    Driver,
    load_expected,
    logits,
    open_backend,
)

from openmimo.checkpoint import Checkpoint
from openmimo.native import NativeBackend
from openmimo.quantize import quantize_folder

TOLERANCE = 1e-4  # float32 sums in another order; observed differences stay below 1e-5
V2 = [FLASH, FP8, FUSED, MXFP4]
TEXT = [*V2, SEVEN]


@pytest.mark.parametrize("name", TEXT)
def test_logits_of_one_sequence_match_the_published_implementation(name):
    e = load_expected(name)
    got = logits(open_backend(name), e["seq.input_ids"].tolist())
    np.testing.assert_allclose(got, e["seq.logits"], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", V2)
def test_logits_with_the_inclusive_window_match(name):
    e = load_expected(name)
    got = logits(open_backend(name, window="inclusive"), e["seq.input_ids"].tolist())
    np.testing.assert_allclose(got, e["seq.logits_window_inclusive"], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", TEXT)
def test_ragged_batch_matches_the_published_implementation(name):
    e = load_expected(name)
    rows = {b: e["batch.input_ids"][b, :n].tolist() for b, n in enumerate(e["batch.lengths"])}
    got = Driver(open_backend(name)).feed(rows)
    for b, n in enumerate(e["batch.lengths"]):
        np.testing.assert_allclose(got[b][0], e["batch.logits"][b, :n], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", TEXT)
@pytest.mark.parametrize("state", ["pre_norm", "post_norm"])
def test_trunk_state_is_the_one_that_the_config_asks_for(name, state):
    e = load_expected(name)
    backend = open_backend(name, mtp_trunk_state=state)
    hidden = Driver(backend).feed({0: e["seq.input_ids"].tolist()})[0][1]
    want = e["seq.hidden"][-1] if state == "pre_norm" else e["seq.final_norm"]
    np.testing.assert_allclose(hidden, want, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(("name", "head"), [*product(V2, range(3)), (SEVEN, 0)])
@pytest.mark.parametrize("state", ["pre_norm", "post_norm"])
@pytest.mark.parametrize("chunk", [100, 7, 1])
def test_mtp_logits_match_the_published_implementation(name, head, state, chunk):
    e = load_expected(name)
    tokens = e["seq.input_ids"].tolist()
    backend = open_backend(name, mtp_trunk_state=state)
    driver = Driver(backend)
    hidden = driver.feed({0: tokens})[0][1]
    rows = tokens[1 + head :]
    got = []
    for first in range(0, len(rows), chunk):
        part = rows[first : first + chunk]
        batch = driver.batch({0: part}, first={0: first})
        keep = np.array([len(part)], np.int32)
        got.append(backend.head_logits(head, batch, hidden[first : first + len(part)], keep))
    want = e[f"mtp.{head}.logits_{state}_hidden"]
    np.testing.assert_allclose(np.concatenate(got), want, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", TEXT)
def test_greedy_tokens_match_the_published_implementation(name):
    e = load_expected(name)
    driver = Driver(open_backend(name))
    tokens = e["greedy.prompt"].tolist()
    got = []
    for _ in range(len(e["greedy.output"])):
        row = driver.feed({0: tokens})[0][0][-1]
        tokens = [int(row.argmax())]
        got += tokens
    assert got == e["greedy.output"].tolist()


def test_the_language_part_of_a_seeing_model_matches_on_text():
    e = load_expected(SEEING)
    got = logits(open_backend(SEEING), e["text_only.input_ids"].tolist())
    np.testing.assert_allclose(got, e["text_only.logits"], rtol=0, atol=TOLERANCE)


def test_the_language_part_of_an_omni_model_matches_up_to_its_first_image():
    e = load_expected(HEARING)  # its only run has media in it; what comes before depends on text alone
    ids = e["input_ids"].tolist()
    text = ids[: ids.index(246)]  # image_token_id of its config.json
    assert len(text) == 4
    np.testing.assert_allclose(logits(open_backend(HEARING), text), e["logits"][:4], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", [FLASH, FUSED, SEVEN])
@pytest.mark.parametrize("weights", ["q8", "q4"])
def test_a_quantised_folder_computes_what_its_source_does_when_rounded_on_loading(tmp_path, name, weights):
    quantize_folder(ORACLES / name, tmp_path / weights, weights)
    ids = load_expected(name)["seq.input_ids"].tolist()
    stored = NativeBackend(Checkpoint.open(tmp_path / weights), weights, 1, 1, 8)
    assert (logits(stored, ids) == logits(open_backend(name, weights, slots=1), ids)).all()
