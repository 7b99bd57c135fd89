"""The engine over a back end without a model: tokens, schedules, drafts, text, errors."""

import threading

import numpy as np
import pytest
from engine_backend import VOCAB, FakeBackend, greedy, greedy_rounds, head_logits, trunk_logits, trunk_state

from openmimo.engine import Engine, SamplingParams
from openmimo.engine.request import Request
from openmimo.engine.worker import Worker
from openmimo.errors import CheckpointError, ConfigError, OpenMiMoError, RequestError

GREEDY = SamplingParams(temperature=0, max_new_tokens=40, ignore_eos=True)
PROMPT = [5, 9, 11, 40, 3]


@pytest.fixture
def open_engine():
    opened = []

    def open_(backend=None, **settings):
        opened.append(Engine(backend or FakeBackend(), **settings))
        return opened[-1]

    yield open_
    for engine in opened:
        engine.close()
        engine._worker.cache.check_idle()
        assert engine._worker.fault is None


@pytest.mark.parametrize("mtp", ["off", 1, 2, 3, "auto"])
@pytest.mark.parametrize("prefill_rows", [1, 3, 256])
@pytest.mark.parametrize("length", [1, 2, 5, 130])
def test_greedy_tokens_do_not_depend_on_drafts_or_chunks(open_engine, mtp, prefill_rows, length):
    prompt = [(7 * i + length) % VOCAB for i in range(length)]
    engine = open_engine(FakeBackend(has_window=length > 2), mtp=mtp, prefill_rows=prefill_rows)
    assert list(engine.generate(prompt, GREEDY).token_ids) == greedy(prompt, 40)


@pytest.mark.parametrize("num_drafts", [1, 2, 3])
@pytest.mark.parametrize("has_window", [True, False])
def test_rounds_are_those_of_heads_that_never_see_a_stale_row(open_engine, num_drafts, has_window):
    for length in (1, 2, 3, 9, 10, 70):
        prompt = [(3 * i + 1) % VOCAB for i in range(length)]
        backend = FakeBackend(has_window=has_window)
        handle = open_engine(backend, mtp=num_drafts, prefill_rows=32).submit(prompt, GREEDY)
        stats = handle.result().stats
        expected = greedy_rounds(prompt, 40, num_drafts, has_window)
        assert handle.rounds == expected
        assert stats.accepted == tuple(sum(r[-1] > p for r in expected) for p in range(num_drafts))
        assert stats.drafted == sum(len(r) - 2 for r in expected) == sum(stats.drafted_at)
        assert any(r[-1] > 0 for r in expected)  # or the test shows nothing


def run_together(backend, max_drafts, prefill_rows, requests):
    """Run requests on a worker without its thread, so that every step is the same each time."""
    worker = Worker(backend, VOCAB, frozenset(), max_drafts, True, prefill_rows)
    for request in requests:
        worker.take("add", request)
    while not worker.scheduler.is_idle:
        worker.step()
    worker.cache.check_idle()
    return [list(request.output.completion.token_ids) for request in requests]


def test_many_requests_at_once_get_the_tokens_they_get_alone():
    backend = FakeBackend(num_slots=4, num_pages=40)
    prompts = [[(i * j + 1) % VOCAB for j in range(1 + 17 * i)] for i in range(10)]
    requests = [Request(prompt, GREEDY, 40, seed=0) for prompt in prompts]
    assert run_together(backend, 3, 16, requests) == [greedy(prompt, 40) for prompt in prompts]
    assert max(backend.sequences_per_forward) == 4
    assert max(backend.rows_per_forward) <= 16 + 3 * 4


def test_a_long_prompt_is_run_in_chunks_while_another_request_decodes():
    backend = FakeBackend()
    requests = [Request(prompt, GREEDY, 40, seed=0) for prompt in (PROMPT, [1] * 100)]
    assert run_together(backend, 0, 8, requests) == [greedy(PROMPT, 40), greedy([1] * 100, 40)]
    # 5 + 3 prompt rows give the first its first token; 8 of the other 97 beside each of its next 12; the last one
    # beside its 14th; both decode up to its 40th; the other has 27 tokens by then and decodes 13 more alone.
    assert backend.rows_per_forward == [8] + [9] * 12 + [2] * 27 + [1] * 13


