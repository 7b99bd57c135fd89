"""Choosing tokens: filters against hand-worked distributions, randomness against chi-square."""

import math
from dataclasses import replace

import numpy as np
import pytest

from openmimo.engine import SamplingParams
from openmimo.engine.draft import accept
from openmimo.engine.sampler import choose_token, probabilities, token_logprob, uniform
from openmimo.errors import OpenMiMoError, RequestError

# Probabilities 0.4, 0.3, 0.2, 0.1 in the order 2, 0, 3, 1.
LOGITS = np.log(np.array([0.3, 0.1, 0.4, 0.2], np.float32))


def distribution(logits, **params):
    """Token id to probability, rounded."""
    ids, probs = probabilities(logits, SamplingParams(**params))
    ids = range(logits.size) if ids is None else ids.tolist()
    return {i: round(float(p), 5) for i, p in sorted(zip(ids, probs / probs.sum(), strict=True)) if p > 0}


def chi_square_limit(degrees):
    return degrees + 4 * math.sqrt(2 * degrees)  # four standard deviations: one false alarm in thousands of seeds


def test_greedy_takes_the_lowest_id_among_equals():
    params = SamplingParams(temperature=0)
    rows = np.array([[0, 3, 3, 1], [5, 5, 5, 5]], np.float32)
    assert [choose_token(row, params, seed=1, position=2) for row in rows] == [1, 0]


def test_without_filters_every_token_keeps_its_probability():
    assert distribution(LOGITS) == {0: 0.3, 1: 0.1, 2: 0.4, 3: 0.2}


def test_temperature_raises_probabilities_to_its_inverse():
    # squares .09 .01 .16 .04, sum .30
    assert distribution(LOGITS, temperature=0.5) == {0: 0.3, 1: 0.03333, 2: 0.53333, 3: 0.13333}


def test_top_k_keeps_the_k_most_likely_and_the_lowest_ids_of_equals():
    assert distribution(LOGITS, top_k=2) == {0: 0.42857, 2: 0.57143}
    assert distribution(np.array([1, 2, 1, 1], np.float32), top_k=2, temperature=100) == {0: 0.4975, 1: 0.5025}
    assert distribution(LOGITS, top_k=9) == distribution(LOGITS)


def test_top_p_keeps_the_smallest_set_that_holds_it():
    assert distribution(LOGITS, top_p=0.39) == {2: 1.0}
    assert distribution(LOGITS, top_p=0.41) == {0: 0.42857, 2: 0.57143}
    assert distribution(LOGITS, top_p=0.69) == {0: 0.42857, 2: 0.57143}
    assert distribution(LOGITS, top_p=0.71) == {0: 0.33333, 2: 0.44444, 3: 0.22222}
    assert distribution(np.zeros(4, np.float32), top_p=0.5) == {0: 0.5, 1: 0.5}  # equals: the lowest ids


def test_top_p_counts_what_top_k_left():
    # top_k=3 leaves 4/9, 3/9, 2/9; the first two hold 7/9 = 0.78
    assert distribution(LOGITS, top_k=3, top_p=0.77) == {0: 0.42857, 2: 0.57143}


def test_min_p_is_relative_to_the_most_likely():
    assert distribution(LOGITS, min_p=0.49) == {0: 0.33333, 2: 0.44444, 3: 0.22222}
    assert distribution(LOGITS, min_p=0.51) == {0: 0.42857, 2: 0.57143}
    assert distribution(LOGITS, min_p=1.0) == {2: 1.0}


def textbook(logits, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0):
    """The definition of the filters over a full sort, in float64; equals in the order of ids."""
    order = np.argsort(-logits, kind="stable")[: top_k or None]
    probs = np.exp((logits[order] - logits.max()) / np.float32(temperature)).astype(np.float64)
    if top_p < 1:
        num_kept = int((np.cumsum(probs) < top_p * probs.sum()).sum()) + 1
        order, probs = order[:num_kept], probs[:num_kept]
    is_kept = probs >= np.float32(min_p) * (min_p > 0)
    return np.bincount(order[is_kept], probs[is_kept] / probs[is_kept].sum(), minlength=logits.size)


FILTERS = [
    *({"top_p": top_p} for top_p in (1e-6, 0.05, 0.5, 0.9, 0.99, 0.9999)),
    *({"top_p": 0.9, "temperature": temperature} for temperature in (0.1, 0.7, 1.5, 50)),
    *({"top_k": top_k} for top_k in (1, 40, 1000, 3000, 10**6)),
    {"min_p": 0.02},
    {"top_k": 50, "top_p": 0.8},
    {"top_k": 2000, "top_p": 0.95, "min_p": 0.001, "temperature": 1.3},
]


