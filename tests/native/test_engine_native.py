"""The engine over the native back end, against the published implementation's greedy tokens and drafting rounds.

Oracle: tests/oracles; `greedy.*` come from transformers, `spec_*.rounds` from an independent reimplementation that
recomputes every draft from committed tokens.
"""

import threading
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import openmimo
from openmimo.checkpoint import Checkpoint
from openmimo.engine import Engine, SamplingParams
from openmimo.native import NativeBackend

ORACLES = Path(__file__).parents[1] / "oracles"
FIXTURES = ["mimo_v2_flash_tiny", "mimo_7b_tiny"]
STORED_OTHERWISE = ["mimo_v2_flash_fp8_tiny", "mimo_v25_fp8_tiny", "mimo_v25_mxfp4_tiny"]
NUM_NEW = 20


@pytest.fixture(scope="module")
def expected():
    return {name: load_file(ORACLES / name / "expected.safetensors") for name in [*FIXTURES, *STORED_OTHERWISE]}


@pytest.fixture
def open_engine():
    opened = []

    def open_(name, trunk_state="pre_norm", weights="f32", num_pages=32, **settings):
        checkpoint = Checkpoint.open(ORACLES / name, mtp_trunk_state=trunk_state)
        backend = NativeBackend(checkpoint, weights=weights, threads=1, num_slots=4, num_pages=num_pages)
        opened.append(Engine(backend, **settings))
        return opened[-1]

    yield open_
    for engine in opened:
        engine.close()
        assert engine._worker.fault is None


def greedy(num_new=NUM_NEW):
    return SamplingParams(temperature=0, max_new_tokens=num_new, ignore_eos=True)


@pytest.mark.parametrize("name", FIXTURES)
@pytest.mark.parametrize("mtp", ["off", 1, 2, 3, "auto"])
def test_greedy_tokens_are_the_published_ones_with_any_number_of_drafts(open_engine, expected, name, mtp):
    if name == "mimo_7b_tiny" and mtp in (2, 3):
        with pytest.raises(openmimo.ConfigError, match="this checkpoint has 1 MTP head:"):
            open_engine(name, mtp=mtp)
        return
    engine = open_engine(name, mtp=mtp)
    prompt, output = expected[name]["greedy.prompt"].tolist(), expected[name]["greedy.output"].tolist()
    for _ in range(2):  # the second one finds used slots and pages
        assert list(engine.generate(prompt, greedy()).token_ids) == output


@pytest.mark.parametrize("name", [*FIXTURES, *STORED_OTHERWISE])
@pytest.mark.parametrize("trunk_state", ["pre_norm", "post_norm"])
@pytest.mark.parametrize("prefill_rows", [256, 3])
def test_drafting_rounds_are_the_published_ones(open_engine, expected, name, trunk_state, prefill_rows):
    rounds = expected[name][f"spec_{trunk_state.removesuffix('_norm')}.rounds"].tolist()
    num_heads = len(rounds[0]) - 2
    engine = open_engine(name, trunk_state, mtp=num_heads, prefill_rows=prefill_rows)
    # The last published round drafts past the published tokens, so more are asked for and the first rounds compared.
    output = expected[name]["greedy.output"].tolist()
    handle = engine.submit(expected[name]["greedy.prompt"].tolist(), greedy(len(output) + num_heads + 1))
    completion = handle.result(60)
    assert list(completion.token_ids[: len(output)]) == output
    stats = completion.stats
    assert [list(each) for each in handle.rounds[: len(rounds)]] == rounds
    assert len(stats.accepted) == num_heads
    assert stats.drafted >= num_heads * len(rounds)


@pytest.mark.parametrize("name", FIXTURES)
@pytest.mark.parametrize("prefill_rows", [1, 4, 256])
def test_five_requests_at_once_get_the_tokens_they_get_alone(open_engine, expected, name, prefill_rows):
    ids = expected[name]["seq.input_ids"].tolist()
    prompts = [expected[name]["greedy.prompt"].tolist(), ids[:1], ids[3:20], ids, ids[10:13]]
    alone = [open_engine(name, mtp="off").generate(prompt, greedy(30)).token_ids for prompt in prompts]
    assert list(alone[0][:NUM_NEW]) == expected[name]["greedy.output"].tolist()
    for mtp in ("off", 1, "auto"):
        engine = open_engine(name, mtp=mtp, prefill_rows=prefill_rows)
        handles = [engine.submit(prompt, greedy(30)) for prompt in prompts]
        assert [handle.result(60).token_ids for handle in handles] == alone