def test_sampled_tokens_depend_on_the_seed_only(open_engine):
    params = SamplingParams(temperature=0.9, top_p=0.95, max_new_tokens=40, seed=11, ignore_eos=True)
    alone = open_engine(mtp="off").generate(PROMPT, params).token_ids
    for mtp in (1, 3, "auto"):
        engine = open_engine(mtp=mtp, prefill_rows=4)
        others = [engine.submit([i, i + 1], SamplingParams(max_new_tokens=30)) for i in range(5)]
        assert engine.generate(PROMPT, params).token_ids == alone
        assert all(other.result(60) for other in others)
    other_seed = SamplingParams(temperature=0.9, top_p=0.95, max_new_tokens=40, seed=12, ignore_eos=True)
    assert open_engine().generate(PROMPT, other_seed).token_ids != alone


def test_drafted_sampling_follows_the_plain_distribution(open_engine):
    # The second token after PROMPT is the first that a draft may give; its exact distribution is known.
    first = trunk_logits(PROMPT).astype(float)
    p_first = np.exp(first - first.max()) / np.exp(first - first.max()).sum()
    expected = np.zeros(VOCAB)
    for token in range(VOCAB):
        row = trunk_logits([*PROMPT, token]).astype(float)
        expected += p_first[token] * np.exp(row - row.max()) / np.exp(row - row.max()).sum()
    engine, num = open_engine(FakeBackend(num_slots=16), mtp=3), 3000
    done = []
    for start in range(0, num, 1000):
        params = [SamplingParams(max_new_tokens=4, seed=start + i, ignore_eos=True) for i in range(1000)]
        done += [handle.result(60) for handle in [engine.submit(PROMPT, param) for param in params]]
    assert sum(completion.stats.accepted[0] for completion in done) > num / 10
    counts = np.bincount([completion.token_ids[1] for completion in done], minlength=VOCAB)
    assert (expected * num).min() > 5  # so that chi-square applies
    chi_square = ((counts - expected * num) ** 2 / (expected * num)).sum()
    assert chi_square < (VOCAB - 1) + 4 * np.sqrt(2 * (VOCAB - 1))  # four standard deviations


def test_an_end_token_stops_and_later_accepted_drafts_are_dropped(open_engine):
    for start in range(12):
        prompt = [start, 7]
        expected = greedy(prompt, 200, eos=2)
        for mtp in ("off", 3):
            completion = open_engine(mtp=mtp).generate(prompt, SamplingParams(temperature=0, max_new_tokens=200))
            assert list(completion.token_ids) == expected
            assert completion.finish_reason == ("stop" if expected[-1] == 2 else "length")
            assert completion.stats.new_tokens == len(expected)


@pytest.mark.parametrize("has_window", [True, False])
def test_logits_and_head_logits_cover_the_whole_sequence(open_engine, has_window):
    engine = open_engine(FakeBackend(has_window=has_window), prefill_rows=7, mtp="off")
    ids = [(3 * i) % VOCAB for i in range(30)]
    np.testing.assert_array_equal(engine.logits(ids), [trunk_logits(ids[: i + 1]) for i in range(30)])
    heads = engine.mtp_logits(ids)
    assert [head.shape for head in heads] == [(29, VOCAB), (28, VOCAB), (27, VOCAB)]
    for k, logits in enumerate(heads):
        rows = [(ids[i + 1 + k], *trunk_state(ids[: i + 1])) for i in range(29 - k)]
        np.testing.assert_array_equal(logits, [head_logits(k, rows[: i + 1], has_window) for i in range(29 - k)])
    assert [head.shape for head in engine.mtp_logits([1, 2])] == [(1, VOCAB), (0, VOCAB), (0, VOCAB)]


def test_a_stream_joins_to_the_completion(open_engine):
    engine = open_engine()
    deltas = list(engine.stream(PROMPT, GREEDY))
    assert [token for delta in deltas for token in delta.token_ids] == greedy(PROMPT, 40)
    assert [delta.finish_reason for delta in deltas[:-1]] == [None] * (len(deltas) - 1)
    assert deltas[-1].finish_reason == "length"
    assert deltas[-1].stats.new_tokens == 40


