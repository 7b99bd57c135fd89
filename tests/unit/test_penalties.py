"""Penalties, bias, stop tokens and prompt log-probabilities: against plain twins, whatever drafts and chunks do."""

import time

import numpy as np
import pytest
from engine_backend import VOCAB, FakeBackend, trunk_logits

from openmimo.engine import Engine, SamplingParams
from openmimo.engine.penalties import Penalties
from openmimo.errors import RequestError

PROMPT = [5, 9, 11, 40, 3, 9, 9]
BIAS = {3: 4.0, 17: -100.0, 44: 1.5}
ALL = {"repetition_penalty": 1.7, "presence_penalty": 0.8, "frequency_penalty": 1.1, "logit_bias": BIAS}


def twin(
    logits, tokens, num_prompt, repetition_penalty=1.0, presence_penalty=0.0, frequency_penalty=0.0, logit_bias=()
):
    """The definition, token by token."""
    changed = [float(value) for value in logits]
    for token in set(tokens):
        value = changed[token]
        value = value / repetition_penalty if value > 0 else value * repetition_penalty
        count = tokens[num_prompt:].count(token)
        changed[token] = value - frequency_penalty * count - presence_penalty * (count > 0)
    for token, bias in dict(logit_bias).items():
        changed[token] += bias
    return np.array(changed)


def greedy_twin(prompt, count, **penalties):
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(int(twin(trunk_logits(tokens), tokens, len(prompt), **penalties).argmax()))
    return tokens[len(prompt) :]


