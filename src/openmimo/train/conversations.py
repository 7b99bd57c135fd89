"""Conversations of the user's own: a JSONL file read line by line, and batches of it for SFT.

Each line is one JSON object: `{"messages": [...], "tools": [...]}` in the OpenAI form, tools being optional.
"""

import hashlib
import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from openmimo.chat import ChatFormat, Message, message_from_openai
from openmimo.errors import DataError, RequestError
from openmimo.messages import check_tools, json_object
from openmimo.train.data import Branch, PackedBatch, encode_reply, pack_documents

__all__ = ["Conversations", "DocumentSource", "encode_conversation", "read_conversations"]

MAX_LINE_BYTES = 8 * 2**20


@dataclass(frozen=True)
class Conversations:
    """What a file held.

    Attributes:
        documents: conversations as tokens with loss weights, in order.
        num_lines: conversations that were used.
        skipped: number and reason of each line that was left out.
        digest: SHA-256 of the file.
    """

    documents: list[Branch]
    num_lines: int
    skipped: list[tuple[int, str]]
    digest: str


def read_conversations(
    path: Path, chat: ChatFormat, max_tokens: int, on_bad_line: Literal["stop", "skip"] = "stop"
) -> Conversations:
    """Read a JSONL file of conversations.

    Args:
        path: the file; empty lines are allowed.
        chat: the checkpoint's format.
        max_tokens: longest conversation that can be used.
        on_bad_line: what to do about a line that cannot be used.
    Returns:
        the conversations.
    Raises:
        DataError: the file cannot be read, holds nothing, or changed meanwhile; or a line cannot be used and may not be
            skipped. The message gives the line's number and the reason.
    """
    documents: list[Branch] = []
    skipped: list[tuple[int, str]] = []
    digest, used = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            before = _stamp(file.fileno())
            for number, line in _numbered_lines(file, digest.update):
                try:
                    documents += _read_line(line, chat, max_tokens)
                    used += 1
                except (RequestError, ValueError) as error:
                    if on_bad_line == "stop":
                        raise DataError(f"{path}, line {number}: {error}; mend it, or skip bad lines") from error
                    skipped.append((number, str(error)))
            has_changed = _stamp(file.fileno()) != before
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if has_changed:
        raise DataError(f"{path} changed while it was read: start again when nobody writes to it")
    if not documents:
        first = f"; line {skipped[0][0]}: {skipped[0][1]}" if skipped else ""
        raise DataError(f"{path} holds no conversation that can be used ({len(skipped)} bad lines{first})")
    return Conversations(documents, used, skipped, digest.hexdigest())


def _numbered_lines(file: BinaryIO, note: Callable[[bytes], None]) -> Iterator[tuple[int, bytes]]:
    """Lines that are not empty, from 1; of one that is far too long only the beginning, so that memory stays small."""
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        note(line)
        rest = line
        while not rest.endswith(b"\n") and (rest := file.readline(MAX_LINE_BYTES)):
            note(rest)
        if line.strip():
            yield number, line


def _stamp(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns


def _read_line(line: bytes, chat: ChatFormat, max_tokens: int) -> list[Branch]:
    if len(line) > MAX_LINE_BYTES:
        raise ValueError(f"longer than {MAX_LINE_BYTES:,} bytes")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 (byte {error.start + 1})") from error
    try:
        record = json_object(text)
    except ValueError as error:
        raise ValueError(f"not a JSON object: {error}") from error
    messages, tools = record.get("messages"), record.get("tools") or []
    if not isinstance(messages, list) or not messages:
        raise ValueError('"messages" must be a list of at least one message')
    if not isinstance(tools, list):
        raise ValueError('"tools" must be a list')
    check_tools(tools)
    documents = encode_conversation(chat, [message_from_openai(message) for message in messages], tools)
    longest = max(len(document.ids) for document in documents)
    if longest > max_tokens:
        raise ValueError(f"{longest:,} tokens, of which {max_tokens:,} fit")
    return documents


def encode_conversation(chat: ChatFormat, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> list[Branch]:
    """Tokens of a conversation, with loss on what the assistant says and none on prompts and tool results.

    Args:
        chat: the checkpoint's format.
        messages: the whole conversation.
        tools: offered tools.
    Returns:
        one document; several where the template writes earlier turns in another way than it asks for them, for instance
        without their reasoning: then each of them ends with a reply in full, as the model writes it.
    Raises:
        RequestError: the assistant says nothing, nobody asks it, or the template cannot write the conversation.
    """
    documents: list[Branch] = []
    for end in range(1, len(messages) + 1):
        is_last_reply = end == len(messages) or messages[end].role not in ("assistant", "tool")
        if messages[end - 1].role not in ("assistant", "tool") or not is_last_reply:
            continue
        if not any(message.role == "user" for message in messages[:end]):
            raise RequestError("a reply comes before any user message", param="messages")
        ids, weights = encode_reply(chat, messages[:end], tools, 0.0)
        if not any(weights):
            continue
        if documents and ids[: len(documents[-1].ids)] == documents[-1].ids:
            earlier = documents.pop().weights
            weights = [max(pair) for pair in zip(earlier, weights, strict=False)] + weights[len(earlier) :]
        documents.append(Branch(ids, weights))
    if not documents:
        raise RequestError("no assistant message, so there is nothing to learn", param="messages")
    return documents


class DocumentSource:
    """Batches of a fixed set of documents, laid end to end in rows, in another order each time round.

    Args:
        documents: none longer than `length`.
        seed: of the orders.
        rows: rows of a batch.
        length: tokens of a row.
        pad_id: token that fills the gaps.
    Attributes:
        epoch_steps: batches that go through all documents once.
    """

    def __init__(self, documents: Sequence[Branch], seed: int, rows: int, length: int, pad_id: int):
        self.seed, self.rows, self.length, self.pad_id = seed, rows, length, pad_id
        self._filled = _fill(documents, random.Random(f"{seed}:rows"), length)
        self.epoch_steps = -(-len(self._filled) // rows)

    def __call__(self, step: int) -> PackedBatch:
        """Batch of a step, a function of it and the seed alone."""
        epoch, number = divmod(step, self.epoch_steps)
        order = list(range(len(self._filled)))
        random.Random(f"{self.seed}:{epoch}").shuffle(order)
        chosen = [order[(number * self.rows + row) % len(order)] for row in range(self.rows)]
        return pack_documents([self._filled[i] for i in chosen], self.length, self.pad_id)


def _fill(documents: Sequence[Branch], rng: random.Random, length: int) -> list[list[Branch]]:
    """Whole documents into rows, each into the last row if it fits there."""
    shuffled = list(documents)
    rng.shuffle(shuffled)
    rows: list[list[Branch]] = []
    room = 0
    for document in shuffled:
        if len(document.ids) > room:
            rows.append([])
            room = length
        rows[-1].append(document)
        room -= len(document.ids)
    return rows
