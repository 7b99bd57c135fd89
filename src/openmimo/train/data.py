"""Training batches: conversations with a shared stem, packed as one stem and several branches a row.

Everything is drawn from (seed, step), so a resumed run sees the very batches it would have seen.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from openmimo.chat import ChatFormat, Message
from openmimo.model.attention import Layout
from openmimo.model.mtp import shift_left

__all__ = ["Branch", "PackedBatch", "Tree", "TreeSource", "encode_reply", "pack", "plant"]


@dataclass(frozen=True)
class Branch:
    """One continuation of a stem.

    Attributes:
        ids: its tokens.
        weights: loss weight of each token as a target; 0 for what only gives context.
    """

    ids: list[int]
    weights: list[float]


@dataclass(frozen=True)
class Tree:
    """Tokens shared by several branches, and the branches. Stem tokens carry no loss."""

    stem: list[int]
    branches: list[Branch]


@dataclass(frozen=True)
class PackedBatch:
    """A batch ready for the model.

    Attributes:
        ids_BT: int64 [B, T].
        weights_BT: float32 [B, T], loss weight of the token at each column *as a target*.
        layout: where each token stands.
    """

    ids_BT: Tensor
    weights_BT: Tensor
    layout: Layout

    @property
    def num_tokens(self) -> int:
        """Real tokens, padding not counted."""
        return int((self.layout.documents_BT >= 0).sum())

    def to(self, device: torch.device) -> "PackedBatch":
        """The same batch on another device."""
        return PackedBatch(self.ids_BT.to(device), self.weights_BT.to(device), self.layout.to(device))

    def targets(self, distance: int) -> tuple[Tensor, Tensor]:
        """What the state at each column should predict `distance` tokens ahead.

        Args:
            distance: 1 for the trunk, 2 + k for MTP head k.
        Returns:
            int64 [B, T] token ids and float32 [B, T] weights; 0 where the target lies on another branch.
        """
        weights_BT = shift_left(self.weights_BT, distance)
        column = torch.arange(self.ids_BT.shape[1], device=self.ids_BT.device)
        branch = torch.div(column - self.layout.stem_length, max(self.layout.branch_length, 1), rounding_mode="floor")
        is_same = branch == shift_left(branch[None], distance, fill=-2)[0]
        return shift_left(self.ids_BT, distance), weights_BT * is_same


def pack(trees: Sequence[Tree], pad_id: int, multiple: int = 8) -> PackedBatch:
    """Lay one tree in each row, all with the same number of branches.

    Args:
        trees: B trees of R branches each.
        pad_id: token that fills the gaps.
        multiple: stems and branches are padded to a multiple of this, so that few shapes occur.
    Returns:
        the batch; stems are padded at their start, branches at their end.
    """
    stem = _round_up(max(len(tree.stem) for tree in trees), multiple)
    length = _round_up(max(len(branch.ids) for tree in trees for branch in tree.branches), multiple)
    num_branches = len(trees[0].branches)
    shape = (len(trees), stem + num_branches * length)
    ids, positions = np.full(shape, pad_id, np.int64), np.zeros(shape, np.int64)
    documents, weights = np.full(shape, -1, np.int64), np.zeros(shape, np.float32)
    for row, tree in enumerate(trees):
        own = len(tree.stem)
        ids[row, stem - own : stem] = tree.stem
        positions[row, stem - own : stem] = range(own)
        documents[row, stem - own : stem] = 0
        for number, branch in enumerate(tree.branches):
            start, size = stem + number * length, len(branch.ids)
            ids[row, start : start + size] = branch.ids
            positions[row, start : start + size] = range(own, own + size)
            documents[row, start : start + size] = 0
            weights[row, start : start + size] = branch.weights
    layout = Layout(torch.from_numpy(positions), torch.from_numpy(documents), num_branches, length)
    return PackedBatch(torch.from_numpy(ids), torch.from_numpy(weights), layout)


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def encode_reply(
    chat: ChatFormat, messages: Sequence[Message], tools: Sequence[dict], context_weight: float
) -> tuple[list[int], list[float]]:
    """Tokens of a conversation with their loss weights.

    Args:
        chat: the checkpoint's format.
        messages: the whole conversation; every assistant message after the last user message is a target.
        tools: offered tools.
        context_weight: weight of everything that is not a target.
    Returns:
        token ids and one weight each: 1 for what the model must say (its end-of-turn token included).
    Source: SFT loss masks on prompts and tool results.
    """
    first = max(i for i, message in enumerate(messages) if message.role == "user") + 1
    ids = chat.encode(messages[:first], tools)
    weights = [context_weight] * len(ids)
    for end in range(first + 1, len(messages) + 1):
        is_target = messages[end - 1].role == "assistant"
        longer = chat.encode(messages[:end], tools, add_generation_prompt=not is_target)
        assert longer[: len(ids)] == ids, "a chat template must extend its own prefix"
        weights += [1.0 if is_target else context_weight] * (len(longer) - len(ids))
        ids = longer
    return ids, weights


def plant(conversations: Sequence[tuple[list[int], list[float]]], stem_length: int) -> Tree:
    """One tree from encoded conversations that share their first `stem_length` tokens.

    Args:
        conversations: ids and weights of `encode_reply`.
        stem_length: tokens of the shared system turn.
    Returns:
        the tree.
    """
    stem = conversations[0][0][:stem_length]
    assert all(ids[:stem_length] == stem for ids, _ in conversations), "conversations of a tree share their system turn"
    return Tree(stem, [Branch(ids[stem_length:], weights[stem_length:]) for ids, weights in conversations])


TreeSource = Callable[[int], Sequence[Tree]]
"""Maps a step number to that step's trees."""
