"""What crosses into C++ is checked first: wrong input is a clear ValueError, never a crash."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from native_cases import FLASH, ISAS, ORACLES, SEVEN, Driver, logits, open_backend

from openmimo.checkpoint import Checkpoint
from openmimo.errors import CheckpointError, ConfigError
from openmimo.native import NativeBackend


@pytest.fixture(scope="module")
def backend():
    return open_backend(FLASH)


def int32(*values):
    return np.array(values, np.int32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"token_ids_T": int32(1, 2, 320)}, r"token_ids_T\[2\] = 320 must be from 0 to 319"),
        ({"token_ids_T": int32(1, -2, 3)}, r"token_ids_T\[1\] = -2"),
        ({"token_ids_T": np.array([1, 2, 3])}, "token_ids_T is int64 with 1 axes, it must be int32"),
        ({"token_ids_T": int32()}, "at least one token"),
        ({"starts_N1": int32(0, 2)}, "starts_N1 must run from 0 to T"),
        ({"starts_N1": int32(0, 0, 3)}, "same number of sequences"),
        ({"first_N": int32(-1)}, "covers positions -1 to 1"),
        ({"first_N": int32(2**31 - 2)}, "the model has 0 to 262143"),
        ({"slots_N": int32(4)}, r"slots_N\[0\] = 4 must be from 0 to 3"),
        ({"pages_NP": int32(-1)[None]}, r"pages_NP\[0\] = -1 must be from 0 to 31"),
        ({"pages_NP": int32(32)[None]}, r"pages_NP\[0\] = 32"),
        ({"first_N": int32(64), "pages_NP": int32(0)[None]}, "needs 2 pages, pages_NP has 1"),
        ({"wanted_B": int32(3)}, r"wanted_B\[0\] = 3 must be from 0 to 2"),
        ({"wanted_B": int32(1, 1)}, "wanted_B must be strictly rising"),
    ],
)
def test_bad_batch_is_refused(backend, change, message):
    batch = Driver(backend).batch({0: [1, 2, 3]})
    with pytest.raises(ValueError, match=message):
        backend.forward(dataclasses.replace(batch, **change))


def test_two_sequences_cannot_share_a_slot(backend):
    batch = Driver(backend).batch({0: [1], 1: [2]})
    with pytest.raises(ValueError, match="shares slot 0"):
        backend.forward(dataclasses.replace(batch, slots_N=int32(0, 0)))


def test_bad_commits_are_refused(backend):
    backend.forward(Driver(backend).batch({0: [1, 2, 3]}))
    with pytest.raises(ValueError, match="from 0 to 3"):
        backend.commit(int32(4))
    with pytest.raises(ValueError, match="2 entries, the last forward had 1"):
        backend.commit(int32(1, 1))
    backend.commit(int32(3))
    with pytest.raises(ValueError, match="had 0"):
        backend.commit(int32(3))


def test_drafts_that_were_not_prepared_are_refused(backend):
    driver = Driver(backend)
    with pytest.raises(ValueError, match="num_heads=4 must be from 0 to 3"):
        backend.start(320, 4)
    with pytest.raises(ValueError, match="num_ids=321 must be from 1 to 320"):
        backend.start(321, 2)
    backend.start(320, 2)
    with pytest.raises(ValueError, match="sequence 0 is at position 0, its slot has 0 tokens"):
        backend.draft(driver.batch({0: [1]}, first={0: 0}), int32(1))
    driver.feed({0: [1, 2, 3]})
    with pytest.raises(ValueError, match="sequence 0 is at position 2, its slot has 3 tokens"):
        backend.draft(driver.batch({0: [4]}, first={0: 2}), int32(1))
    with pytest.raises(ValueError, match="one token of each sequence"):
        backend.draft(driver.batch({0: [4, 5]}, first={0: 3}), int32(1))
    with pytest.raises(ValueError, match="sequence 0: 3 drafts must be from 0 to 2"):
        backend.draft(driver.batch({0: [4]}, first={0: 3}), int32(3))
    with pytest.raises(ValueError, match="counts_N must have one entry"):
        backend.draft(driver.batch({0: [4]}, first={0: 3}), int32(1, 1))
    assert backend.draft(driver.batch({0: [4]}, first={0: 3}), int32(2)).shape == (1, 2)


def test_bad_drafts_are_refused(backend):
    driver = Driver(backend)
    hidden = driver.feed({0: [1, 2, 3]})[0][1]
    batch = driver.batch({0: [2, 3]}, first={0: 0})
    with pytest.raises(ValueError, match="head 3 does not exist: the model has 3"):
        backend.head_logits(3, batch, hidden[:2], int32(2))
    with pytest.raises(ValueError, match=r"hidden_TC is float32 \[3, 64\]"):
        backend.head_logits(0, batch, hidden, int32(2))
    with pytest.raises(ValueError, match=r"keep_N\[0\] = 3"):
        backend.head_logits(0, batch, hidden[:2], int32(3))


def test_bad_settings_are_refused(monkeypatch):
    checkpoint = Checkpoint.open(ORACLES / FLASH)
    for arguments, message in (
        (("f16", 1, 1, 1), "weights='f16' must be one of f32, bf16, q8"),
        (("f32", 0, 1, 1), "threads=0"),
        (("f32", 1, 0, 1), "num_slots=0"),
        (("f32", 1, 1, 0), "num_pages=0"),
    ):
        with pytest.raises(ConfigError, match=message):
            NativeBackend(checkpoint, *arguments)
    monkeypatch.setenv("OPENMIMO_ISA", "sse9")
    with pytest.raises(ConfigError, match="'sse9' is not available"):
        NativeBackend(checkpoint, "f32", 1, 1, 1)


def test_a_tensor_of_the_wrong_shape_names_itself(monkeypatch):
    checkpoint = Checkpoint.open(ORACLES / FLASH)
    stored = checkpoint.stored
    monkeypatch.setattr(
        checkpoint, "stored", lambda name: stored(name)[:7] if name.endswith("o_proj.weight") else stored(name)
    )
    with pytest.raises(CheckpointError, match=r"o_proj.weight has shape \[7, 64\], the config asks for \[64, 64\]"):
        NativeBackend(checkpoint, "f32", 1, 1, 1)


def test_window_memory_does_not_grow_with_pages():
    def cache_bytes(pages: int) -> int:
        return NativeBackend(Checkpoint.open(ORACLES / FLASH), "f32", 1, 1, pages).cache_bytes

    # Two global layers with one key-value head: 64 positions x (24 + 16) float32 each.
    assert cache_bytes(101) - cache_bytes(1) == 100 * 2 * 64 * (24 + 16) * 4


@pytest.mark.parametrize("name", [FLASH, SEVEN])
def test_engine_works_without_torch(name):
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from openmimo.checkpoint import Checkpoint\nfrom openmimo.native import NativeBackend\n"
        f"print(NativeBackend(Checkpoint.open({str(ORACLES / name)!r}), 'q8', 2, 1, 1).instruction_set)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ISAS


def log_softmax(x):
    x = x.astype(np.float64) - x.max(axis=1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("name", [FLASH, SEVEN])
@pytest.mark.parametrize(
    ("weights", "agreement", "divergence"), [("bf16", 0.98, 1e-4), ("q8", 0.9, 1e-2), ("q4", 0.5, 0.2)]
)
def test_smaller_weights_stay_close_to_float32(name, weights, agreement, divergence, capsys):
    # Random weights have near-ties that a trained model does not; observed on these: see the printed figures.
    tokens = np.random.default_rng(3).integers(0, 320, 300).tolist()
    exact, rounded = (log_softmax(logits(open_backend(name, w), tokens)) for w in ("f32", weights))
    kl = (np.exp(exact) * (exact - rounded)).sum(axis=1).mean()
    same = (exact.argmax(axis=1) == rounded.argmax(axis=1)).mean()
    with capsys.disabled():
        print(f"\n{name} {weights}: top-1 agreement {same:.3f}, KL {kl:.2e} nats", end="")
    assert same >= agreement
    assert kl <= divergence