@pytest.mark.parametrize("filters", FILTERS, ids=str)
@pytest.mark.parametrize(("size", "spread"), [(300, 2), (5000, 0.1), (5000, 2), (5000, 6), (20_000, 3)])
def test_filters_over_a_large_vocabulary_equal_the_textbook(size, spread, filters):
    logits = np.random.default_rng(size).normal(size=size).astype(np.float32) * spread
    logits[1::7] = logits[::7][: logits[1::7].size]  # equals, so that the order of ids matters
    ids, probs = probabilities(logits, SamplingParams(**filters))
    ids = np.arange(size) if ids is None else ids
    given = np.bincount(ids, probs / probs.sum(dtype=np.float64), minlength=size)
    expected = textbook(logits, **filters)
    np.testing.assert_array_equal(given > 0, expected > 0)
    np.testing.assert_allclose(given, expected, rtol=1e-6)


def test_filters_over_many_equal_logits_keep_the_lowest_ids():
    logits = np.zeros(10_000, np.float32)
    assert set(distribution(logits, top_p=0.5)) == set(range(5000))
    assert set(distribution(logits, top_k=700)) == set(range(700))
    logits[5000:] = 1
    assert set(distribution(logits, top_k=700)) == set(range(5000, 5700))


@pytest.mark.parametrize("size", [1, 100, 128, 129, 1000])
def test_drawn_tokens_follow_the_distribution(size):
    logits = np.random.default_rng(size).normal(size=size).astype(np.float32)
    logits[::7] = -np.inf if size > 1 else 0
    expected = np.exp(logits.astype(np.float64))
    expected *= 20_000 / expected.sum()
    params = SamplingParams()
    drawn = [choose_token(logits, params, 5, position) for position in range(20_000)]
    counts = np.bincount(drawn, minlength=size)
    assert (counts[expected == 0] == 0).all()
    common = expected >= 5
    chi_square = ((counts - expected)[common] ** 2 / expected[common]).sum()
    assert chi_square <= chi_square_limit(common.sum() - 1)


@pytest.mark.parametrize(
    "filters",
    [{}, {"temperature": 0.6}, {"temperature": 1.5, "top_p": 0.95}, {"temperature": 0.8, "top_p": 0.8}, {"top_k": 3}],
    ids=str,
)
def test_accepting_drafts_leaves_the_distribution_as_it_is(filters):
    # Whatever the draft: accepted with its own probability, and the token that comes out follows p.
    params, num = SamplingParams(**filters), 20_000
    ids, p = probabilities(LOGITS, params)
    p = np.bincount(range(4) if ids is None else ids, p.astype(np.float64) / p.sum(dtype=np.float64), minlength=4)
    for draft in (2,) if filters else (3, 2):  # the most likely token, and an unlikely one
        outcomes = [
            accept([draft], lambda row, seed=seed: choose_token(LOGITS, params, seed, 10 + row)) for seed in range(num)
        ]
        accepted = [tokens[1] for tokens in outcomes if len(tokens) == 2]
        assert abs(len(accepted) - num * p[draft]) < 4 * math.sqrt(num * p[draft] * (1 - p[draft])) + 1e-9
        follows([tokens[0] for tokens in outcomes], p)
        follows([tokens[0] for tokens in outcomes if len(tokens) == 1], p * (np.arange(4) != draft))
        follows(accepted, p)


def follows(tokens, p):
    """Tokens have the distribution p (not normalised), by chi-square."""
    counts, expected = np.bincount(tokens, minlength=4), p / p.sum() * len(tokens)
    assert (counts[expected == 0] == 0).all()
    common = expected > 0
    assert ((counts - expected)[common] ** 2 / expected[common]).sum() < chi_square_limit(common.sum() - 1)


def test_accept_stops_at_the_first_wrong_draft():
    trunk = [4, 5, 6, 7]
    assert accept([], trunk.__getitem__) == [4]
    assert accept([4, 5, 6], trunk.__getitem__) == [4, 5, 6, 7]
    assert accept([4, 9, 6], trunk.__getitem__) == [4, 5]
    assert accept([9, 5, 6], trunk.__getitem__) == [4]


def test_uniform_depends_on_seed_and_position_alone_and_fills_the_interval():
    assert uniform(3, 8) == uniform(3, 8) == uniform(3 + 2**64, 8)
    values = np.array([uniform(seed, position) for seed in range(100) for position in range(200)])
    assert len(set(values.tolist())) == values.size
    counts = np.histogram(values, bins=50, range=(0, 1))[0]
    assert ((counts - 400.0) ** 2 / 400).sum() < chi_square_limit(49)
    by_seed = values.reshape(100, 200)
    for a, b in ((by_seed[:, :-1], by_seed[:, 1:]), (by_seed[:-1], by_seed[1:])):  # neighbours are independent
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 4 / math.sqrt(a.size)


