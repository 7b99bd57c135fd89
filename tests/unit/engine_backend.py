"""A back end without a model, for tests of the engine: strict about the protocol, and exact about history.

The next token is a function of every token in the sequence, read back from the pages that the engine named. A token
that is missing, stale, committed too often or written to someone else's page gives other tokens or an AssertionError.
"""

import functools
import itertools
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from openmimo.batch import PAGE_SIZE, Batch, StepResult
from openmimo.config import ModelConfig, parse_config

VOCAB = 50
WINDOW = 8
NUM_EXPERTS = 300
_TABLE = np.random.default_rng(7).normal(size=(997, VOCAB)).astype(np.float32)
_MASK = 2**61 - 1


def tiny_config(num_heads: int = 3, max_position_embeddings: int = 1024, has_window: bool = True) -> ModelConfig:
    """A V2 shape with one global layer, and heads that see WINDOW past rows or all."""
    published = {
        "model_type": "mimo_v2_flash", "vocab_size": VOCAB, "hidden_size": 4, "intermediate_size": 8,
        "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 4,
        "hybrid_layer_pattern": [0], "moe_layer_freq": [1], "sliding_window": WINDOW, "layernorm_epsilon": 1e-5,
        "n_routed_experts": NUM_EXPERTS, "num_experts_per_tok": 2, "moe_intermediate_size": 4,
        "max_position_embeddings": max_position_embeddings, "eos_token_id": 2,
    }  # fmt: skip
    config = parse_config(published, num_mtp_layers=num_heads)
    return config if has_window else replace(config, mtp_layer=config.layers[0])


def digest(items) -> int:
    """Hash of a sequence of integers."""
    return functools.reduce(lambda value, item: (value * 1000003 + item + 1) & _MASK, items, 17)


def likely_next(token: int) -> int:
    """What usually follows a token."""
    return (token * 7 + 3) % VOCAB