@pytest.mark.parametrize(
    "penalties",
    [
        {"repetition_penalty": 1.7},
        {"repetition_penalty": 0.5},
        {"presence_penalty": 1.2},
        {"frequency_penalty": 1.9},
        {"presence_penalty": -2.0, "frequency_penalty": -0.3},
        {"logit_bias": BIAS},
        ALL,
    ],
    ids=lambda penalties: "+".join(penalties),
)
def test_changed_logits_are_those_of_the_definition(penalties):
    rng = np.random.default_rng(1)
    changes = Penalties(SamplingParams(**penalties), num_prompt=100)
    tokens_S = rng.integers(0, 300, 400).astype(np.int32)  # ids past the logits: unused rows of the embedding
    tokens_S[100:] %= 200
    for position in (100, 101, 104, 230, 400):
        logits = rng.normal(size=200).astype(np.float32) * 5
        before = logits.copy()
        tokens = [token for token in tokens_S[:position].tolist() if token < 200]
        num_prompt = sum(token < 200 for token in tokens_S[:100].tolist())
        expected = twin(logits, tokens, num_prompt, **penalties)
        np.testing.assert_allclose(changes.apply(logits, tokens_S, position), expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(logits, before)


def test_worked_by_hand():
    changes = Penalties(SamplingParams(**ALL), num_prompt=2)
    logits = np.array([3.4, -1, 2, 0.5, 1], np.float32)
    tokens = np.array([0, 1, 2, 2, 4, 2], np.int32)
    # prompt 0 and 1: 3.4 / 1.7, -1 * 1.7; reply 2 three times: 2 / 1.7 - 3 * 1.1 - 0.8; 4 once: 1 / 1.7 - 1.1 - 0.8
    expected = [2.0, -1.7, 2 / 1.7 - 4.1, 4.5, 1 / 1.7 - 1.9]
    changes = Penalties(SamplingParams(**{**ALL, "logit_bias": {3: 4.0}}), num_prompt=2)
    assert changes.apply(logits, tokens, 6) == pytest.approx(expected, abs=1e-6)


class SteadyBackend(FakeBackend):
    """A pass takes the same time with and without drafts, so that "auto", which goes by the clock, drafts."""

    def forward(self, *args, **settings):
        time.sleep(0.002)
        return super().forward(*args, **settings)


@pytest.mark.parametrize("penalties", [{"repetition_penalty": 9}, {"frequency_penalty": 1.9}, ALL], ids=str)
def test_greedy_tokens_with_penalties_do_not_depend_on_drafts_chunks_or_neighbours(penalties):
    params = SamplingParams(temperature=0, max_new_tokens=60, ignore_eos=True, **penalties)
    expected = greedy_twin(PROMPT, 60, **penalties)
    assert expected != greedy_twin(PROMPT, 60)
    for mtp in ("off", 1, 3, "auto"):
        with Engine(SteadyBackend(), mtp=mtp, prefill_rows=3) as engine:
            others = [engine.submit([i, 4], SamplingParams(max_new_tokens=25, seed=i)) for i in range(3)]
            completion = engine.generate(PROMPT, params)
            assert list(completion.token_ids) == expected
            assert mtp == "off" or sum(completion.stats.accepted) > 0  # rows past the first were used
            assert all(other.result(60) for other in others)


def test_sampled_tokens_with_penalties_do_not_depend_on_drafts():
    params = SamplingParams(temperature=0.8, top_p=0.9, max_new_tokens=80, seed=4, ignore_eos=True, **ALL)
    replies = []
    for mtp in ("off", 2, 3):
        with Engine(FakeBackend(), mtp=mtp) as engine:
            replies.append(engine.generate(PROMPT, params).token_ids)
    assert replies[0] == replies[1] == replies[2]


def test_a_bias_bans_and_forces_tokens():
    with Engine(FakeBackend()) as engine:
        forced = engine.generate(PROMPT, SamplingParams(max_new_tokens=9, ignore_eos=True, logit_bias={7: 100}))
        assert forced.token_ids == (7,) * 9
        banned = SamplingParams(max_new_tokens=300, seed=1, ignore_eos=True, logit_bias=dict.fromkeys(range(40), -100))
        assert set(engine.generate(PROMPT, banned).token_ids) <= set(range(40, 50))


@pytest.mark.parametrize("mtp", ["off", 3])
def test_stop_tokens_end_the_reply_even_if_ends_are_ignored(mtp):
    free = greedy_twin(PROMPT, 40)
    stop = free[12]
    with Engine(FakeBackend(), mtp=mtp) as engine:
        params = SamplingParams(temperature=0, max_new_tokens=40, ignore_eos=True, stop_token_ids=[stop, 49])
        completion = engine.generate(PROMPT, params)
    end = min(free.index(token) for token in (stop, 49) if token in free)
    assert list(completion.token_ids) == free[: end + 1]
    assert completion.finish_reason == "stop"


def log_softmax(row):
    row = row.astype(float)
    return row - row.max() - np.log(np.exp(row - row.max()).sum())


@pytest.mark.parametrize("prefill_rows", [1, 3, 4, 256])
def test_prompt_logprobs_are_those_of_the_tokens_before(prefill_rows):
    with Engine(FakeBackend(), prefill_rows=prefill_rows) as engine:
        others = [engine.submit([i] * 9, SamplingParams(max_new_tokens=9, seed=i)) for i in range(3)]
        params = SamplingParams(temperature=0, max_new_tokens=5, prompt_logprobs=3, logprobs=2, ignore_eos=True, **ALL)
        completion = engine.generate(PROMPT, params)
        assert all(other.result(60) for other in others)
        assert engine.generate([1], params).prompt_logprobs == (None,)
        assert engine.generate([1]).prompt_logprobs is None
    assert list(completion.token_ids) == greedy_twin(PROMPT, 5, **ALL)
    assert completion.prompt_logprobs[0] is None
    assert [entry.token_id for entry in completion.prompt_logprobs[1:]] == PROMPT[1:]
    for position, entry in enumerate(completion.prompt_logprobs[1:], 1):
        expected = log_softmax(trunk_logits(PROMPT[:position]))
        assert entry.logprob == pytest.approx(expected[PROMPT[position]], abs=1e-5)
        assert [token for token, _ in entry.top] == np.argsort(-expected)[:3].tolist()
        assert [value for _, value in entry.top] == pytest.approx(np.sort(expected)[::-1][:3], abs=1e-5)
    # log-probabilities of the reply are the model's own too, without the penalties
    expected = log_softmax(trunk_logits(PROMPT))
    assert completion.logprobs[0].logprob == pytest.approx(expected[completion.token_ids[0]], abs=1e-5)


@pytest.mark.parametrize("field", ["logit_bias", "stop_token_ids"])
def test_tokens_that_do_not_exist_are_refused(field):
    value = {VOCAB: 1.0} if field == "logit_bias" else [VOCAB]
    with (
        Engine(FakeBackend()) as engine,
        pytest.raises(RequestError, match="token id 50 must be from 0 to 49") as caught,
    ):
        engine.submit([1], SamplingParams(**{field: value}))
    assert caught.value.param == field