def test_extreme_temperatures_do_not_overflow():
    logits = np.array([0, 1e4, -1e4], np.float32)
    assert choose_token(logits, SamplingParams(temperature=1e-6), 1, 1) == 1
    assert choose_token(logits * 1e30, SamplingParams(temperature=1e-30), 1, 1) == 1
    assert {choose_token(LOGITS, SamplingParams(temperature=100), s, 1) for s in range(99)} == {0, 1, 2, 3}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("temperature", [0, 1])
def test_logits_that_are_not_finite_are_reported(bad, temperature):
    with pytest.raises(OpenMiMoError, match="token 1: the weights may be damaged"):
        choose_token(np.array([0, bad, 1], np.float32), SamplingParams(temperature=temperature), 0, 0)


def test_logprobs_ignore_temperature_and_list_the_best_first():
    entry = token_logprob(LOGITS, 1, 3)
    assert entry.logprob == pytest.approx(math.log(0.1), abs=1e-6)
    assert [token for token, _ in entry.top] == [2, 0, 3]
    assert [value for _, value in entry.top] == pytest.approx(np.log([0.4, 0.3, 0.2]), abs=1e-6)
    assert len(token_logprob(LOGITS, 1, 20).top) == 4


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("temperature", -0.1, "from 0 to 100"),
        ("temperature", math.nan, "from 0 to 100"),
        ("temperature", "hot", "from 0 to 100"),
        ("top_p", 0, "above 0, at most 1"),
        ("top_p", 1.01, "above 0, at most 1"),
        ("top_k", -1, "from 0 to 2147483647"),
        ("top_k", 1.5, "integer"),
        ("min_p", 2, "from 0 to 1"),
        ("max_new_tokens", 0, "from 1 to"),
        ("max_new_tokens", True, "integer"),
        ("seed", 2**64, "from -9223372036854775808 to 18446744073709551615"),
        ("stop", 5, "non-empty string"),
        ("stop", ["ok", ""], "non-empty string"),
        ("stop", ["x"] * 17, "at most 16"),
        ("stop", "x" * 2**20, "a string of 1048576 characters; at most 256"),
        ("stop", [["x"] * 10**6], "non-empty string"),
        ("ignore_eos", 1, "true or false"),
        ("logprobs", 21, "from 0 to 20"),
        ("prompt_logprobs", -1, "from 0 to 20"),
        ("repetition_penalty", 0, "from 0.01 to 100"),
        ("repetition_penalty", math.inf, "from 0.01 to 100"),
        ("presence_penalty", 2.1, "from -2 to 2"),
        ("frequency_penalty", "1", "from -2 to 2"),
        ("logit_bias", {5: 101}, "from -100 to 100"),
        ("logit_bias", {5: math.nan}, "from -100 to 100"),
        ("logit_bias", {-1: 1}, "token id, 0 or more"),
        ("logit_bias", {"5": 1}, "token id, 0 or more"),
        ("logit_bias", {True: 1}, "token id, 0 or more"),
        ("logit_bias", [5], "map from token id"),
        ("logit_bias", dict.fromkeys(range(10**6), 1), "1000000 entries; at most 1024"),
        ("stop_token_ids", 5, "list of token ids"),
        ("stop_token_ids", [-1], "0 or more"),
        ("stop_token_ids", list(range(65)), "at most 64"),
    ],
)
def test_bad_parameters_are_named_with_their_range(field, value, allowed):
    with pytest.raises(RequestError, match=allowed) as caught:
        SamplingParams(**{field: value})
    assert caught.value.param == field
    assert str(caught.value).startswith(field)
    assert len(str(caught.value)) < 200


def test_one_stop_string_may_stand_alone():
    assert SamplingParams(stop="\n").stop == SamplingParams(stop=["\n"]).stop == ("\n",)


def test_parameters_keep_their_places_and_can_be_copied_and_hashed():
    params = SamplingParams(0.5, 0.9, 40, 0.1, 7, 3, ("x",), True, 2, logit_bias={9: 1.0, 4: -2}, stop_token_ids=[8])
    assert (params.temperature, params.top_p, params.top_k, params.min_p, params.max_new_tokens) == (
        0.5,
        0.9,
        40,
        0.1,
        7,
    )
    assert (params.seed, params.stop, params.ignore_eos, params.logprobs) == (3, ("x",), True, 2)
    assert (params.logit_bias, params.stop_token_ids) == (((4, -2), (9, 1.0)), (8,))
    assert replace(params, seed=3) == params
    assert len({params, replace(params, seed=4)}) == 2
