"""Text to token ids and back: byte-level BPE from a checkpoint's tokenizer.json.

Control tokens (turn marks, `<think>`, tool-call tags: every added token of the file) are made from text only where
the caller says so, so that nothing a user types can end a turn.
"""

import codecs
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, trainers

from openmimo.errors import CheckpointError, RequestError

__all__ = ["TokenStream", "Tokenizer", "train_tokenizer"]

# Qwen2's split, except that the number group is filled in below and that only a space joins the word after it: a name
# is then the same tokens after any punctuation, which a small model needs to copy it.
SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)| ?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


class Tokenizer:
    """Encode and decode with one vocabulary.

    Args:
        backend: a byte-level BPE of the `tokenizers` library.
    Attributes:
        vocab_size: highest token id + 1.
        control_ids: text to id of every control token.
    Raises:
        CheckpointError: the vocabulary is not byte-level BPE.
    """

    def __init__(self, backend: tokenizers.Tokenizer):
        published = json.loads(backend.to_str())
        _check_byte_level(published)
        published |= {"truncation": None, "padding": None}
        self._with_control = tokenizers.Tokenizer.from_str(json.dumps(published))
        self._plain = tokenizers.Tokenizer.from_str(json.dumps({**published, "added_tokens": []}))
        self.control_ids: dict[str, int] = {item["content"]: item["id"] for item in published["added_tokens"]}
        self._bytes = _token_bytes(published["model"]["vocab"], self.control_ids)
        self.vocab_size = len(self._bytes)

    @classmethod
    def load(cls, folder: str | Path) -> "Tokenizer":
        """Read `folder/tokenizer.json`.

        Args:
            folder: a checkpoint folder.
        Returns: the tokenizer.
        Raises:
            CheckpointError: the file is missing or not a byte-level BPE.
        """
        path = Path(folder) / "tokenizer.json"
        if not path.is_file():
            raise CheckpointError(f"{folder} has no tokenizer.json: copy it there, or work on token ids")
        try:
            text = path.read_text(encoding="utf-8")
            return cls(tokenizers.Tokenizer.from_str(text))
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from error
        except Exception as error:  # the library raises bare Exception for every malformed file
            raise CheckpointError(f"{path} cannot be read as a tokenizer: {error}") from error

    def encode(self, text: str, allow_control: bool = False) -> list[int]:
        """Turn text into token ids; no begin-of-text token is added.

        Args:
            text: any text.
            allow_control: turn the text of control tokens into those tokens; leave it off for text that a user wrote.
        Returns: the token ids.
        Raises:
            RequestError: the text holds lone surrogates, which no encoding can carry.
        """
        backend = self._with_control if allow_control else self._plain
        try:
            return backend.encode(text, add_special_tokens=False).ids
        except (TypeError, UnicodeError):
            raise RequestError(
                f"text must be valid Unicode without lone surrogates, not {text[:40]!a}", code="invalid_text"
            ) from None

    def decode(self, ids: Iterable[int]) -> str:
        """Turn token ids into text; control tokens stay visible, broken UTF-8 becomes U+FFFD.

        Args:
            ids: token ids below `vocab_size`.
        Returns: the text.
        Raises:
            RequestError: an id is outside the vocabulary.
        """
        return b"".join(map(self.token_bytes, ids)).decode("utf-8", "replace")

    def token_bytes(self, token_id: int) -> bytes:
        """Give the bytes that one token stands for.

        Args:
            token_id: an id below `vocab_size`.
        Returns: its bytes, perhaps only a part of a character.
        Raises:
            RequestError: the id is outside the vocabulary.
        """
        piece = self._bytes[token_id] if 0 <= token_id < self.vocab_size else None
        if piece is None:
            raise RequestError(
                f"token id {token_id} is not in the vocabulary: ids go from 0 to {self.vocab_size - 1}", param="prompt"
            )
        return piece

    def stream(self) -> "TokenStream":
        """Start an incremental decode.

        Returns: a stream whose pieces join to what `decode` gives.
        """
        return TokenStream(self)


