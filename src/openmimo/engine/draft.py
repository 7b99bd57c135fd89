"""Speculative decoding with the model's own multi-token-prediction heads.

The back end proposes (`Backend.draft`); `controller.py` decides how many tokens, and the trunk which of them are taken.
"""

import logging
from collections.abc import Callable, Sequence

import numpy as np

from openmimo.batch import Backend
from openmimo.engine.controller import DraftController
from openmimo.engine.pack import Packer
from openmimo.engine.request import Request

__all__ = ["Drafter", "accept"]

_LOG = logging.getLogger("openmimo")


def accept(drafts: Sequence[int], choose: Callable[[int], int]) -> list[int]:
    """Check drafts against the trunk's own choices.

    A draft is one fixed token d. The rule "accept with probability p(d), else draw from p without d" is carried out by
    drawing once from p and accepting if the draw is d: the draw, if it is not d, already follows p without d. With
    draws that depend on (seed, position) only, the tokens are then the very ones that plain sampling gives.

    Args:
        drafts: proposed tokens.
        choose: gives the trunk's token at row j, where row j has seen the first j drafts.
    Returns: the accepted drafts and one more token, the trunk's own: 1 to len(drafts) + 1 tokens.
    """
    tokens = []
    for row, draft in enumerate(drafts):
        tokens.append(choose(row))
        if tokens[-1] != draft:
            return tokens
    return [*tokens, choose(len(drafts))]


class Drafter:
    """Lets the heads of a back end propose tokens.

    Args:
        backend: the model.
        controller: is told of heads that cannot be used.
    """

    def __init__(self, backend: Backend, controller: DraftController):
        self.backend = backend
        self.controller = controller
        self._packer = Packer()

    def propose(self, requests: Sequence[Request], num_drafts: int) -> list[int]:
        """Write drafts behind the known tokens of each decoding request.

        Args:
            requests: decoding requests.
            num_drafts: drafts wanted for each.
        Returns: drafts made for each; fewer where a request is about to reach its length.
        """
        counts = [min(num_drafts, request.max_tokens - request.num_known - 1) for request in requests]
        if max(counts, default=0) == 0:
            return counts
        tokens = [request.tokens_S[request.num_cached : request.num_known] for request in requests]
        batch = self._packer.pack(requests, tokens, [request.num_cached for request in requests], [])
        drafts_NK = self.backend.draft(batch, np.array(counts, np.int32))
        for index, (request, drafts) in enumerate(zip(requests, drafts_NK.tolist(), strict=True)):
            drafts = drafts[: counts[index]]
            if -1 in drafts:
                drafts = self._without_broken(drafts)
                counts[index] = len(drafts)
            for head, token in enumerate(drafts):
                request.tokens_S[request.num_known + head] = token
                request.head_ends[head] = request.num_cached
        return counts

    def _without_broken(self, drafts: list[int]) -> list[int]:
        head = self.controller.broken_head = drafts.index(-1)
        _LOG.warning("MTP head %d gave logits that are not finite: no more drafts are made", head)
        return drafts[:head]
