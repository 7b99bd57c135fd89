"""The engine under random use: each page and slot has one owner after each step, tokens are those of each alone."""

import functools

import numpy as np
from engine_backend import VOCAB, FakeBackend, experts
from hypothesis import given, settings
from hypothesis import strategies as st

from openmimo.batch import PAGE_SIZE
from openmimo.engine import Completion, SamplingParams
from openmimo.engine.request import Request
from openmimo.engine.worker import Worker

END = frozenset([2])
MOST_STEPS = 20_000

prompts = st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=2 * PAGE_SIZE + 10).map(tuple)
sampling = st.builds(
    SamplingParams,
    temperature=st.sampled_from([0.0, 0.0, 0.7, 1.3]),
    top_p=st.sampled_from([1.0, 0.8]),
    top_k=st.sampled_from([0, 5]),
    max_new_tokens=st.integers(1, 90),
    seed=st.integers(0, 3),
    ignore_eos=st.booleans(),
    logprobs=st.sampled_from([0, 0, 2]),
    repetition_penalty=st.sampled_from([1.0, 1.0, 1.5]),
    presence_penalty=st.sampled_from([0.0, 0.0, -0.5]),
    frequency_penalty=st.sampled_from([0.0, 0.0, 1.1]),
    logit_bias=st.sampled_from([{}, {}, {7: 3.0, 2: -5.0}]),
    stop_token_ids=st.sampled_from([(), (), (9, 33)]),
    prompt_logprobs=st.sampled_from([0, 0, 3]),
    routes=st.sampled_from([False, False, True]),
)
actions = st.one_of(
    st.tuples(st.just("submit"), prompts, sampling),
    st.tuples(st.just("submit"), prompts, sampling),
    st.tuples(st.just("continue"), prompts, sampling, st.integers(0, 30)),
    st.tuples(st.just("cancel"), st.integers(0, 30)),
    st.tuples(st.just("score"), prompts, st.booleans()),
    st.tuples(st.just("step"), st.integers(1, 40)),
    st.tuples(st.just("fail")),
)


@functools.cache
def alone(prompt: tuple[int, ...], params: SamplingParams) -> Completion:
    """What a request gives by itself, without drafts, its prompt in one piece."""
    worker = Worker(FakeBackend(), VOCAB, END, 0, True, 1024)
    only = Request(list(prompt), params, params.max_new_tokens, params.seed)
    worker.take("add", only)
    while not worker.scheduler.is_idle:
        worker.step()
    return only.output.completion


@settings(max_examples=80, deadline=None)
@given(
    script=st.lists(actions, max_size=25),
    num_slots=st.integers(1, 5),
    num_pages=st.integers(4, 12),
    max_drafts=st.integers(0, 3),
    is_fixed=st.booleans(),
    prefill_rows=st.integers(1, 80),
    has_window=st.booleans(),
)
def test_nothing_is_lost_whatever_happens(script, num_slots, num_pages, max_drafts, is_fixed, prefill_rows, has_window):
    backend = FakeBackend(num_slots=num_slots, num_pages=num_pages, has_window=has_window)
    worker = Worker(backend, VOCAB, END, max_drafts, is_fixed, prefill_rows)
    submitted = []
    for kind, *details in script:
        if kind == "submit":
            prompt, params = details
            submitted.append(Request(list(prompt), params, params.max_new_tokens, params.seed, keeps=True))
            worker.take("add", submitted[-1])
        elif kind == "continue" and submitted:
            more, params, number = details
            submitted.append(next_turn(submitted[number % len(submitted)], more[:40], params))
            worker.take("add", submitted[-1])
        elif kind == "score":
            prompt, wants_heads = details
            submitted.append(Request(list(prompt), SamplingParams(), 0, 0, True, wants_head_logits=wants_heads))
            submitted[-1].output.head_logits = [[], [], []]
            worker.take("add", submitted[-1])
        elif kind == "cancel" and submitted:
            worker.take("cancel", submitted[details[0] % len(submitted)])
        elif kind == "fail":
            backend.fail_at = backend.num_forwards
        elif kind == "step":
            run_steps(worker, details[0])
    run_steps(worker, MOST_STEPS)
    assert worker.scheduler.is_idle
    for each in worker.scheduler.kept.copy():
        worker.take("cancel", each)
    worker.cache.check_idle()
    for each in submitted:
        check_outcome(each)


