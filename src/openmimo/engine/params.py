"""How a caller wants tokens chosen, checked field by field."""

import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from openmimo.errors import RequestError

__all__ = ["MAX_LOGIT_BIAS", "MAX_STOP_CHARS", "MAX_STOP_STRINGS", "MAX_TOP_LOGPROBS", "SamplingParams"]

MAX_TOP_LOGPROBS = 20
MAX_STOP_STRINGS = 16
MAX_STOP_CHARS = 256
MAX_STOP_TOKENS = 64
MAX_LOGIT_BIAS = 1024

LogitBias = Mapping[int, float] | tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class SamplingParams:
    """How to choose tokens and when to stop.

    The model's logits are changed in this order: repetition_penalty, frequency_penalty and presence_penalty,
    logit_bias. Greedy decoding takes the highest of what comes out. Filters apply in this order, to the probabilities
    after temperature: top_k, top_p (over what top_k left), min_p.

    Args:
        temperature: 0 is greedy (highest logit, lowest id among equals); otherwise logits are divided by it.
        top_p: keep the smallest set of most likely tokens that holds this much probability.
        top_k: keep this many most likely tokens; 0 keeps all.
        min_p: drop tokens less likely than min_p times the most likely one.
        max_new_tokens: upper limit; lowered to the room that the context leaves.
        seed: makes the tokens reproducible, whatever runs beside them and however many drafts are made;
            None takes a fresh one.
        stop: strings that end the text (left out of it).
        ignore_eos: do not stop at end-of-sequence tokens.
        logprobs: how many most likely tokens to report beside each chosen one; 0 reports nothing.
        repetition_penalty: divides positive logits, and multiplies negative ones, of tokens that are in the prompt or
            the reply so far; 1 changes nothing.
        presence_penalty: is subtracted from the logits of tokens that are in the reply so far.
        frequency_penalty: is subtracted as often as the token is in the reply so far.
        logit_bias: what to add to a token's logit, by token id. Kept as pairs in the order of ids.
        stop_token_ids: tokens that end the reply, as end-of-sequence tokens do, whatever `ignore_eos` says.
        prompt_logprobs: how many most likely tokens to report beside each token of the prompt; 0 reports nothing.
        routes: report which experts every token was sent to, for a trainer that replays the choice.
    Raises:
        RequestError: a value is outside its range; `param` names it.
    Source: the repetition penalty is CTRL's (Keskar et al. 2019); presence, frequency and bias are the OpenAI API's.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    max_new_tokens: int = 256
    seed: int | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    logprobs: int = 0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: LogitBias = ()
    stop_token_ids: tuple[int, ...] = ()
    prompt_logprobs: int = 0
    routes: bool = False

    def __post_init__(self) -> None:
        _check_number("temperature", self.temperature, 0.0, 100.0)
        _check_number("top_p", self.top_p, 0.0, 1.0, above=True)
        _check_integer("top_k", self.top_k, 0, 2**31 - 1)
        _check_number("min_p", self.min_p, 0.0, 1.0)
        _check_integer("max_new_tokens", self.max_new_tokens, 1, 2**31 - 1)
        if self.seed is not None:
            _check_integer("seed", self.seed, -(2**63), 2**64 - 1)
        for name in ("ignore_eos", "routes"):
            if not isinstance(value := getattr(self, name), bool):
                raise _bad(name, value, "true or false")
        _check_integer("logprobs", self.logprobs, 0, MAX_TOP_LOGPROBS)
        _check_number("repetition_penalty", self.repetition_penalty, 0.01, 100.0)
        _check_number("presence_penalty", self.presence_penalty, -2.0, 2.0)
        _check_number("frequency_penalty", self.frequency_penalty, -2.0, 2.0)
        _check_integer("prompt_logprobs", self.prompt_logprobs, 0, MAX_TOP_LOGPROBS)
        object.__setattr__(self, "stop", _stop_strings(self.stop))
        object.__setattr__(self, "stop_token_ids", _stop_tokens(self.stop_token_ids))
        object.__setattr__(self, "logit_bias", _bias_pairs(self.logit_bias))

    @property
    def is_greedy(self) -> bool:
        """Whether the highest logit is always taken."""
        return self.temperature == 0

    @property
    def has_penalties(self) -> bool:
        """Whether logits depend on the tokens so far."""
        return (self.repetition_penalty, self.presence_penalty, self.frequency_penalty) != (1, 0, 0)

    def check_token_ids(self, num_ids: int) -> None:
        """Check that every token named exists.

        Args:
            num_ids: tokens that the model may generate.
        Raises:
            RequestError: one does not; `param` names the field.
        """
        assert isinstance(self.logit_bias, tuple)
        for name, ids in (
            ("logit_bias", [pair[0] for pair in self.logit_bias]),
            ("stop_token_ids", self.stop_token_ids),
        ):
            for token_id in ids:
                if token_id >= num_ids:
                    raise RequestError(f"{name}: token id {token_id} must be from 0 to {num_ids - 1}", param=name)


def _bad(name: str, value: object, allowed: str) -> RequestError:
    return RequestError(f"{name}={reprlib.repr(value)} must be {allowed}", param=name)


def _is_number(value: Any, low: float, high: float) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and low <= value <= high
    )


def _check_number(name: str, value: Any, low: float, high: float, above: bool = False) -> None:
    if not _is_number(value, low, high) or (above and value == low):
        bound = f"above {low:g}, at most {high:g}" if above else f"from {low:g} to {high:g}"
        raise _bad(name, value, f"a number {bound}")


def _is_integer(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _check_integer(name: str, value: object, low: int, high: int) -> None:
    if not _is_integer(value, low, high):
        raise _bad(name, value, f"an integer from {low} to {high}")


def _stop_strings(stop: object) -> tuple[str, ...]:
    strings = (stop,) if isinstance(stop, str) else stop
    if not isinstance(strings, tuple | list):
        raise _bad("stop", stop, "a non-empty string or a list of them")
    if len(strings) > MAX_STOP_STRINGS:
        raise RequestError(f"stop has {len(strings)} strings; at most {MAX_STOP_STRINGS} are allowed", param="stop")
    for item in strings:
        if not isinstance(item, str) or not item:
            raise _bad("stop", stop, "a non-empty string or a list of them")
        if len(item) > MAX_STOP_CHARS:
            message = f"stop has a string of {len(item)} characters; at most {MAX_STOP_CHARS} are allowed"
            raise RequestError(message, param="stop")
    return tuple(strings)


def _stop_tokens(ids: object) -> tuple[int, ...]:
    if not isinstance(ids, tuple | list):
        raise _bad("stop_token_ids", ids, "a list of token ids")
    if len(ids) > MAX_STOP_TOKENS:
        message = f"stop_token_ids has {len(ids)} entries; at most {MAX_STOP_TOKENS} are allowed"
        raise RequestError(message, param="stop_token_ids")
    if not all(_is_integer(token_id, 0, 2**31 - 1) for token_id in ids):
        raise _bad("stop_token_ids", ids, "a list of token ids, 0 or more each")
    return tuple(ids)


def _bias_pairs(bias: object) -> tuple[tuple[int, float], ...]:
    if not isinstance(bias, Mapping | tuple):
        raise _bad("logit_bias", bias, "a map from token id to a number from -100 to 100")
    if len(bias) > MAX_LOGIT_BIAS:
        message = f"logit_bias has {len(bias)} entries; at most {MAX_LOGIT_BIAS} are allowed"
        raise RequestError(message, param="logit_bias")
    pairs = bias.items() if isinstance(bias, Mapping) else bias
    for pair in pairs:
        is_pair = isinstance(pair, tuple) and len(pair) == 2
        if not is_pair or not _is_integer(pair[0], 0, 2**31 - 1) or not _is_number(pair[1], -100, 100):
            raise _bad("logit_bias", bias, "a map from token id, 0 or more, to a number from -100 to 100")
    return tuple(sorted(dict(pairs).items()))
