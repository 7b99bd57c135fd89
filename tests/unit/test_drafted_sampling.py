"""Drafts change neither a sampled token nor its distribution: a Markov chain whose probabilities are known."""

import numpy as np
import pytest
from engine_backend import tiny_config

from openmimo.batch import StepResult
from openmimo.engine import SamplingParams
from openmimo.engine.request import Request
from openmimo.engine.sampler import probabilities
from openmimo.engine.worker import Worker

NUM_IDS = 8
LOGITS = np.random.default_rng(4).normal(size=(NUM_IDS, NUM_IDS)).astype(np.float32)
SETTINGS = [
    {"temperature": 1.0},
    {"temperature": 0.6},
    {"temperature": 1.4, "top_p": 0.8},
    {"temperature": 0.8, "top_p": 0.6},
    {"temperature": 1.0, "top_k": 3, "min_p": 0.1},
]


class MarkovBackend:
    """The next token depends on the last one alone; heads propose the likeliest, every third time the next id."""

    num_slots, num_pages = 16, 400

    def __init__(self):
        self.config = tiny_config()

    def start(self, num_ids, num_heads):
        self.num_heads = num_heads

    def forward(self, batch, wants_hidden=False, wants_routes=False):
        logits_BV = LOGITS[batch.token_ids_T[batch.wanted_B]]
        return StepResult(logits_BV, logits_BV.argmax(axis=1).astype(np.int32))

    def commit(self, keep_N):
        pass

    def draft(self, batch, counts_N):
        drafts_NK, tokens_N = np.empty((counts_N.size, self.num_heads), np.int32), batch.token_ids_T
        for head in range(self.num_heads):
            tokens_N = LOGITS[tokens_N].argmax(axis=1)
            tokens_N = np.where((batch.first_N + head) % 3 == 0, (tokens_N + 1) % NUM_IDS, tokens_N)
            drafts_NK[:, head] = tokens_N
        return drafts_NK


def sample(max_drafts, seeds, count, **params):
    """Tokens of one request for each seed."""
    worker = Worker(MarkovBackend(), NUM_IDS, frozenset(), max_drafts, True, 256)
    requests = []
    for seed in seeds:
        sampling = SamplingParams(seed=seed, max_new_tokens=count, ignore_eos=True, **params)
        requests.append(Request([seed % NUM_IDS], sampling, count, seed))
        worker.take("add", requests[-1])
    while not worker.scheduler.is_idle:
        worker.step()
    num_accepted = sum(sum(request.output.completion.stats.accepted) for request in requests)
    return np.array([request.output.token_ids for request in requests]), num_accepted


@pytest.mark.parametrize(("params", "max_drafts"), [*((params, 3) for params in SETTINGS), (SETTINGS[2], 0)])
def test_drafted_tokens_follow_the_models_distribution(params, max_drafts):
    first_seed = 1000 * max_drafts  # other seeds with than without drafts
    tokens, num_accepted = sample(max_drafts, range(first_seed, first_seed + 40), 501, **params)
    counts = np.zeros((NUM_IDS, NUM_IDS))
    np.add.at(counts, (tokens[:, :-1].ravel(), tokens[:, 1:].ravel()), 1)
    assert counts.sum() == 20000
    assert num_accepted > 1000 or max_drafts == 0  # or the test shows nothing
    chi_square, degrees = 0.0, 0
    for last in range(NUM_IDS):
        ids, weights = probabilities(LOGITS[last], SamplingParams(**params))
        expected = np.zeros(NUM_IDS)
        expected[slice(None) if ids is None else ids] = weights / weights.sum() * counts[last].sum()
        possible = expected > 0
        assert counts[last][~possible].sum() == 0
        chi_square += ((counts[last] - expected)[possible] ** 2 / expected[possible]).sum()
        degrees += possible.sum() - 1
    assert chi_square < degrees + 4 * np.sqrt(2 * degrees)  # four standard deviations


@pytest.mark.parametrize("params", SETTINGS)
def test_drafted_tokens_are_those_of_the_same_seed_without_drafts(params):
    plain, _ = sample(0, range(16), 60, **params)
    for max_drafts in (1, 3):
        np.testing.assert_array_equal(sample(max_drafts, range(16), 60, **params)[0], plain)
