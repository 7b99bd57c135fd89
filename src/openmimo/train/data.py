"""Training batches: documents in a row with masks between them, or one stem a row with slots of branches.

Everything is drawn from (seed, step), so a resumed run sees the very batches it would have seen.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from openmimo.chat import ChatFormat, Message
from openmimo.model.attention import Layout
from openmimo.model.mtp import shift_left

__all__ = ["Branch", "PackedBatch", "Tree", "encode_reply", "fill_rows", "pack", "pack_documents"]


@dataclass(frozen=True)
class Branch:
    """Tokens with their loss weights: a continuation of a stem, or a document of its own.

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

    @property
    def has_targets(self) -> bool:
        """Whether there is anything to learn."""
        return bool((self.weights_BT > 0).any())

    def to(self, device: torch.device) -> "PackedBatch":
        """The same batch on another device."""
        return PackedBatch(self.ids_BT.to(device), self.weights_BT.to(device), self.layout.to(device))

    def targets(self, distance: int) -> tuple[Tensor, Tensor]:
        """What the state at each column should predict `distance` tokens ahead.

        Args:
            distance: 1 for the trunk, 2 + k for MTP head k.
        Returns:
            int64 [B, T] token ids and float32 [B, T] weights; 0 where the target lies in another document or branch.
        """
        places = (self.layout.documents_BT, self.layout.branches_BT)
        same_document, same_branch = (place == shift_left(place, distance, fill=-2) for place in places)
        is_same = same_document & same_branch
        return shift_left(self.ids_BT, distance), shift_left(self.weights_BT, distance) * is_same


def pack(trees: Sequence[Tree], pad_id: int, multiple: int = 8, slots: tuple[int, int] | None = None) -> PackedBatch:
    """Lay one tree in each row: its stem, then its branches, as many in each slot as fit.

    Args:
        trees: B trees.
        pad_id: token that fills the gaps.
        multiple: stems and slots are padded to a multiple of this.
        slots: number and length of slots, branches that find no room being left out; None makes room for all. On a
            CPU every new shape costs seconds of kernel building, so a training run wants few shapes.
    Returns:
        the batch; stems are padded at their start, slots at their end. Branches are numbered as in their tree, from 1.
    """
    stem = _round_up(max(len(tree.stem) for tree in trees), multiple)
    longest = max(len(branch.ids) for tree in trees for branch in tree.branches)
    limit, length = slots or (None, _round_up(longest, multiple))
    shelves = [_fill_slots([len(branch.ids) for branch in tree.branches], length, limit) for tree in trees]
    num_slots = limit or max(len(shelf) for shelf in shelves)
    shape = (len(trees), stem + num_slots * length)
    ids, positions, branches = np.full(shape, pad_id, np.int64), np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    documents, weights = np.full(shape, -1, np.int64), np.zeros(shape, np.float32)
    for row, (tree, shelf) in enumerate(zip(trees, shelves, strict=True)):
        own = len(tree.stem)
        ids[row, stem - own : stem] = tree.stem
        positions[row, stem - own : stem] = range(own)
        documents[row, stem - own : stem] = 0
        for slot, numbers in enumerate(shelf):
            start = stem + slot * length
            for number in numbers:
                branch = tree.branches[number]
                span = slice(start, start + len(branch.ids))
                ids[row, span], weights[row, span] = branch.ids, branch.weights
                positions[row, span] = range(own, own + len(branch.ids))
                documents[row, span], branches[row, span] = 0, number + 1
                start = span.stop
    places = [torch.from_numpy(array) for array in (positions, documents, branches)]
    layout = Layout(places[0], places[1], places[2], num_slots, length)
    return PackedBatch(torch.from_numpy(ids), torch.from_numpy(weights), layout)


def _fill_slots(lengths: Sequence[int], capacity: int, limit: int | None) -> list[list[int]]:
    """Bin packing, longest first into the first slot with room: lists of branch numbers, at most `limit` lists."""
    slots: list[list[int]] = []
    free: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda n: -lengths[n]):
        slot = next((i for i, room in enumerate(free) if room >= lengths[number]), len(slots))
        if slot == len(slots):
            if slot == limit or lengths[number] > capacity:
                continue
            slots.append([])
            free.append(capacity)
        slots[slot].append(number)
        free[slot] -= lengths[number]
    return slots


def fill_rows(documents: Iterable[Branch], length: int) -> Iterator[list[Branch]]:
    """Cut a stream of documents into rows; one that runs over the end goes on in the next row, as a new document.

    Args:
        documents: in the order in which they are to be read.
        length: tokens of a row.
    Returns:
        rows of documents that fill `length` tokens each; the last may be shorter.
    """
    row: list[Branch] = []
    room = length
    for document in documents:
        rest = document
        while len(rest.ids) >= room:
            yield [*row, Branch(rest.ids[:room], rest.weights[:room])]
            rest = Branch(rest.ids[room:], rest.weights[room:])
            row, room = [], length
        if rest.ids:
            row.append(rest)
            room -= len(rest.ids)
    if row:
        yield row


def pack_documents(rows: Sequence[Sequence[Branch]], length: int, pad_id: int) -> PackedBatch:
    """Lay the documents of each row end to end. They do not see one another, and none predicts the next one's tokens.

    Args:
        rows: B lists of documents of at most `length` tokens together, as `fill_rows` gives them.
        length: T.
        pad_id: token that fills the gaps at the end.
    Returns:
        the batch; documents are numbered from 0 in each row.
    """
    shape = (len(rows), length)
    ids, positions, documents = (
        np.full(shape, pad_id, np.int64),
        np.zeros(shape, np.int64),
        np.full(shape, -1, np.int64),
    )
    weights = np.zeros(shape, np.float32)
    for row, members in enumerate(rows):
        start = 0
        for number, document in enumerate(members):
            span = slice(start, start + len(document.ids))
            ids[row, span], weights[row, span] = document.ids, document.weights
            positions[row, span], documents[row, span] = range(len(document.ids)), number
            start = span.stop
    places = [torch.from_numpy(array) for array in (positions, documents)]
    layout = Layout(places[0], places[1], torch.zeros_like(places[0]))
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
    ids: list[int] = []
    weights: list[float] = []
    for turn in range(first, len(messages)):
        if messages[turn].role == "assistant":
            prompt = chat.encode(messages[:turn], tools)
            ids = chat.encode(messages[: turn + 1], tools, add_generation_prompt=False)
            weights += [context_weight] * (len(prompt) - len(weights))
            weights += [1.0] * (len(ids) - len(weights))
    return ids, weights
