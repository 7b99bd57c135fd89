"""Choosing a token from a row of logits: greedy, temperature, top-k, top-p, min-p, seeds and log-probabilities.

Randomness is a function of (seed, position) alone, so a token depends neither on what runs beside it nor on whether
it was verified as a draft.
"""

import math

import numpy as np

from openmimo.engine.params import SamplingParams
from openmimo.engine.request import TokenLogprob
from openmimo.errors import OpenMiMoError

__all__ = ["choose_token", "probabilities", "token_logprob", "uniform"]

_MASK = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15
_FEW = 256
_COLUMNS = 1024
_BLOCK = 128


def choose_token(logits_V: np.ndarray, params: SamplingParams, seed: int, position: int) -> int:
    """Choose the token at `position`.

    Args:
        logits_V: float32 [V].
        params: temperature and filters.
        seed: of the request, 64 bits.
        position: of the token to choose, counted from the start of the prompt.
    Returns: a token id.
    Raises:
        OpenMiMoError: the logits hold NaN or infinity.
    """
    if params.is_greedy:
        return check_finite(logits_V, int(logits_V.argmax()))
    ids, probs = probabilities(logits_V, params)
    index = _inverse_cdf(probs, uniform(seed, position))
    return index if ids is None else int(ids[index])


def check_finite(logits_V: np.ndarray, token_id: int) -> int:
    """Return `token_id`, the row's argmax, unless its logit shows that the row is not finite.

    Args:
        logits_V: float32 [V].
        token_id: argmax of the row (numpy's argmax stops at the first NaN).
    Returns: `token_id`.
    Raises:
        OpenMiMoError: the logit is NaN or infinite.
    """
    value = logits_V[token_id]
    if not -np.inf < value < np.inf:
        raise OpenMiMoError(f"the model returned a logit of {value} for token {token_id}: the weights may be damaged")
    return token_id


def probabilities(logits_V: np.ndarray, params: SamplingParams) -> tuple[np.ndarray | None, np.ndarray]:
    """The distribution that a token is drawn from.

    Args:
        logits_V: float32 [V].
        params: temperature above 0, and filters.
    Returns: token ids (None: all, in order) and their probabilities, float32, relative to the most likely token's.
    Raises:
        OpenMiMoError: the logits hold NaN or infinity.
    """
    ids: np.ndarray | None = None
    top = logits_V[check_finite(logits_V, int(logits_V.argmax()))]
    if 0 < params.top_k < logits_V.size:
        ids = _top_k(logits_V, params.top_k)
        logits_V = logits_V[ids]
    probs = logits_V - top
    with np.errstate(over="ignore", under="ignore"):
        if params.temperature != 1:
            probs /= np.float32(params.temperature)
        np.exp(probs, out=probs)
    if params.top_p < 1.0:
        ids, probs = _top_p(ids, probs, params.top_p)
    if params.min_p > 0.0:  # the most likely token has probs == 1.0 here
        ids, probs = _taken(ids, probs, np.flatnonzero(probs >= np.float32(params.min_p)))
    return ids, probs


