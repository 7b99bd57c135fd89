"""Checkpoints with known answers, and a small driver that feeds sequences to a back end."""

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from openmimo import _native
from openmimo.batch import PAGE_SIZE, Batch
from openmimo.checkpoint import Checkpoint
from openmimo.native import NativeBackend

ORACLES = Path(__file__).parent.parent / "oracles"
FLASH, SEVEN = "mimo_v2_flash_tiny", "mimo_7b_tiny"
FP8, FUSED, MXFP4 = "mimo_v2_flash_fp8_tiny", "mimo_v25_fp8_tiny", "mimo_v25_mxfp4_tiny"
SEEING, HEARING = "mimo_vl_tiny", "mimo_v25_omni_tiny"
TABLES = ("portable", "avx2", "avx512", "neon", "dotprod")
ISAS = [name for name in TABLES if _native._testing.has_instruction_set(name)]


class Driver:
    """Keeps first positions, slots and pages of sequences for a back end, as an engine would."""

    def __init__(self, backend: NativeBackend, pages_each: int = 8):
        self.backend = backend
        self.pages_each = pages_each
        self.length: dict[int, int] = {}

    def batch(self, rows: dict[int, list[int]], first: dict[int, int] | None = None, wanted="all") -> Batch:
        """rows: new tokens of each slot. Pages of a slot are scattered so that their order is not their number."""
        slots = list(rows)
        starts = np.cumsum([0] + [len(rows[s]) for s in slots]).astype(np.int32)
        pages = [[(p * self.backend.num_slots + s) for p in range(self.pages_each)] for s in slots]
        rows_wanted = range(int(starts[-1])) if wanted == "all" else wanted
        positions = first if first is not None else {s: self.length.get(s, 0) for s in slots}
        return Batch(
            np.array([t for s in slots for t in rows[s]], np.int32),
            starts,
            np.array([positions[s] for s in slots], np.int32),
            np.array(slots, np.int32),
            np.array(pages, np.int32),
            np.array(list(rows_wanted), np.int32),
        )

    def feed(self, rows: dict[int, list[int]], keep: dict[int, int] | None = None):
        """Forward and commit; returns logits and trunk states of each slot."""
        batch = self.batch(rows)
        result = self.backend.forward(batch, wants_hidden=True)
        kept = {s: len(tokens) for s, tokens in rows.items()} | (keep or {})
        self.backend.commit(np.array([kept[s] for s in rows], np.int32))
        for s in rows:
            self.length[s] = self.length.get(s, 0) + kept[s]
        cuts = [slice(batch.starts_N1[n], batch.starts_N1[n + 1]) for n in range(len(rows))]
        logits_BV, hidden_TC = result.logits_BV.copy(), result.hidden_TC
        return {s: (logits_BV[cut], hidden_TC[cut]) for s, cut in zip(rows, cuts, strict=True)}


def open_backend(name: str, weights: str = "f32", threads: int = 1, slots: int = 4, **reading) -> NativeBackend:
    return NativeBackend(Checkpoint.open(ORACLES / name, **reading), weights, threads, slots, slots * 8)


def logits(backend: NativeBackend, tokens: list[int], slot: int = 0, chunk: int = 10**6) -> np.ndarray:
    driver = Driver(backend)
    parts = [driver.feed({slot: tokens[i : i + chunk]})[slot][0] for i in range(0, len(tokens), chunk)]
    return np.concatenate(parts)


def load_expected(name: str) -> dict[str, np.ndarray]:
    """The oracle's numbers; the README beside them says what each is."""
    return load_file(ORACLES / name / "expected.safetensors")


def long_tokens(n: int, vocab: int = 320, seed: int = 1) -> list[int]:
    return np.random.default_rng(seed).integers(0, vocab, n).tolist()


assert PAGE_SIZE == 64  # the tests below choose lengths around it
