"""Attention over several spans of 256 positions, windows, number formats of the caches, and their memory."""

from pathlib import Path

import numpy as np
import pytest
import torch
from native_cases import ISAS, Driver
from odd_models import V2, heads, layers, write_checkpoint

from openmimo.batch import PAGE_SIZE
from openmimo.checkpoint import Checkpoint
from openmimo.model.model import load_model
from openmimo.native import NativeBackend

KINDS = ["f32", "bf16", "int8"]
LONG = V2 | {"max_position_embeddings": 1024, "num_nextn_predict_layers": 0, "partial_rotary_factor": 0.334}
PAGES = 1024 // PAGE_SIZE


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    written: dict[str, Path] = {}

    def write(published) -> Checkpoint:
        key = repr(sorted(published.items()))
        if key not in written:
            written[key] = tmp_path_factory.mktemp("attention") / "model"
            write_checkpoint(written[key], published, seed=len(written))
        return Checkpoint.open(written[key])

    return write


def driver(checkpoint: Checkpoint, kv: str | None = None, threads: int = 1) -> Driver:
    return Driver(NativeBackend(checkpoint, "f32", threads, num_slots=4, num_pages=4 * PAGES, kv=kv), PAGES)


def tokens(n: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(0, V2["vocab_size"], n).tolist()


def feed(d: Driver, ids: list[int], cuts: list[int], slot: int = 0) -> np.ndarray:
    """Logits of ids, fed in steps of the given sizes, the last of which goes on."""
    parts, at = [], 0
    while at < len(ids):
        size = cuts[min(len(parts), len(cuts) - 1)]
        parts.append(d.feed({slot: ids[at : at + size]})[slot][0])
        at += size
    return np.concatenate(parts)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kv", KINDS)
def test_a_text_over_three_spans_gives_the_same_bits_however_it_is_cut(folder, kv, isa, monkeypatch):
    monkeypatch.setenv("OPENMIMO_ISA", isa)
    checkpoint, ids = folder(LONG), tokens(600)
    whole = driver(checkpoint, kv).feed({0: ids})[0][0]
    for cuts in ([255, 1, 1, 300], [500, 1, 5, 2, 16, 17], [97]):
        np.testing.assert_array_equal(feed(driver(checkpoint, kv), ids, cuts, slot=1), whole, err_msg=str(cuts))


@pytest.mark.parametrize("kv", KINDS)
def test_spans_shared_among_threads_and_neighbours_give_what_one_thread_gives_alone(folder, kv):
    checkpoint, ids = folder(LONG | layers([0, 1, 0, 0])), tokens(900)
    alone = driver(checkpoint, kv).feed({2: ids})[2][0]
    # Wide enough that spans are shared out: the pool keeps short jobs to the caller.
    shared = driver(checkpoint, kv, threads=3)
    for rows in ({2: ids[:600], 0: ids[:70]}, {0: ids[70:75], 2: ids[600:601], 1: ids[:1]}, {2: ids[601:]}):
        start = shared.length.get(2, 0)
        np.testing.assert_array_equal(shared.feed(rows)[2][0], alone[start : start + len(rows[2])])


@torch.no_grad()
@pytest.mark.parametrize("window", [1, 16, 127, 128, 129, 200])
def test_any_window_equals_the_torch_model_and_keeps_no_trace_of_rejected_rows(folder, window):
    checkpoint, ids = folder(LONG | {"sliding_window": window}), tokens(420, seed=window)
    model = load_model(checkpoint)
    want = model.logits(model(torch.tensor([ids])))[0].numpy()
    whole = driver(checkpoint).feed({0: ids})[0][0]
    np.testing.assert_allclose(whole, want, atol=1e-4, rtol=0)
    d, at = driver(checkpoint), 0
    for size, rejected in [(1, 0), (130, 30), (1, 7), (5, 11), (16, 0), (17, 40), (3, 13), (100, 250)] * 2:
        part = ids[at : at + size]
        got = d.feed({0: part + tokens(rejected, seed=at)}, keep={0: len(part)})[0][0]
        np.testing.assert_array_equal(got[: len(part)], whole[at : at + size])
        at += len(part)
    assert at == len(ids)


@torch.no_grad()
@pytest.mark.parametrize(("query", "key_value"), [(8, 1), (4, 4), (16, 1)])
@pytest.mark.parametrize(("k_dim", "v_dim"), [(48, 32), (192, 128), (20, 12)])
def test_heads_of_any_size_equal_the_torch_model(folder, query, key_value, k_dim, v_dim):
    dims = {"head_dim": k_dim, "v_head_dim": v_dim, "swa_head_dim": k_dim, "swa_v_head_dim": v_dim}
    checkpoint, ids = folder(LONG | heads(query, key_value) | dims), tokens(300)
    model = load_model(checkpoint)
    want = model.logits(model(torch.tensor([ids])))[0].numpy()
    np.testing.assert_allclose(feed(driver(checkpoint), ids, [280, 1, 7]), want, atol=1e-4, rtol=0)


def log_softmax(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64) - x.max(axis=1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def test_int8_keys_and_values_stay_close_to_float32(folder, capsys):
    # Each number of a key or value is off by at most half a step of largest / 127.
    checkpoint, ids = folder(LONG | {"head_dim": 48, "v_head_dim": 32}), tokens(500)
    exact = log_softmax(driver(checkpoint, "f32").feed({0: ids})[0][0])
    for kv, bound in (("bf16", 2e-5), ("int8", 2e-4)):
        rounded = log_softmax(driver(checkpoint, kv).feed({0: ids})[0][0])
        kl = (np.exp(exact) * (exact - rounded)).sum(axis=1).mean()
        with capsys.disabled():
            print(f"\n{kv} caches: KL to float32 {kl:.2e} nats", end="")
        assert 0 < kl < bound


# Keys and values of V2-Flash (4 heads in global layers, 8 in window layers) and V2.5-Pro (8 and 8), few layers.
FLASH_CACHE = layers([0, 1, 1, 0]) | heads(8, 4, 8)
PRO_CACHE = layers([0, 1, 1, 0]) | heads(8, 8, 8)
PUBLISHED = {
    "head_dim": 192, "v_head_dim": 128, "swa_head_dim": 192, "swa_v_head_dim": 128, "sliding_window": 128,
    "hidden_size": 16, "max_position_embeddings": 131072, "num_nextn_predict_layers": 0,
}  # fmt: skip


def expected_bytes(kv_heads: int, positions: int, slots: int, kv: str) -> int:
    """Two global and two window layers. A ring holds the window and the 16 rows of one step."""
    a_position = {"f32": 320 * 4, "bf16": 320 * 2, "int8": 320 + 2 * 2}[kv]
    return 2 * kv_heads * a_position * positions + slots * 2 * 8 * a_position * (128 + 16)


@pytest.mark.parametrize("kv", KINDS)
@pytest.mark.parametrize(("shape", "kv_heads"), [(FLASH_CACHE, 4), (PRO_CACHE, 8)])
@pytest.mark.parametrize("context", [32768, 131072])
def test_cache_bytes_are_the_formula_of_the_published_shapes(folder, shape, kv_heads, context, kv):
    checkpoint = folder(LONG | shape | PUBLISHED)
    got = NativeBackend(checkpoint, "f32", 1, 1, context // PAGE_SIZE, kv).cache_bytes
    assert got == expected_bytes(kv_heads, context, 1, kv)
    if kv == "bf16":
        formula = 2 * kv_heads * 320 * 2 * context + 2 * 8 * 320 * 2 * 128
        assert formula < got < formula * 1.02


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.parametrize("kv", ["bf16", "int8"])
def test_resident_memory_grows_by_the_pages_that_are_used_whatever_is_reserved(folder, kv):
    checkpoint, context = folder(LONG | FLASH_CACHE | PUBLISHED), 32768
    backend = NativeBackend(checkpoint, "f32", 1, num_slots=500, num_pages=100_000, kv=kv)
    d = Driver(backend, pages_each=1)
    batch = d.batch({7: tokens(64)}, wanted=[0])
    backend.forward(batch)
    backend.commit(np.array([64], np.int32))
    before = resident_bytes()
    for page in range(1, context // PAGE_SIZE):  # each page is written as the first one of a new text
        batch.pages_NP[:] = page
        backend.forward(batch)
        backend.commit(np.array([64], np.int32))
    grown = resident_bytes() - before
    want = expected_bytes(4, context, 0, kv)
    assert abs(grown - want) < 0.02 * want