@pytest.mark.parametrize("weights", ["bf16", "q8", "q4"])
def test_smaller_number_formats_give_the_same_tokens_with_drafts_and_neighbours(open_engine, expected, weights):
    name = "mimo_v2_flash_tiny"
    ids = expected[name]["seq.input_ids"].tolist()
    for params in (greedy(60), SamplingParams(seed=9, max_new_tokens=60, ignore_eos=True)):
        alone = open_engine(name, weights=weights, mtp="off").generate(ids, params).token_ids
        engine = open_engine(name, weights=weights, mtp=3, prefill_rows=9)
        others = [engine.submit(ids[i:], greedy(30)) for i in range(1, 4)]
        assert engine.generate(ids, params).token_ids == alone
        assert all(other.result(60) for other in others)


def test_streams_join_to_completions_and_seeds_reproduce_them_whatever_the_neighbours(open_engine, expected):
    name = "mimo_v2_flash_tiny"
    prompt = expected[name]["greedy.prompt"].tolist()
    params = SamplingParams(temperature=0.8, top_p=0.9, seed=5, max_new_tokens=30, ignore_eos=True)
    alone = open_engine(name, mtp="off").generate(prompt, params).token_ids
    engine = open_engine(name, mtp=3)
    others = [engine.submit(prompt[: 2 + i], SamplingParams(max_new_tokens=25, seed=i)) for i in range(4)]
    streamed = [token for delta in engine.stream(prompt, params) for token in delta.token_ids]
    assert tuple(streamed) == engine.generate(prompt, params).token_ids == alone
    assert all(other.result(60) for other in others)


@pytest.mark.parametrize("name", FIXTURES)
@pytest.mark.parametrize("trunk_state", ["pre_norm", "post_norm"])
def test_logits_equal_the_oracle_however_they_are_chunked(open_engine, expected, name, trunk_state):
    ids = expected[name]["seq.input_ids"].tolist()
    for prefill_rows in (7, 256):
        engine = open_engine(name, trunk_state, prefill_rows=prefill_rows)
        np.testing.assert_allclose(engine.logits(ids), expected[name]["seq.logits"], atol=1e-4, rtol=0)
        for head, logits in enumerate(engine.mtp_logits(ids)):
            oracle = expected[name][f"mtp.{head}.logits_{trunk_state}_hidden"]
            np.testing.assert_allclose(logits, oracle, atol=1e-4, rtol=0)


@pytest.mark.parametrize("weights", ["f32", "bf16", "q8", "q4"])
def test_load_opens_a_folder_without_a_tokenizer(expected, weights):
    name = "mimo_v2_flash_tiny"
    prompt = expected[name]["greedy.prompt"].tolist()
    with openmimo.load(ORACLES / name, weights=weights, threads=1) as engine:
        completion = engine.generate(prompt, openmimo.SamplingParams(temperature=0, max_new_tokens=NUM_NEW))
        with pytest.raises(openmimo.RequestError, match=r"no tokenizer\.json"):
            engine.generate("hello")
    assert completion.text == ""
    assert engine.tokenizer is None
    if weights == "f32":
        assert list(completion.token_ids) == expected[name]["greedy.output"].tolist()


@pytest.mark.parametrize("name", FIXTURES)
@pytest.mark.parametrize("weights", ["f32", "q8"])
def test_requests_that_start_over_and_penalties_leave_tokens_as_they_are_alone(open_engine, name, weights):
    changes = [
        {},
        {"repetition_penalty": 1.3},
        {"frequency_penalty": 0.4, "presence_penalty": 0.3},
        {"logit_bias": {5: 2}},
    ]
    prompts = [[(7 * i + 3 * n) % 64 for i in range(20 + 9 * n)] for n in range(4)]
    shared = {"temperature": 0, "max_new_tokens": 100, "ignore_eos": True}
    params = [SamplingParams(**shared, **change) for change in changes]
    plain = open_engine(name, weights=weights, mtp="off")
    alone = [plain.generate(prompt, each).token_ids for prompt, each in zip(prompts, params, strict=True)]
    for settings in ({"mtp": "off"}, {"mtp": 1}, {"mtp": "auto", "prefill_rows": 7}):
        engine = open_engine(name, weights=weights, num_pages=5, **settings)
        all_are_there, step = threading.Event(), engine._worker.step
        engine._worker.step = lambda step=step, ready=all_are_there: (ready.wait(60), step())
        handles = [engine.submit(prompt, each) for prompt, each in zip(prompts, params, strict=True)]
        all_are_there.set()
        assert [handle.result(60).token_ids for handle in handles] == alone
        assert any(handle.request.num_to_prefill > handle.request.num_prompt for handle in handles)