def test_cancelled_requests_free_everything_and_say_so(open_engine):
    engine = open_engine(FakeBackend(num_slots=2))
    endless = SamplingParams(temperature=0, max_new_tokens=1000, ignore_eos=True)
    running, waiting = [engine.submit(PROMPT, endless) for _ in range(2)], engine.submit(PROMPT, endless)
    next(iter(running[0]))
    for handle in (*running, waiting):
        engine.cancel(handle)
    results = [handle.result(60) for handle in (*running, waiting)]
    assert [result.finish_reason for result in results] == ["cancelled"] * 3
    assert 0 < len(results[0].token_ids) < 1000
    assert results[2].token_ids == ()
    assert engine.generate(PROMPT, GREEDY).finish_reason == "length"
    engine.cancel(running[0])  # finished long ago: nothing happens


def test_closing_a_stream_early_cancels_its_request(open_engine):
    engine = open_engine(FakeBackend(num_slots=1))
    stream = engine.stream(PROMPT, SamplingParams(max_new_tokens=1000, ignore_eos=True))
    stream.close()  # not one delta was taken
    assert engine.submit(PROMPT, GREEDY).result(60).finish_reason == "length"


def test_a_failing_step_ends_its_requests_and_the_engine_goes_on(open_engine):
    backend = FakeBackend()
    engine = open_engine(backend)
    backend.fail_at = 3
    handle = engine.submit(PROMPT, GREEDY)
    with pytest.raises(OpenMiMoError, match="MemoryError: no memory for this step"):
        handle.result(60)
    with pytest.raises(OpenMiMoError, match="no memory"):
        list(handle)
    assert list(engine.generate(PROMPT, GREEDY).token_ids) == greedy(PROMPT, 40)


def test_a_request_whose_logits_are_not_finite_fails_alone(open_engine):
    backend = FakeBackend()
    engine = open_engine(backend)
    backend.nan_after = 60  # positions past 60 of any sequence
    bad = [engine.submit([1] * 58, params) for params in (GREEDY, SamplingParams(seed=1, ignore_eos=True))]
    good = engine.submit(PROMPT, GREEDY)
    assert list(good.result(60).token_ids) == greedy(PROMPT, 40)
    for handle in bad:
        with pytest.raises(OpenMiMoError, match="logit of nan"):
            handle.result(60)


def test_close_cancels_what_is_left_and_refuses_more(open_engine):
    engine = open_engine(FakeBackend(num_slots=1))
    handles = [engine.submit(PROMPT, SamplingParams(max_new_tokens=900, ignore_eos=True)) for _ in range(3)]
    engine.close()
    assert {handle.result(60).finish_reason for handle in handles} <= {"cancelled"}
    engine.close()
    engine.cancel(handles[0])
    with pytest.raises(OpenMiMoError, match="closed"):
        engine.submit(PROMPT)


def test_a_dropped_engine_ends_its_thread():
    engine = Engine(FakeBackend())
    engine.generate(PROMPT, GREEDY)
    thread = engine._thread
    del engine
    thread.join(60)
    assert not thread.is_alive()


def test_too_long_prompts_are_refused_with_both_numbers_and_long_replies_are_shortened(open_engine):
    engine = open_engine(FakeBackend(max_position_embeddings=64))
    with pytest.raises(RequestError, match="prompt has 64 tokens, but the context holds 64") as caught:
        engine.submit([1] * 64)
    assert (caught.value.param, caught.value.code) == ("prompt", "context_length_exceeded")
    completion = engine.generate([1] * 60, SamplingParams(temperature=0, max_new_tokens=100, ignore_eos=True))
    assert len(completion.token_ids) == 4
    assert completion.finish_reason == "length"
    with pytest.raises(RequestError, match="context holds 64"):
        engine.logits([1] * 65)
    assert engine.logits([1] * 64).shape == (64, VOCAB)


