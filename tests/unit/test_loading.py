"""Opening a folder: settings that cannot work, cache pages, cores; and an import that stays light."""

import subprocess
import sys
from dataclasses import replace

import pytest
from engine_backend import tiny_config

import openmimo
from openmimo import loading


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": "int3"}, "weights='int3' is not known: use one of bf16, f32, q8"),
        ({"kv": "q8"}, "kv='q8' with weights='bf16'"),
        ({"kv": "f32"}, "kv='f32' with weights='bf16'"),
        ({"threads": 0}, "threads=0 must be at least 1"),
        ({"num_slots": 0}, "num_slots=0"),
        ({"cache_bytes": 0}, "cache_bytes=0"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_anything_is_read(settings, message):
    with pytest.raises(openmimo.ConfigError, match=message):
        openmimo.load("no such folder", **settings)


def test_a_missing_folder_is_named():
    with pytest.raises(openmimo.CheckpointError, match="no such folder"):
        openmimo.load("no such folder")


def test_pages_hold_full_contexts_or_what_the_memory_allows():
    config = tiny_config(max_position_embeddings=1000)  # 16 pages of 64; one global layer, 1 head, 4 + 4 numbers
    assert loading.count_pages(config, 16, 2**30, kv_bytes=2) == 256
    assert loading.count_pages(config, 16, 100 * 64 * 8 * 2, kv_bytes=2) == 100
    assert loading.count_pages(config, 16, 100 * 64 * 8 * 2, kv_bytes=4) == 50
    assert loading.count_pages(config, 16, 1, kv_bytes=2) == 1
    windowed = replace(config, layers=tuple(replace(layer, window=8) for layer in config.layers))
    assert loading.count_pages(windowed, 16, 1, kv_bytes=2) == 256  # nothing to save on


def test_a_global_mtp_layer_needs_memory_too():
    config = tiny_config(num_heads=1)
    config = replace(config, mtp_layer=config.layers[0])
    assert loading.count_pages(config, 99, 100 * 64 * 8 * 2, kv_bytes=2) == 50


def test_cores_respect_the_affinity_siblings_and_quota(monkeypatch, tmp_path):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.setattr(loading, "_siblings", lambda cpu: f"{cpu // 2 * 2}-{cpu // 2 * 2 + 1}")
    monkeypatch.setattr(loading, "_quota", lambda _: 2**31)
    assert loading.available_cores() == 2
    monkeypatch.setattr(loading, "_quota", lambda _: 1)
    assert loading.available_cores() == 1
    monkeypatch.undo()
    quota = tmp_path / "cpu.max"
    assert loading._quota(quota) == 2**31
    for text, cores in (("max 100000", 2**31), ("150000 100000", 2), ("20000 100000", 1)):
        quota.write_text(text)
        assert loading._quota(quota) == cores


def test_importing_the_package_is_light_and_names_are_complete():
    code = "import openmimo, sys; print('numpy' in sys.modules); [getattr(openmimo, n) for n in openmimo.__all__]"
    code += "; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False", "False"]
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        openmimo.nothing  # noqa: B018
