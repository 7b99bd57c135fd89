"""New weights in a live engine: the bits of a fresh engine, and weights that cannot be used change nothing."""

import json

import numpy as np
import pytest
from native_cases import FLASH, ORACLES, SEVEN, long_tokens
from odd_models import V2, write_checkpoint

from openmimo.checkpoint import Checkpoint, save_checkpoint
from openmimo.engine import Engine, SamplingParams
from openmimo.engine.request import Request
from openmimo.engine.worker import Worker
from openmimo.errors import CheckpointError, OpenMiMoError
from openmimo.native import NativeBackend

IDS = long_tokens(70, vocab=100)
NORM, ROUTER = "model.norm.weight", "model.layers.1.mlp.gate.weight"


def open_engine(folder, weights="f32", **settings) -> Engine:
    return Engine(NativeBackend(Checkpoint.open(folder), weights, 1, 4, 32), **settings)


def tensors_of(folder) -> dict[str, np.ndarray]:
    backend = NativeBackend(checkpoint := Checkpoint.open(folder), "f32", 1, 1, 1)
    return {name: np.array(checkpoint.load(name)) for name in backend._model.tensor_names()}


def changed(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    random = np.random.default_rng(5)
    return {
        name: values + random.normal(size=values.shape).astype(np.float32) * 0.3 * values.std()
        for name, values in tensors.items()
    }


def scores(engine: Engine) -> list[np.ndarray]:
    return [engine.logits(IDS), *engine.mtp_logits(IDS)]


def equal(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    tied = tmp_path_factory.mktemp("update") / "tied"
    write_checkpoint(tied, V2 | {"tie_word_embeddings": True}, seed=1)
    return {"v2": ORACLES / FLASH, "7b": ORACLES / SEVEN, "tied": tied}


@pytest.mark.parametrize("weights", ["f32", "bf16", "q8", "q4"])
@pytest.mark.parametrize("name", ["v2", "7b", "tied"])
def test_an_updated_engine_computes_what_a_fresh_one_does_bit_for_bit(folders, tmp_path, name, weights):
    new = changed(tensors_of(folders[name]))
    save_checkpoint(tmp_path / "new", json.loads((folders[name] / "config.json").read_text()), new)
    with open_engine(folders[name], weights) as engine, open_engine(tmp_path / "new", weights) as fresh:
        assert not equal(scores(engine), scores(fresh))
        engine.update(new)
        assert equal(scores(engine), scores(fresh))


def bad_tensors(good: dict[str, np.ndarray]):
    yield "missing", {name: values for name, values in good.items() if name != NORM}
    yield "unknown", good | {"model.norm.bias": good[NORM]}
    yield r"is float64 \[\d+\], it must be float32", good | {NORM: good[NORM].astype(np.float64)}
    yield r"it must be float32 \[\d+, \d+\]", good | {ROUTER: good[ROUTER].T}
    for name in (NORM, ROUTER, "lm_head.weight"):  # the last one is packed last
        broken = good[name].copy()
        broken.reshape(-1)[-1] = np.nan
        yield f"{name} holds 1 numbers that are NaN", good | {name: broken}


@pytest.mark.parametrize("weights", ["f32", "q8"])
def test_weights_that_cannot_be_used_change_nothing(folders, weights):
    good = changed(tensors_of(folders["v2"]))
    with open_engine(folders["v2"], weights) as engine:
        before = scores(engine)
        for message, tensors in bad_tensors(good):
            with pytest.raises(CheckpointError, match=message):
                engine.update(tensors)
            assert equal(scores(engine), before)
    with pytest.raises(OpenMiMoError, match="the engine is closed"):
        engine.update(good)


@pytest.mark.parametrize("max_drafts", [0, 2])
def test_running_requests_go_on_from_what_their_caches_hold(folders, max_drafts):
    old = tensors_of(folders["v2"])
    new = changed(old)
    plain, renewed, other = (tokens_around(folders["v2"], max_drafts, tensors) for tensors in (None, old, new))
    assert len(plain) == len(other) == 60
    assert renewed == plain  # the same weights again: as if nothing had happened
    assert other[:10] == plain[:10]
    assert other != plain
    assert other[10:] != tokens_around(folders["v2"], max_drafts, new, num_before=0)[10:]


def tokens_around(folder, max_drafts: int, tensors: dict[str, np.ndarray] | None, num_before: int = 10) -> list[int]:
    """Tokens of a request in whose midst the weights come, on a worker without its thread."""
    worker = Worker(NativeBackend(Checkpoint.open(folder), "f32", 1, 4, 32), 320, frozenset(), max_drafts, True, 256)
    request = Request(IDS[:20], SamplingParams(temperature=0), 60, seed=0)
    worker.take("add", request)
    while request.num_new < num_before:
        worker.step()
    if tensors is not None:
        worker.backend.update(tensors)
    while not worker.scheduler.is_idle:
        worker.step()
    return request.output.token_ids
