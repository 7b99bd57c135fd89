"""Damaged checkpoint folders, hundreds of them: refused in one line, or loaded and able to generate. Never a fault.

`scripts/check_sanitizers` runs this under AddressSanitizer, where reading one byte too many ends the run.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from odd_models import SEVEN, V2, write_checkpoint

import openmimo
from openmimo.errors import OpenMiMoError

MODELS = {"v2": V2, "7b": SEVEN}
VALUES = [0, -1, 3, 17, 2**31 - 1, 2**63, None, True, 0.5, 1e300, float("nan"), "8", [], [8], {}, [1, 1, 1], [[0]]]


@pytest.fixture(scope="module", params=MODELS)
def whole(request, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "model"
    write_checkpoint(folder, MODELS[request.param], seed=0)
    return folder


@pytest.fixture
def folder(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "model"))


def outcome(folder: Path, weights: str = "f32") -> str:
    """Tries to generate; returns "refused" or "generated", anything else fails the test."""
    try:
        with openmimo.load(folder, weights=weights, threads=1, num_slots=2, cache_bytes=2**20) as engine:
            params = openmimo.SamplingParams(temperature=0, max_new_tokens=8, ignore_eos=True)
            engine.generate([1, 2, 3, 4, 5], params)
            return "generated"
    except OpenMiMoError as error:
        message = str(error)
    assert len(message) > 20
    assert "\n" not in message
    return "refused"


def header_length(content: bytes) -> int:
    return 8 + int.from_bytes(content[:8], "little")


def test_the_whole_folder_generates(folder):
    assert outcome(folder) == "generated"


def test_weights_cut_anywhere_are_refused(folder):
    path = folder / "model.safetensors"
    content = path.read_bytes()
    header = header_length(content)
    for length in [0, 4, 8, header // 2, header - 1, header, header + 5, len(content) // 2, len(content) - 1]:
        path.write_bytes(content[:length])
        assert outcome(folder) == "refused", length


@pytest.mark.parametrize("seed", range(30))
def test_changed_header_bytes_are_refused_or_harmless(folder, seed):
    rng = np.random.default_rng(seed)
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    for position in rng.integers(0, header_length(content), rng.integers(1, 4)):
        content[position] = rng.choice([*b'0123456789{}[]",:-. ', rng.integers(0, 256)])
    path.write_bytes(content)
    outcome(folder)


@pytest.mark.parametrize("weights", ["f32", "bf16", "q8"])
@pytest.mark.parametrize("seed", range(4))
def test_changed_numbers_load_or_are_refused(folder, weights, seed):
    # Random bytes hold NaN, infinities and numbers of any size.
    rng = np.random.default_rng(seed)
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    for position in rng.integers(header_length(content), len(content), 1 if seed else 1000):
        content[position] = rng.integers(0, 256)
    path.write_bytes(content)
    outcome(folder, weights)


@pytest.mark.parametrize("weights", ["f32", "bf16", "q8"])
@pytest.mark.parametrize("value", [np.nan, -np.inf, 3e38], ids=str)
def test_one_wild_number_in_any_tensor_ends_in_one_line_or_a_reply(folder, weights, value):
    path = folder / "model.safetensors"
    content = path.read_bytes()
    start = header_length(content)
    entries = json.loads(content[8:start])
    names = sorted(name for name in entries if name != "__metadata__")
    for name in names[:: max(1, len(names) // 6)]:
        at = start + entries[name]["data_offsets"][0]
        path.write_bytes(content[:at] + np.float32(value).tobytes() + content[at + 4 :])
        outcome(folder, weights)


def test_absurd_values_in_the_config_are_refused_or_harmless(folder):
    path = folder / "config.json"
    published = json.loads(path.read_text())
    for key in published:
        for value in VALUES:
            path.write_text(json.dumps(published | {key: value}))
            outcome(folder)