def test_a_small_cache_limits_the_context(open_engine):
    engine = open_engine(FakeBackend(num_pages=2))
    assert engine.max_context == 128
    assert len(engine.generate([1] * 100, SamplingParams(max_new_tokens=90, ignore_eos=True)).token_ids) == 28


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ([], "empty"),
        ("hi", "no tokenizer.json"),
        ([{"role": "user", "content": "hi"}], "no tokenizer.json"),
        ([1, VOCAB], "token id 50 at position 1 must be from 0 to 49"),
        ([-1], "token id -1"),
        ([1.5], "list of token ids"),
        ([True], "list of token ids"),
        ([[1, 2], [3]], "list of token ids"),
        ([[1, 2]], "list of token ids"),
    ],
)
def test_unusable_prompts_are_refused(open_engine, prompt, message):
    with pytest.raises(RequestError, match=message) as caught:
        open_engine().submit(prompt)
    assert caught.value.param == "prompt"


def test_settings_that_cannot_take_effect_are_refused(open_engine):
    with pytest.raises(ConfigError, match="mtp=3, but this checkpoint has 2 MTP heads"):
        Engine(FakeBackend(num_heads=2), mtp=3)
    with pytest.raises(ConfigError, match="mtp='yes'"):
        Engine(FakeBackend(), mtp="yes")
    with pytest.raises(RequestError, match="tools need chat messages"):
        open_engine().submit([1], tools=[{"type": "function"}])
    with pytest.raises(RequestError, match="stop strings need a tokenizer"):
        open_engine().submit([1], SamplingParams(stop=("x",)))


def test_a_model_without_heads_works(open_engine):
    engine = open_engine(FakeBackend(num_heads=0))
    completion = engine.generate(PROMPT, GREEDY)
    assert list(completion.token_ids) == greedy(PROMPT, 40)
    assert completion.stats.accepted == ()
    assert completion.stats.tokens_per_step == 1.0
    assert engine.mtp_logits(PROMPT) == []


def test_logprobs_are_the_models_own(open_engine):
    params = SamplingParams(temperature=0.5, top_k=3, max_new_tokens=10, seed=3, logprobs=2, ignore_eos=True)
    completion = open_engine(mtp=3).generate(PROMPT, params)
    tokens = list(PROMPT)
    for entry, token in zip(completion.logprobs, completion.token_ids, strict=True):
        row = trunk_logits(tokens).astype(float)
        logprobs = row - np.log(np.exp(row).sum())
        order = np.argsort(-logprobs)[:2]
        assert entry.token_id == token
        assert entry.logprob == pytest.approx(logprobs[token], abs=1e-6)
        assert [item[0] for item in entry.top] == order.tolist()
        assert [item[1] for item in entry.top] == pytest.approx(logprobs[order], abs=1e-6)
        tokens.append(token)


def test_many_threads_may_call_at_once(open_engine):
    engine, results = open_engine(), {}

    def call(start: int) -> None:
        results[start] = list(engine.generate([start, 4], GREEDY).token_ids)

    threads = [threading.Thread(target=call, args=(start,)) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {start: greedy([start, 4], 40) for start in range(8)}


def test_weights_that_a_back_end_refuses_are_reported_and_the_engine_goes_on(open_engine):
    backend = FakeBackend()
    engine = open_engine(backend)
    for error, expected in ((CheckpointError("no such tensor"), CheckpointError), (MemoryError("none"), OpenMiMoError)):
        backend.refuses_weights = error
        with pytest.raises(expected, match=str(error)):
            engine.update({})
    assert list(engine.generate(PROMPT, GREEDY).token_ids) == greedy(PROMPT, 40)


def test_a_stop_token_among_accepted_drafts_ends_what_the_next_turn_goes_on_with(open_engine):
    plain = greedy(PROMPT, 40)
    engine = open_engine(mtp=3)
    for position in range(1, 12):
        params = SamplingParams(temperature=0, max_new_tokens=40, ignore_eos=True, stop_token_ids=(plain[position],))
        first = engine.submit(PROMPT, params, keep=True)
        said = list(first.result().token_ids)
        assert said == plain[: plain.index(plain[position]) + 1]
        prompt = [*PROMPT, *said, 7]
        second = engine.submit(prompt, GREEDY, after=first).result()
        assert second.stats.cached_tokens == len(prompt) - 2
        assert list(second.token_ids) == greedy(prompt, 40)