def next_turn(earlier: Request, more: tuple[int, ...], params: SamplingParams) -> Request:
    """A request that goes on with another one, whether that is finished, was kept, or not."""
    prompt = [*earlier.tokens_S[: earlier.num_known].tolist(), *more][: 4 * PAGE_SIZE - params.max_new_tokens]
    return Request(prompt, params, params.max_new_tokens, params.seed, keeps=True, earlier=earlier)


def run_steps(worker: Worker, most: int) -> None:
    scheduler, cache = worker.scheduler, worker.cache
    for _ in range(most):
        if scheduler.is_idle:
            return
        worker.step()
        cache.check_integrity()
        owners = [*scheduler.running, *scheduler.kept]
        assert {each.slot: each.pages_1P[0].tolist() for each in owners} == cache._owned
        for each in scheduler.running:
            assert not each.output.done.is_set()
            assert each.num_cached <= each.pages_1P.size * PAGE_SIZE
        for each in scheduler.waiting:
            assert not each.output.done.is_set()
            assert (each.slot, each.num_cached) == (-1, 0)


def check_outcome(each: Request) -> None:
    output = each.output
    assert output.done.is_set()
    assert (output.completion is None) != (output.error is None)
    if output.error is not None:
        assert "no memory for this step" in str(output.error)
        return
    prompt, completion = tuple(each.tokens_S[: each.num_prompt].tolist()), output.completion
    is_whole = completion.finish_reason != "cancelled"
    if each.wants_all_logits:
        num_rows = sum(len(rows) for rows in output.logits)
        assert not is_whole or each.wants_head_logits or num_rows == each.num_prompt
        return
    expected, num_new = alone(prompt, each.params), len(completion.token_ids)
    assert completion.token_ids == expected.token_ids[:num_new]
    assert (completion.logprobs or ()) == (expected.logprobs or ())[:num_new]
    assert list(completion.token_ids) == [token for delta in taken(output.deltas) for token in delta.token_ids]
    if is_whole:
        assert completion.finish_reason == expected.finish_reason
        assert num_new == len(expected.token_ids)
        assert completion.prompt_logprobs == expected.prompt_logprobs
    check_routes(prompt + completion.token_ids, completion, each.params, is_whole)


def check_routes(tokens: tuple[int, ...], completion: Completion, params: SamplingParams, is_whole: bool) -> None:
    routes_TLK = completion.routes_TLK
    if not params.routes:
        assert routes_TLK is None
        return
    assert routes_TLK.dtype == np.uint16
    assert len(routes_TLK) == len(tokens) - 1 or (not is_whole and len(routes_TLK) < len(tokens))
    assert routes_TLK.tolist() == [[experts(list(tokens[: end + 1]))] for end in range(len(routes_TLK))]


def taken(deltas):
    return [deltas.get() for _ in range(deltas.qsize())]


def test_requests_that_start_over_give_the_same_tokens_log_probabilities_and_scores():
    rng = np.random.default_rng(5)
    shared = {"max_new_tokens": 150, "ignore_eos": True, "logprobs": 1, "prompt_logprobs": 1, "routes": True}
    params = [
        SamplingParams(temperature=0, **shared),
        SamplingParams(temperature=0.9, top_p=0.9, seed=3, **shared),
        SamplingParams(temperature=0, repetition_penalty=3.0, frequency_penalty=0.7, **shared),
        SamplingParams(temperature=0, **shared),
    ]
    for max_drafts in (0, 3):
        worker = Worker(FakeBackend(num_pages=6), VOCAB, END, max_drafts, True, 40)
        requests = []
        for param in params:
            prompt = rng.integers(0, VOCAB, int(rng.integers(30, 90))).tolist()
            requests.append(Request(prompt, param, 150, param.seed or 0))
            worker.take("add", requests[-1])
        scored = Request(rng.integers(0, VOCAB, 200).tolist(), SamplingParams(), 0, 0, True)
        worker.take("add", scored)
        num_lost, before = 0, {}
        for _ in range(MOST_STEPS):
            worker.step()
            num_lost += sum(each.num_cached < before.get(id(each), 0) for each in [*requests, scored])
            before = {id(each): each.num_cached for each in [*requests, scored]}
            if worker.scheduler.is_idle:
                break
        assert num_lost >= 2  # or the test shows nothing
        for each in requests:
            check_outcome(each)
            assert each.output.completion.finish_reason == "length"
            assert each.output.completion.stats.prefill_s >= 0
        assert sum(len(rows) for rows in scored.output.logits) == 200
        worker.cache.check_idle()
