"""Opening a folder: settings that cannot work, cache pages, cores; and an import that stays light."""

import re
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
        ({"weights": "q5"}, "weights='q5' is not known: use one of none, f32, bf16, q8, q4"),
        ({"kv": "fp8"}, "kv='fp8' is not known: use one of none, f32, bf16, int8"),
        ({"threads": 0}, "threads=0 must be an integer from 1 to 256"),
        ({"threads": 10_000}, "threads=10000 must be an integer from 1 to 256"),
        ({"threads": "2"}, "threads='2' must be an integer"),
        ({"threads": True}, "threads=True must be an integer"),
        ({"num_slots": 0}, "num_slots=0 must be an integer from 1 to 1024"),
        ({"num_slots": 2**31}, "num_slots=2147483648 must be"),
        ({"cache_bytes": 0}, "cache_bytes=0 must be"),
        ({"cache_bytes": 1e9}, "cache_bytes=1000000000.0 must be an integer"),
        ({"window": "self"}, "window='self' is not known: use one of past, inclusive"),
        ({"mtp_trunk_state": "normed"}, "mtp_trunk_state='normed' is not known: use one of pre_norm, post_norm"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_anything_is_read(settings, message):
    with pytest.raises(openmimo.ConfigError, match=re.escape(message)) as caught:
        openmimo.load("no such folder", **settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("mtp", "message"),
    [
        (7, 'mtp=7, but this checkpoint has 2 MTP heads: use "auto" or "off", or a number from 1 to 2'),
        (0, 'mtp=0 must be "auto", "off", or the number of drafts, from 1'),
        ("on", "mtp='on' must be"),
        (True, "mtp=True must be"),
        (1.0, "mtp=1.0 must be"),
    ],
)
def test_drafts_that_the_checkpoint_cannot_make_are_refused_before_it_is_loaded(monkeypatch, mtp, message):
    class Opened:
        config = tiny_config(num_heads=2)

    monkeypatch.setattr(loading.Checkpoint, "open", lambda *_: Opened())
    with pytest.raises(openmimo.ConfigError, match=re.escape(message)):
        openmimo.load("folder", mtp=mtp)


def test_the_default_weights_are_those_that_are_stored():
    assert loading._stored_weights({"BF16": 9}) == "bf16"
    assert loading._stored_weights({"F16": 9}) == "bf16"
    assert loading._stored_weights({"F32": 9, "BF16": 1}) == "f32"
    assert loading._stored_weights({"BF16": 9, "q4": 5, "q8": 2}) == "q4"
    assert loading._stored_weights({"q8": 9, "BF16": 1}) == "q8"
    assert loading._stored_weights({"fp8": 9, "BF16": 8}) == "q8"
    assert loading._stored_weights({"mxfp4": 9, "BF16": 8}) == "q8"


def test_a_missing_folder_is_named():
    with pytest.raises(openmimo.CheckpointError, match="no such folder"):
        openmimo.load("no such folder")


def test_pages_hold_full_contexts_or_what_the_memory_allows():
    config = tiny_config(max_position_embeddings=1000)  # 16 pages of 64; one global layer, 1 head, 4 + 4 numbers
    assert loading.count_pages(config, 16, 2**30, "bf16") == 256
    assert loading.count_pages(config, 16, 100 * 64 * 8 * 2, "bf16") == 100
    assert loading.count_pages(config, 16, 100 * 64 * 8 * 2, "f32") == 50
    assert loading.count_pages(config, 16, 100 * 64 * (8 + 4), "int8") == 100  # a bf16 scale for key and value
    assert loading.count_pages(config, 16, 1, "bf16") == 1
    windowed = replace(config, layers=tuple(replace(layer, window=8) for layer in config.layers))
    assert loading.count_pages(windowed, 16, 1, "bf16") == 256  # nothing to save on


def test_a_global_mtp_layer_needs_memory_too():
    config = tiny_config(num_heads=1)
    config = replace(config, mtp_layer=config.layers[0])
    assert loading.count_pages(config, 99, 100 * 64 * 8 * 2, "bf16") == 50


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