class TokenStream:
    """Decode one token at a time, never cutting a character in two.

    Args:
        tokenizer: the vocabulary.
    """

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        """Add a token.

        Args:
            token_id: an id of the vocabulary.
        Returns: the text that is complete now; empty while a character is still missing bytes.
        Raises:
            RequestError: the id is outside the vocabulary.
        """
        return self._decoder.decode(self._tokenizer.token_bytes(token_id))

    def flush(self) -> str:
        """End the stream.

        Returns: U+FFFD if a character was left unfinished, else nothing.
        """
        return self._decoder.decode(b"", final=True)


def train_tokenizer(texts: Iterable[str], vocab_size: int, control_tokens: Sequence[str]) -> tokenizers.Tokenizer:
    """Learn a byte-level BPE in which every number from 0 to 99 (and 00 to 09) is one token.

    Args:
        texts: the corpus.
        vocab_size: tokens in all; a small corpus may give fewer.
        control_tokens: texts of the control tokens; they take the last ids.
    Returns: a tokenizer whose `save` writes tokenizer.json.
    Raises:
        RequestError: vocab_size has no room for 256 bytes, 100 two-digit numbers and the control tokens.
    Source: Qwen2's split pattern with `\\p{N}{1,2}` for its `\\p{N}`.
    """
    num_learned = vocab_size - 100 - len(control_tokens)
    if num_learned < 256:
        raise RequestError(f"vocab_size={vocab_size} is too small: use at least {356 + len(control_tokens)}")
    backend = _byte_level_bpe(r"\p{N}")
    trainer = trainers.BpeTrainer(
        vocab_size=num_learned, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    backend.train_from_iterator(texts, trainer)
    learned = json.loads(backend.to_str())["model"]
    vocab, merges = learned["vocab"], [tuple(pair) for pair in learned["merges"]]
    # Digits were split singly while learning, so two-digit numbers are exactly the merges added here.
    for pair in ((first, second) for first in "0123456789" for second in "0123456789"):
        vocab["".join(pair)] = len(vocab)
        merges.append(pair)
    backend = _byte_level_bpe(r"\p{N}{1,2}", models.BPE(vocab=vocab, merges=merges))
    backend.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in control_tokens])
    return backend


def _byte_level_bpe(numbers: str, model: models.BPE | None = None) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(model or models.BPE())
    split = pre_tokenizers.Split(Regex(SPLIT % numbers), behavior="isolated")
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([split, to_bytes])
    backend.decoder = decoders.ByteLevel()
    return backend


def _check_byte_level(published: dict) -> None:
    model, decoder = published["model"]["type"], (published["decoder"] or {}).get("type")
    if (model, decoder) != ("BPE", "ByteLevel"):
        raise CheckpointError(f"model {model} with decoder {decoder} is not supported: use a byte-level BPE")
    missing = sum(character not in published["model"]["vocab"] for character in _byte_alphabet())
    if missing:
        raise CheckpointError(f"the vocabulary lacks {missing} of the 256 bytes, so it would lose text: add them")


def _token_bytes(vocab: dict[str, int], control_ids: dict[str, int]) -> list[bytes | None]:
    """Bytes of every id; None for an id that no token has."""
    byte_of = {character: byte for byte, character in enumerate(_byte_alphabet())}
    table: list[bytes | None] = [None] * (1 + max([*vocab.values(), *control_ids.values()]))
    for text, token_id in vocab.items():
        table[token_id] = bytes(byte_of[c] for c in text) if all(c in byte_of for c in text) else text.encode()
    for text, token_id in control_ids.items():
        table[token_id] = text.encode()
    return table


def _byte_alphabet() -> list[str]:
    """The printable character that stands for each byte in byte-level BPE files (GPT-2's table)."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]
