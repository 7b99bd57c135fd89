"""Turns of one episode that go on from kept caches: the same tokens, log-probabilities, experts and drafts as cold."""

import numpy as np
import pytest
from native_cases import FLASH, ORACLES, SEVEN, long_tokens

from openmimo.checkpoint import Checkpoint
from openmimo.engine import Engine, SamplingParams
from openmimo.errors import RequestError
from openmimo.native import NativeBackend

PARAMS = SamplingParams(temperature=1.0, seed=3, max_new_tokens=30, ignore_eos=True, logprobs=1, routes=True)
TOOL_RESULT = long_tokens(25, seed=9)


@pytest.fixture
def open_engine():
    opened = []

    def open_(name=FLASH, weights="f32", num_slots=2, num_pages=32, **settings) -> Engine:
        backend = NativeBackend(Checkpoint.open(ORACLES / name), weights, 1, num_slots, num_pages)
        opened.append(Engine(backend, **settings))
        return opened[-1]

    yield open_
    for engine in opened:
        engine.close()
        engine._worker.cache.check_idle()
        assert engine._worker.fault is None


def play(engine: Engine, is_warm: bool, params=PARAMS, num_turns=4):
    """Completions and rounds of an episode whose turns are kept, or each run from its beginning."""
    ids, handle, turns = long_tokens(40), None, []
    for _ in range(num_turns):
        handle = engine.submit(ids, params, keep=is_warm, after=handle if is_warm else None)
        turns.append((handle.result(60), handle.rounds))
        ids = [*ids, *turns[-1][0].token_ids, *TOOL_RESULT]
    return turns


@pytest.mark.parametrize(("name", "weights"), [(FLASH, "f32"), (FLASH, "q8"), (SEVEN, "f32")])
@pytest.mark.parametrize("mtp", ["off", 1])
def test_turns_that_go_on_are_those_that_begin_anew(open_engine, name, weights, mtp):
    warm, cold = (play(open_engine(name, weights, mtp=mtp), is_warm) for is_warm in (True, False))
    for turn, ((a, rounds), (b, cold_rounds)) in enumerate(zip(warm, cold, strict=True)):
        assert a.token_ids == b.token_ids
        assert a.logprobs == b.logprobs
        assert np.array_equal(a.routes_TLK, b.routes_TLK)
        assert a.stats.prompt_tokens == b.stats.prompt_tokens == 40 + turn * 55
        assert (a.stats.cached_tokens, b.stats.cached_tokens) == (turn and 40 + turn * 55 - 26, 0)
        if name == SEVEN:  # its heads see everything, so what they know of earlier turns decides every draft
            assert rounds == cold_rounds


def test_what_cannot_be_used_is_run_again(open_engine):
    engine = open_engine(num_slots=1)
    prompt = long_tokens(40)
    expected = engine.generate([*prompt, 5], PARAMS)

    def after(prompt_of_first, params=PARAMS, between=()):
        first = engine.submit(prompt_of_first, params, keep=True)
        first.result(60)
        for ids in between:
            engine.generate(ids, PARAMS)  # takes the only slot
        second = engine.submit([*prompt, 5], PARAMS, after=first).result(60)
        assert second.token_ids == expected.token_ids
        assert np.array_equal(second.routes_TLK, expected.routes_TLK)
        return second.stats.cached_tokens

    one = SamplingParams(max_new_tokens=1, routes=True)
    assert after(prompt, one) == 40  # one token was said and is not in the caches, so the prompt goes on in another way
    assert after(prompt) == 0  # thirty were said, and the prompt says something else
    assert after(prompt[1:], one) == 0
    assert after(prompt, SamplingParams(max_new_tokens=1)) == 0  # its experts were not noted
    assert after(prompt, one, between=[[1, 2, 3]]) == 0


def test_a_running_request_cannot_be_gone_on_with_and_a_cancelled_one_gives_back_what_it_kept(open_engine):
    engine = open_engine()
    first = engine.submit(long_tokens(40), SamplingParams(max_new_tokens=400, ignore_eos=True), keep=True)
    with pytest.raises(RequestError, match="still running"):
        engine.submit([1, 2, 3], after=first)
    first.result(60)
    assert engine._worker.scheduler.kept == [first.request]
    engine.cancel(first)
    engine.generate([1, 2, 3], PARAMS)
    assert engine._worker.scheduler.kept == []
