"""Logits changed by what was said before: repetition, presence and frequency penalties, and by a fixed bias."""

import numpy as np

from openmimo.engine.params import SamplingParams

__all__ = ["Penalties"]


class Penalties:
    """Penalties and logit bias of one request, with the counts of its tokens, which are kept up as it grows.

    Args:
        params: what was asked for.
        num_prompt: tokens of the prompt; those after it are the reply.
    """

    def __init__(self, params: SamplingParams, num_prompt: int):
        self.params = params
        self.num_prompt = num_prompt
        self._num_counted = 0 if params.has_penalties else None
        self._index: dict[int, int] = {}  # of each token that was seen, its place in the two arrays
        self._ids_D = np.zeros(64, np.intp)
        self._counts_D = np.zeros(64, np.float32)  # in the reply
        assert isinstance(params.logit_bias, tuple)
        self._bias_ids = np.array([token_id for token_id, _ in params.logit_bias], np.intp)
        self._bias = np.array([bias for _, bias in params.logit_bias], np.float32)

    def apply(self, logits_V: np.ndarray, tokens_S: np.ndarray, position: int) -> np.ndarray:
        """Change the logits that choose the token at `position`.

        Args:
            logits_V: float32 [V], the model's.
            tokens_S: the request's tokens; those before `position` count, as if they were all accepted.
            position: never smaller than in the call before.
        Returns: float32 [V], a copy.
        """
        logits_V = logits_V.copy()
        if self._num_counted is not None:
            self._count(tokens_S, position, logits_V.size)
            ids_D, counts_D = self._ids_D[: len(self._index)], self._counts_D[: len(self._index)]
            logits_V[ids_D] = self._penalised(logits_V[ids_D], counts_D)
        logits_V[self._bias_ids] += self._bias
        return logits_V

    def _penalised(self, logits_D: np.ndarray, counts_D: np.ndarray) -> np.ndarray:
        params = self.params
        repetition = np.float32(params.repetition_penalty)
        logits_D = np.where(logits_D > 0, logits_D / repetition, logits_D * repetition)
        logits_D -= np.float32(params.frequency_penalty) * counts_D
        return logits_D - np.float32(params.presence_penalty) * (counts_D > 0)

    def _count(self, tokens_S: np.ndarray, position: int, num_ids: int) -> None:
        """Count the tokens up to `position` that were not counted yet."""
        begin, self._num_counted = self._num_counted, position
        assert begin is not None
        if begin < self.num_prompt and self.params.repetition_penalty != 1:
            prompt_ids = np.unique(tokens_S[begin : self.num_prompt])
            for token_id in prompt_ids[prompt_ids < num_ids].tolist():  # an unused row of the embedding has no logit
                self._place(token_id)
        for token_id in tokens_S[max(begin, self.num_prompt) : position].tolist():
            place = self._place(token_id)
            self._counts_D[place] += 1

    def _place(self, token_id: int) -> int:
        place = self._index.setdefault(token_id, len(self._index))
        if place == self._ids_D.size:
            self._ids_D = np.concatenate((self._ids_D, np.zeros_like(self._ids_D)))
            self._counts_D = np.concatenate((self._counts_D, np.zeros_like(self._counts_D)))
        self._ids_D[place] = token_id
        return place
