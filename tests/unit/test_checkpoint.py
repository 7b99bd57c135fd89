import json
import os
import shutil
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

import openmimo.checkpoint
from openmimo.checkpoint import Checkpoint, save_checkpoint
from openmimo.errors import CheckpointError, ConfigError
from openmimo.names import tensor_shapes
from openmimo.tensorfile import TensorFile, write_tensors

ORACLES = Path(__file__).parent.parent / "oracles"
FLASH, SEVEN = ORACLES / "mimo_v2_flash_tiny", ORACLES / "mimo_7b_tiny"


# Files.


def file_bytes(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(shape, begin, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_a_tensor_reads_back_by_hand(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(file_bytes({"x": entry([2], 0, 4, "BF16")}, bytes([0x80, 0x3F, 0x00, 0xC0])))
    x = TensorFile(path).array("x")
    assert x.dtype == ml_dtypes.bfloat16
    assert x.tolist() == [1.0, -2.0]  # 3f80 and c000
    assert not x.flags.writeable


def test_every_dtype_survives_writing_and_reading(tmp_path):
    bits = np.arange(48, dtype=np.uint8)
    dtypes = ["<f4", "<f2", ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, "<i8", "<i4", "i1", "u1"]
    tensors = {f"t{i}": bits.view(dtype).reshape(2, -1) for i, dtype in enumerate(dtypes)}
    tensors |= {"empty": np.zeros((0, 3), np.float32), "scalar": np.array(7, np.int64), "u": bits[:3]}
    write_tensors(tmp_path / "a.safetensors", tensors)
    file = TensorFile(tmp_path / "a.safetensors")
    assert file.entries.keys() == tensors.keys()
    for name, tensor in tensors.items():
        found = file.array(name)
        assert (found.dtype, found.shape, found.tobytes()) == (tensor.dtype, tensor.shape, tensor.tobytes())
        assert found.flags.aligned


def test_the_reference_library_reads_what_is_written_and_the_reverse(tmp_path):
    tensors = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([1, 2, 3], np.uint8)}
    write_tensors(tmp_path / "ours", tensors)
    theirs = safetensors.numpy.load_file(tmp_path / "ours")
    assert all((theirs[name] == tensors[name]).all() for name in tensors)
    safetensors.numpy.save_file(tensors, tmp_path / "theirs")
    ours = TensorFile(tmp_path / "theirs")
    assert all((ours.array(name) == tensors[name]).all() for name in tensors)


def test_misaligned_tensors_are_copied_into_place(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(
        file_bytes({"b": entry([1], 0, 1, "U8"), "x": entry([1], 1, 5)}, b"\1" + np.float32(2.5).tobytes())
    )
    x = TensorFile(path).array("x")
    assert x.flags.aligned
    assert x.tolist() == [2.5]


def test_a_dtype_that_cannot_be_stored_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="dtype complex64: use one of float64"):
        write_tensors(tmp_path / "a", {"x": np.zeros(1, np.complex64)})


X = entry([2], 0, 8)
DAMAGED = {
    "empty file": (b"", "cannot be read"),
    "short": (b"abc", "fewer than the 8"),
    "header length 0": (b"\0" * 16, "claims 0 bytes"),
    "header length 2^63": (b"\0" * 7 + b"\x80" + b"{}" * 8, "claims 9223372036854775808"),
    "header beyond the file": (file_bytes({"x": X})[:20], "claims"),
    "not utf-8": (file_bytes(b'{"\xff": 1}'), "codec can't decode"),
    "not json": (file_bytes(b"{]"), "Expecting"),
    "not an object": (file_bytes(b"[]"), "not a JSON object"),
    "space first": (file_bytes(b" {}"), "not a JSON object"),
    "deep": (file_bytes(b'{"a":' * 100_000), "nested too deeply"),
    "twice": (file_bytes(b'{"x": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}, "x": {}}'), "'x' stands twice"),
    "no fields": (file_bytes({"x": 3}), "has no dtype"),
    "unknown dtype": (file_bytes({"x": entry([1], 0, 8, "F128")}, b"\0" * 8), "not one of F64"),
    "list as dtype": (file_bytes({"x": entry([1], 0, 8, ["F32"])}, b"\0" * 8), "not one of F64"),
    "negative offset": (file_bytes({"x": entry([2], -8, 0)}, b"\0" * 8), "data_offsets"),
    "reversed": (file_bytes({"x": entry([2], 8, 0)}, b"\0" * 8), "needs 8 bytes"),
    "true as a size": (file_bytes({"x": entry([True, 2], 0, 8)}, b"\0" * 8), "has shape"),
    "float as a size": (file_bytes({"x": entry([2.0], 0, 8)}, b"\0" * 8), "has shape"),
    "three offsets": (file_bytes({"x": X | {"data_offsets": [0, 4, 8]}}, b"\0" * 8), "data_offsets"),
    "wrong size": (file_bytes({"x": entry([3], 0, 8)}, b"\0" * 8), "needs 12 bytes"),
    "shape overflow": (file_bytes({"x": entry([2**32, 2**30], 0, 0)}), "needs 18446744073709551616 bytes"),
    "outside": (file_bytes({"x": entry([4], 0, 16)}, b"\0" * 8), "has 8"),
    "overlap": (file_bytes({"x": X, "y": entry([2], 4, 12)}, b"\0" * 12), "begins at byte 4"),
    "same bytes": (file_bytes({"x": X, "y": X}, b"\0" * 8), "begins at byte 0"),
    "hole": (file_bytes({"x": X, "y": entry([1], 12, 16)}, b"\0" * 16), "begins at byte 12"),
    "hole at the start": (file_bytes({"x": entry([1], 4, 8)}, b"\0" * 8), "begins at byte 4"),
    "trailing bytes": (file_bytes({"x": X}, b"\0" * 9), "need 8 bytes of data and it has 9"),
    "metadata": (file_bytes({"__metadata__": {"a": 1}, "x": X}, b"\0" * 8), "must map names to text"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_refused_with_its_name_and_the_reason(tmp_path, name):
    content, words = DAMAGED[name]
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=words) as caught:
        TensorFile(path)
    assert str(path) in str(caught.value)
    assert "copy it again" in str(caught.value)
    if name not in ("twice", "unknown dtype", "space first"):  # these the library takes, against its own format text
        with pytest.raises((safetensors.SafetensorError, OSError, ValueError)):
            safetensors.numpy.load_file(path)


def test_a_file_cut_anywhere_is_refused(tmp_path):
    whole = (SEVEN / "model.safetensors").read_bytes()
    path = tmp_path / "cut.safetensors"
    header = 8 + int.from_bytes(whole[:8], "little")
    for length in [*range(1, header, 97), *range(header, len(whole), 4096), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            TensorFile(path)


SMALL = file_bytes({"x": X, "y": entry([3], 8, 14, "BF16")}, b"\1" * 14)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(SMALL) - 15), st.integers(0, 255))
def test_a_changed_header_byte_is_refused_or_harmless(tmp_path_factory, position, value):
    path = tmp_path_factory.getbasetemp() / "fuzz.safetensors"
    path.write_bytes(SMALL[:position] + bytes([value]) + SMALL[position + 1 :])
    try:
        file = TensorFile(path)
    except CheckpointError:
        return
    assert sum(file.array(name).nbytes for name in file.entries) == 14


# Folders.


@pytest.mark.parametrize(("folder", "heads"), [(FLASH, 3), (SEVEN, 1)], ids=["flash", "7b"])
def test_a_published_folder_opens_whole(folder, heads):
    checkpoint = Checkpoint.open(folder)
    assert checkpoint.config.num_mtp_layers == heads
    assert set(checkpoint.names) == set(tensor_shapes(checkpoint.config))
    for path in folder.glob("model*.safetensors"):
        for name, theirs in safetensors.deserialize(path.read_bytes()):
            expected = float32(theirs["dtype"], theirs["data"]).reshape(theirs["shape"])
            assert checkpoint.load(name).dtype == np.float32
            assert (checkpoint.load(name) == expected).all()
            assert checkpoint.shape(name) == expected.shape


def float32(dtype, data):
    """Bytes as numbers without ml_dtypes: bf16 is the upper half of a float32."""
    return (
        np.frombuffer(data, "<f4") if dtype == "F32" else (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
    )


def test_readings_reach_the_config():
    config = Checkpoint.open(FLASH, window="inclusive", mtp_trunk_state="post_norm").config
    assert (config.layers[1].window, config.mtp_trunk_state) == (7, "post_norm")


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(FLASH, tmp_path / "model")


def refusal(folder):
    with pytest.raises(CheckpointError) as caught:
        Checkpoint.open(folder)
    return str(caught.value)


def edit_index(folder, change):
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    change(index["weight_map"])
    path.write_text(json.dumps(index))


def test_a_missing_shard_is_named(folder):
    (folder / "model_1.safetensors").unlink()
    assert "lacks model_1.safetensors, named by model.safetensors.index.json: copy" in refusal(folder)


def test_an_index_that_disagrees_with_the_files_is_refused(folder):
    edit_index(folder, lambda names: names.update({"lm_head.weight": "model_0.safetensors"}))
    message = refusal(folder)
    assert "disagree about 1 tensors, first lm_head.weight" in message
    assert "index: model_0.safetensors, files: model_2.safetensors" in message


def test_an_index_cannot_reach_outside_the_folder(folder):
    edit_index(folder, lambda names: names.update({"lm_head.weight": "../model_2.safetensors"}))
    assert "files of the same folder" in refusal(folder)


@pytest.mark.parametrize("text", ["", "[]", '{"weight_map": []}', "{}"])
def test_an_unreadable_index_is_refused(folder, text):
    (folder / "model.safetensors.index.json").write_text(text)
    assert "cannot be read as an index" in refusal(folder)


def test_without_an_index_all_model_files_are_taken_together(folder):
    (folder / "model.safetensors.index.json").unlink()
    assert set(Checkpoint.open(folder).names) == set(Checkpoint.open(FLASH).names)
    shutil.copy(folder / "model_1.safetensors", folder / "model_9.safetensors")
    assert "model_1.safetensors both hold" in refusal(folder)


def test_missing_tensors_are_named(folder):
    (folder / "model.safetensors.index.json").unlink()
    (folder / "model_0.safetensors").unlink()
    message = refusal(folder)
    assert "tensor model.embed_tokens.weight is missing" in message
    assert "more)" in message


def test_a_folder_with_a_gap_in_its_mtp_blocks_is_refused(tmp_path):
    source = Checkpoint.open(FLASH)
    tensors = {name: source.stored(name) for name in source.names if not name.startswith("model.mtp.layers.1.")}
    save_checkpoint(tmp_path / "gap", source.config.published, tensors)
    assert "MTP blocks [0, 2] but not [1]" in refusal(tmp_path / "gap")


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (np.zeros((64, 63), np.float32), "has shape [64, 63], config.json asks for [64]"),
        (np.zeros(64, np.int8), "is stored as I8, which must be F32 or F16 or BF16"),
        (np.zeros(64, ml_dtypes.float8_e4m3fn), "is stored as F8_E4M3"),
    ],
)
def test_a_tensor_of_the_wrong_shape_or_dtype_is_named_with_its_file(tmp_path, tensor, words):
    source = Checkpoint.open(SEVEN)
    tensors = {name: source.stored(name) for name in source.names}
    save_checkpoint(tmp_path / "wrong", source.config.published, tensors | {"model.norm.weight": tensor})
    assert f"model.safetensors: model.norm.weight {words}" in refusal(tmp_path / "wrong")


def test_a_folder_is_required(tmp_path):
    assert "not a folder" in refusal(tmp_path / "nowhere")
    assert "no config.json" in refusal(tmp_path)
    shutil.copy(SEVEN / "config.json", tmp_path)
    assert "no *.safetensors file" in refusal(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(ConfigError, match="not supported"):
        Checkpoint.open(tmp_path)


def test_an_unknown_name_is_refused():
    with pytest.raises(CheckpointError, match="holds no tensor nope"):
        Checkpoint.open(SEVEN).stored("nope")


# Writing.


def seven():
    source = Checkpoint.open(SEVEN)
    return source.config.published, {name: source.stored(name) for name in source.names}


def test_a_saved_folder_holds_the_same_model(tmp_path):
    published, tensors = seven()
    save_checkpoint(tmp_path / "new" / "model", published, tensors, {"tokenizer.json": "{}\r\n"})
    saved = Checkpoint.open(tmp_path / "new" / "model")
    assert saved.config == Checkpoint.open(SEVEN).config
    assert all(saved.stored(name).tobytes() == tensor.tobytes() for name, tensor in tensors.items())
    assert (saved.folder / "tokenizer.json").read_bytes() == b"{}\r\n"
    assert sorted(path.name for path in saved.folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["model"]


def test_saving_over_a_sharded_folder_leaves_no_old_weights(folder):
    published, tensors = seven()
    (folder / "notes.txt").write_text("mine")
    save_checkpoint(folder, published, tensors)
    assert Checkpoint.open(folder).config.family == "7b"
    assert sorted(path.name for path in folder.glob("*model*")) == ["model.safetensors"]
    assert (folder / "notes.txt").read_text() == "mine"


def test_saving_over_the_folder_that_the_tensors_are_mapped_from_is_safe(tmp_path):
    shutil.copytree(SEVEN, tmp_path / "model")
    source = Checkpoint.open(tmp_path / "model")
    tensors = {name: source.stored(name) for name in source.names}
    save_checkpoint(tmp_path / "model", source.config.published, tensors)
    assert all((Checkpoint.open(tmp_path / "model").load(n) == Checkpoint.open(SEVEN).load(n)).all() for n in tensors)


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_save_that_fails_leaves_what_was_there(tmp_path, monkeypatch, call):
    published, tensors = seven()
    save_checkpoint(tmp_path / "model", published, tensors)
    before = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        if call == "fsync":
            patch.setattr(os, "fsync", full)
        else:
            patch.setattr(openmimo.checkpoint, "_put_in_place", full)
        for folder in (tmp_path / "model", tmp_path / "fresh"):
            with pytest.raises(OSError, match="No space left"):
                save_checkpoint(folder, published, {name: np.zeros_like(tensor) for name, tensor in tensors.items()})
    assert {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
