"""Choosing a token from a row of logits: greedy, temperature, top-k, top-p, min-p, seeds and log-probabilities.

Randomness is a function of (seed, position) alone, so a token depends neither on what runs beside it nor on whether
it was verified as a draft.
"""

import numpy as np

from openmimo.engine.request import SamplingParams, TokenLogprob
from openmimo.errors import OpenMiMoError

__all__ = ["choose_greedy", "choose_token", "probabilities", "token_logprob", "uniform"]

_MASK = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15
_FEW = 256
_BLOCK = 128


def choose_greedy(logits_BV: np.ndarray) -> list[int]:
    """Take the highest logit of each row; the lowest id wins ties.

    Args:
        logits_BV: float32 [B, V].
    Returns: B token ids.
    """
    return logits_BV.argmax(axis=1).tolist()


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
    with np.errstate(over="ignore", under="ignore"):
        probs = np.exp((logits_V - top) / np.float32(params.temperature))
    if params.top_p < 1.0:
        kept = _top_p(probs, params.top_p)
        ids, probs = kept if ids is None else ids[kept], probs[kept]
    if params.min_p > 0.0:  # the most likely token has probs == 1.0 here
        kept = np.flatnonzero(probs >= params.min_p)
        ids, probs = kept if ids is None else ids[kept], probs[kept]
    return ids, probs


def _top_k(values: np.ndarray, k: int) -> np.ndarray:
    """Indices of the k highest values; among equals the lowest indices stay."""
    return _highest(values, np.partition(values, -k)[-k], k)


def _highest(values: np.ndarray, lowest: float, k: int) -> np.ndarray:
    """Indices of the k highest values, of which `lowest` is the last."""
    above = np.flatnonzero(values > lowest)
    return np.concatenate((above, np.flatnonzero(values == lowest)[: k - above.size]))


def _top_p(probs: np.ndarray, top_p: float) -> np.ndarray:
    """Indices of the smallest set of highest entries that holds top_p of the total."""
    target = top_p * probs.sum(dtype=np.float64)
    for count in (_FEW, probs.size):  # a few entries are enough for nearly every row, and sorting all is slow
        few = np.partition(probs, -count)[-count:] if count < probs.size else probs
        falling = np.sort(few)[::-1]
        cumulative = np.cumsum(falling, dtype=np.float64)
        if cumulative[-1] >= target:
            break
    count = min(int(np.searchsorted(cumulative, target)) + 1, falling.size)
    return _highest(probs, falling[count - 1], count)


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
    """Log-probability of a token and of the most likely ones, with neither temperature nor filters.

    Args:
        logits_V: float32 [V].
        token_id: the chosen token.
        num_top: how many of the most likely tokens to report.
    Returns: the report.
    """
    shifted = logits_V.astype(np.float64) - float(logits_V.max())
    logprobs = shifted - np.log(np.exp(shifted).sum())
    ids = _top_k(logits_V, min(num_top, logits_V.size)) if num_top else np.zeros(0, np.int64)
    ids = ids[np.lexsort((ids, -logprobs[ids]))]
    return TokenLogprob(token_id, float(logprobs[token_id]), tuple((int(i), float(logprobs[i])) for i in ids))