def trunk_logits(history: list[int]) -> np.ndarray:
    """Logits after a history: three times in four its last token decides."""
    value = digest(history)
    logits = _TABLE[value % 997].copy()
    logits[likely_next(history[-1]) if value % 4 else value // 4 % VOCAB] += 6
    return logits


def trunk_state(history: list[int]) -> list[int]:
    """Four numbers, exact in float32, that stand for the history."""
    value = digest(history)
    return [len(history) - 1, value & 0xFFFF, value >> 16 & 0xFFFF, value >> 32 & 0xFFFF]


def experts(history: list[int]) -> list[int]:
    """Two different experts for the last token of a history."""
    value = digest(history)
    return [value % NUM_EXPERTS, (value + 1 + value // NUM_EXPERTS % (NUM_EXPERTS - 1)) % NUM_EXPERTS]


def head_logits(head: int, rows: list[tuple[int, ...]], has_window: bool = True) -> np.ndarray:
    """Logits of a head after its rows (token, then the trunk state)."""
    rows = rows[-WINDOW - 1 :] if has_window else rows
    value = digest([head, *(item for row in rows for item in row)])
    logits = _TABLE[value % 997].copy()
    logits[likely_next(rows[-1][0])] += 3
    return logits


def greedy(prompt: list[int], count: int, eos: int | None = None) -> list[int]:
    """What greedy decoding must give, without any cache."""
    tokens = list(prompt)
    while len(tokens) < len(prompt) + count and (eos is None or tokens[-1] != eos or len(tokens) == len(prompt)):
        tokens.append(int(trunk_logits(tokens).argmax()))
    return tokens[len(prompt) :]


def propose(tokens: list[int], num: int, has_window: bool = True, num_ids: int = VOCAB) -> list[int]:
    """Drafts behind known tokens, when every head reads committed tokens only."""
    drafts: list[int] = []
    for head in range(num):
        shifted = tokens + drafts
        rows = [(shifted[i + 1 + head], *trunk_state(tokens[: i + 1])) for i in range(len(tokens) - 1)]
        drafts.append(int(head_logits(head, rows, has_window)[:num_ids].argmax()))
    return drafts


def greedy_rounds(prompt: list[int], count: int, num_drafts: int, has_window: bool = True) -> list[tuple[int, ...]]:
    """Rounds of greedy drafting where every head reads committed tokens only, recomputed from the start."""
    tokens, rounds = list(prompt) + greedy(prompt, 1), []
    while len(tokens) < len(prompt) + count:
        num = min(num_drafts, len(prompt) + count - len(tokens) - 1)
        drafts = propose(tokens, num, has_window)
        own = greedy(tokens, num + 1)
        accepted = next((i for i in range(num) if drafts[i] != own[i]), num)
        if num:
            rounds.append((len(tokens), *drafts, accepted))
        tokens += own[: accepted + 1]
    return rounds


class FakeBackend:
    """Implements `Backend`; `fail_at` makes that forward pass (counted from 0) raise."""

    def __init__(self, num_slots=4, num_pages=64, num_heads=3, max_position_embeddings=1024, has_window=True):
        self.config = tiny_config(num_heads, max_position_embeddings, has_window)
        self.has_window = has_window
        self.num_slots = num_slots
        self.num_pages = num_pages
        self.fail_at: int | None = None
        self.nan_after: int | None = None
        self.refuses_weights: Exception | None = None
        self.num_forwards = 0
        self.rows_per_forward: list[int] = []
        self.sequences_per_forward: list[int] = []
        self._page_tokens = np.full((num_pages, PAGE_SIZE), -1)
        self._head_pages = np.full((num_heads, num_pages, PAGE_SIZE), -1)
        self._slots: list[list[int]] = [[] for _ in range(num_slots)]
        self._heads: list[list[list[tuple[int, ...]]]] = [[[] for _ in range(num_slots)] for _ in range(num_heads)]
        self._uncommitted: list[tuple[int, list[int]]] | None = None
        self._num_ids = self._num_drafting = 0

    def start(self, num_ids: int, num_heads: int) -> None:
        assert self.num_forwards == 0
        assert num_ids <= self.config.vocab_size
        assert num_heads <= self.config.num_mtp_layers
        self._num_ids, self._num_drafting = num_ids, num_heads

    def update(self, tensors: Mapping[str, np.ndarray]) -> None:
        if self.refuses_weights is not None:
            raise self.refuses_weights

    def forward(self, batch: Batch, wants_hidden: bool = False, wants_routes: bool = False) -> StepResult:
        self.num_forwards += 1
        if self.fail_at == self.num_forwards - 1:
            raise MemoryError("no memory for this step")
        self._check(batch)
        self.rows_per_forward.append(batch.token_ids_T.size)
        self.sequences_per_forward.append(batch.slots_N.size)
        self._uncommitted, logits, hidden, routes = [], [], [], []
        for n, (slot, first, rows) in enumerate(_sequences(batch)):
            if first == 0:
                self._slots[slot] = []
            assert len(self._slots[slot]) == first, "first_N is not the committed length"
            for position, token in enumerate(rows, first):
                self._page_tokens[batch.pages_NP[n, position // PAGE_SIZE], position % PAGE_SIZE] = token
            history = self._read(self._page_tokens, batch.pages_NP[n], first + len(rows))
            assert history[:first] == self._slots[slot], "a page lost or changed committed tokens"
            for end in range(first + 1, first + len(rows) + 1):
                logits.append(trunk_logits(history[:end]))
                if self.nan_after is not None and end > self.nan_after:
                    logits[-1][:] = np.nan
                hidden.append(trunk_state(history[:end]))
                routes.append([experts(history[:end])] if wants_routes else [])
            self._uncommitted.append((slot, rows))
        logits_BV = np.array(logits)[batch.wanted_B]
        best_B = np.array([self._best(row) for row in logits_BV], np.int32)
        hidden_TC = np.array(hidden, np.float32) if wants_hidden else None
        return StepResult(logits_BV, best_B, hidden_TC, np.array(routes, np.uint16) if wants_routes else None)

    def _best(self, logits_V: np.ndarray) -> int:
        allowed = logits_V[: self._num_ids]
        return int(allowed.argmax()) if np.isfinite(allowed).all() else -1

    def commit(self, keep_N: np.ndarray) -> None:
        assert self._uncommitted is not None, "commit without a forward pass"
        assert keep_N.dtype == np.int32
        assert keep_N.shape == (len(self._uncommitted),)
        for keep, (slot, rows) in zip(keep_N.tolist(), self._uncommitted, strict=True):
            assert 0 <= keep <= len(rows)
            self._slots[slot] += rows[:keep]
        self._uncommitted = None

    def draft(self, batch: Batch, counts_N: np.ndarray) -> np.ndarray:
        """As if every head had just seen all committed tokens."""
        assert self._uncommitted is None, "draft between forward and commit"
        self._check(batch)
        assert counts_N.dtype == np.int32
        drafts_NK = np.full((counts_N.size, self._num_drafting), -7, np.int32)
        for n, (slot, first, [token]) in enumerate(_sequences(batch)):
            assert len(self._slots[slot]) == first, "first_N is not the committed length"
            assert 0 <= counts_N[n] <= self._num_drafting
            tokens = [*self._slots[slot], token]
            drafts = propose(tokens, int(counts_N[n]), self.has_window, self._num_ids)
            drafts_NK[n, : len(drafts)] = drafts
        return drafts_NK

    def head_logits(self, head: int, batch: Batch, hidden_TC: np.ndarray, keep_N: np.ndarray) -> np.ndarray:
        assert self._uncommitted is None, "head_logits between forward and commit"
        self._check(batch)
        assert hidden_TC.shape == (batch.token_ids_T.size, 4)
        assert hidden_TC.dtype == np.float32
        assert keep_N.dtype == np.int32
        assert keep_N.shape == batch.slots_N.shape
        logits, start = [], 0
        for n, (slot, first, tokens) in enumerate(_sequences(batch)):
            committed, kept = self._slots[slot], self._heads[head][slot]
            if first == 0:
                kept.clear()
            assert len(kept) == first, "first_N is not what this head kept"
            pages, rows = batch.pages_NP[n], []
            assert self._read(self._head_pages[head], pages, first) == [row[0] for row in kept]
            states = hidden_TC[start : start + len(tokens)].astype(int).tolist()
            origin = states[0][0] - first  # a head with a window may start late
            assert origin == 0 or (self.has_window and (first == 0 or kept[0][1] == origin))
            for position, (token, state) in enumerate(zip(tokens, states, strict=True), first):
                assert state == trunk_state(committed[: origin + position + 1]), "the trunk state of another position"
                self._head_pages[head, pages[position // PAGE_SIZE], position % PAGE_SIZE] = token
                rows.append((token, *state))
                logits.append(head_logits(head, kept + rows, self.has_window))
            kept += rows[: int(keep_N[n])]
            known = committed[origin + 1 + head :]  # tokens after these are known from the prompt, or were just chosen
            assert all(row[0] == token for row, token in zip(kept, known, strict=False)), "kept a rejected draft"
            start += len(tokens)
        return np.array(logits)[batch.wanted_B]

    def _read(self, pages: np.ndarray, table: np.ndarray, count: int) -> list[int]:
        return [int(pages[table[i // PAGE_SIZE], i % PAGE_SIZE]) for i in range(count)]

    def _check(self, batch: Batch) -> None:
        arrays = (batch.token_ids_T, batch.starts_N1, batch.first_N, batch.slots_N, batch.pages_NP, batch.wanted_B)
        assert all(array.dtype == np.int32 for array in arrays)
        num_rows, num_sequences = batch.token_ids_T.size, batch.slots_N.size
        assert batch.starts_N1[0] == 0
        assert batch.starts_N1[-1] == num_rows
        assert (np.diff(batch.starts_N1) > 0).all()
        assert batch.starts_N1.size == num_sequences + 1 == batch.first_N.size + 1 == batch.pages_NP.shape[0] + 1
        assert len(set(batch.slots_N.tolist())) == num_sequences
        assert (batch.slots_N < self.num_slots).all()
        used = [page for row in batch.pages_NP.tolist() for page in row if page >= 0]
        assert len(set(used)) == len(used), "a page belongs to two sequences"
        assert max(used) < self.num_pages
        ends = batch.first_N + np.diff(batch.starts_N1)
        for row, end in zip(batch.pages_NP, ends, strict=True):
            assert (row[: -(-int(end) // PAGE_SIZE)] >= 0).all(), "a new row has no page"
        assert (np.diff(batch.wanted_B) > 0).all()
        assert (batch.wanted_B < num_rows).all()
        assert ((batch.token_ids_T >= 0) & (batch.token_ids_T < VOCAB)).all()


def _sequences(batch: Batch) -> list[tuple[int, int, list[int]]]:
    bounds = batch.starts_N1.tolist()
    tokens = batch.token_ids_T.tolist()
    rows = [tokens[a:b] for a, b in itertools.pairwise(bounds)]
    return list(zip(batch.slots_N.tolist(), batch.first_N.tolist(), rows, strict=True))