def _taken(ids: np.ndarray | None, probs: np.ndarray, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return kept if ids is None else ids[kept], probs[kept]


def _leaders(values: np.ndarray, count: int) -> np.ndarray:
    """Indices, rising, of the `count` highest values and a few more; none left out is as high as any of them.

    The values are laid in columns. As many columns as `count` have a maximum that reaches the count-th highest one, so
    at least `count` values do. That takes one quick pass, where finding the count-th highest value takes many.
    """
    whole = values.size // _COLUMNS * _COLUMNS
    if whole < 4 * _COLUMNS or count > _COLUMNS:
        return np.arange(values.size)
    maxima = values[:whole].reshape(-1, _COLUMNS).max(axis=0)
    return np.flatnonzero(values >= np.partition(maxima, -count)[-count])


def _top_k(values: np.ndarray, k: int) -> np.ndarray:
    """Indices of the k highest values; among equals the lowest indices stay."""
    leaders = _leaders(values, k)
    few = values[leaders]
    lowest = np.partition(few, -k)[-k]
    above = np.flatnonzero(few > lowest)
    return leaders[np.concatenate((above, np.flatnonzero(few == lowest)[: k - above.size]))]


def _top_p(ids: np.ndarray | None, probs: np.ndarray, top_p: float) -> tuple[np.ndarray | None, np.ndarray]:
    """Leave the smallest set of highest entries that holds top_p of the total, the lowest ids among equals."""
    total = float(probs.sum(dtype=np.float64))
    target = top_p * total
    leaders = _leaders(probs, _FEW)  # nearly always enough, and sorting all takes long
    if leaders.size < probs.size and (held := float(probs[leaders].sum(dtype=np.float64))) >= target:
        ids, probs = _taken(ids, probs, leaders)
        total = held
    rising = np.sort(probs)
    num_dropped = _num_within(rising, total - target)
    lowest = rising[num_dropped]
    is_kept = probs >= lowest
    num_extra = num_dropped - int(np.searchsorted(rising, lowest))  # equals of the lowest one that have to go
    if num_extra:
        is_kept[np.flatnonzero(probs == lowest)[-num_extra:]] = False
    return ids, probs * is_kept


def _num_within(rising: np.ndarray, budget: float) -> int:
    """How many entries, from the first, hold no more than the budget together, one fewer than all of them at most.

    Sums whole blocks first, which is much faster.
    """
    num_blocks = rising.size // _BLOCK
    whole = rising[: num_blocks * _BLOCK].reshape(num_blocks, _BLOCK).sum(axis=1, dtype=np.float64)
    sums = np.cumsum(whole)
    block = int(np.searchsorted(sums, budget, side="right"))
    before = sums[block - 1] if block else 0.0
    within = np.cumsum(rising[block * _BLOCK : (block + 1) * _BLOCK], dtype=np.float64)
    count = block * _BLOCK + int(np.searchsorted(within, budget - before, side="right"))
    return min(count, rising.size - 1)


def _inverse_cdf(probs: np.ndarray, u: float) -> int:
    """First index whose running sum exceeds u times the total; sums whole blocks first, which is much faster."""
    num_blocks = probs.size // _BLOCK
    whole = probs[: num_blocks * _BLOCK].reshape(num_blocks, _BLOCK).sum(axis=1)
    sums = np.cumsum(np.append(whole, probs[num_blocks * _BLOCK :].sum()), dtype=np.float64)
    target = u * sums[-1]
    block = int(np.searchsorted(sums, target, side="right"))
    start = block * _BLOCK
    within = np.cumsum(probs[start : start + _BLOCK], dtype=np.float64)
    before = sums[block - 1] if block else 0.0
    index = int(np.searchsorted(within, target - before, side="right"))
    if index == within.size:  # rounding: the running sum ended just below its block's sum
        index = int(np.flatnonzero(probs[start : start + _BLOCK])[-1])
    return start + index


def uniform(seed: int, position: int) -> float:
    """A number in [0, 1) with 52 random bits, so that u * x < x for any x > 0, which depends on (seed, position) only.

    Args:
        seed: any integer; its low 64 bits count.
        position: any non-negative integer.
    Returns: a float.
    Source: the SplitMix64 generator, with its state keyed by the hashed seed and advanced `position` times.
    """
    return (_mix(_mix(seed & _MASK) + (position + 1) * _GOLDEN) >> 12) * 2.0**-52


def _mix(state: int) -> int:
    state = (state + _GOLDEN) & _MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return state ^ (state >> 31)


def token_logprob(logits_V: np.ndarray, token_id: int, num_top: int) -> TokenLogprob:
    """Log-probability of a token and of the most likely ones, with neither temperature nor filters nor penalties.

    Args:
        logits_V: float32 [V].
        token_id: the token; one past the end can never be generated and has -inf.
        num_top: how many of the most likely tokens to report.
    Returns: the report.
    """
    best = int(logits_V.argmax())
    top = logits_V[best]
    log_total = float(top) + math.log(np.exp(logits_V - top).sum(dtype=np.float64))
    ids = [best][:num_top]  # most often one or none is asked for, and sorting costs more than all the rest
    if num_top > 1:
        leaders = _top_k(logits_V, min(num_top, logits_V.size))
        ids = leaders[np.lexsort((leaders, -logits_V[leaders]))].tolist()
    logprob = float(logits_V[token_id]) - log_total if token_id < logits_V.size else -math.inf
    return TokenLogprob(token_id, logprob, tuple((i, float(logits_V[i]) - log_total) for i in ids))
