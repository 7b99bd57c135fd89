import json
import shutil
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from openmimo.checkpoint import Checkpoint, save_checkpoint
from openmimo.errors import CheckpointError
from openmimo.formats import dequantize, pack_codes, unpack_codes
from openmimo.names import tensor_shapes
from openmimo.quantize import quantize_folder, quantize_q8

ORACLES = Path(__file__).parent.parent / "oracles"


def test_a_group_by_hand():
    # Largest 2.54 gives scale 0.02, which bf16 holds as 164 / 8192 = 0.02001953125; 0.4 is then 19.98 steps.
    weight = np.zeros((1, 34), np.float32)
    weight[0, :3] = [2.54, -0.4, 0.011]
    weight[0, 33] = -127
    quantized = quantize_q8(weight)
    codes, scales = quantized.codes_OI, quantized.scales_OG
    assert codes[0, :3].tolist() == [127, -20, 1]
    assert codes[0, 33] == -127  # the second group has only two weights
    assert scales.tolist() == [[0.02001953125, 1.0]]
    assert dequantize(quantized)[0, [0, 1, 33]].tolist() == pytest.approx([2.54248, -0.400391, -127], rel=1e-5)


@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.integers(1, 70)),
        elements=st.floats(-1e4, 1e4, width=32, allow_subnormal=False).map(lambda x: x if abs(x) > 1e-20 else 0.0),
    )
)
def test_every_weight_is_within_half_its_scale(weight):
    quantized = quantize_q8(weight)
    codes, scales = quantized.codes_OI, quantized.scales_OG
    assert codes.shape == weight.shape
    assert scales.shape == (weight.shape[0], -(-weight.shape[1] // 32))
    assert (scales.astype(ml_dtypes.bfloat16).astype(np.float32) == scales).all()
    bound = np.repeat(scales, 32, axis=1)[:, : weight.shape[1]] / 2
    assert (np.abs(dequantize(quantized) - weight) <= bound * (1 + 1e-5)).all()


def test_quantising_twice_changes_nothing():
    weight = dequantize(quantize_q8(np.random.default_rng(0).normal(size=(8, 96)).astype(np.float32)))
    assert (dequantize(quantize_q8(weight)) == weight).all()


def test_codes_pack_as_unsigned_bytes_little_end_first():
    # -127, 0, 1, 127 are bytes 01, 80, 81, ff; the fifth code -1 (7f) starts a word that is filled with zeros.
    packed = pack_codes(np.array([[-127, 0, 1, 127, -1]], np.int8), 8)
    assert packed.view(np.uint32).tolist() == [[0xFF818001, 0x0000007F]]


@given(hnp.arrays(np.int8, st.tuples(st.integers(1, 3), st.integers(1, 9))))
def test_unpacking_undoes_packing(codes):
    assert (unpack_codes(pack_codes(codes, 8), codes.shape[1], 8) == codes).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(bad):
    with pytest.raises(CheckpointError, match="NaN or infinite"):
        quantize_q8(np.array([[1, bad]], np.float32))


@pytest.mark.parametrize("fixture", ["mimo_v2_flash_tiny", "mimo_7b_tiny"])
def test_a_q8_folder_holds_the_same_model_rounded(tmp_path, fixture):
    source = shutil.copytree(ORACLES / fixture, tmp_path / "source")
    (source / "tokenizer.json").write_text("{}")
    (source / "MODEL_CARD.md").write_text("# Card ü\n")
    quantize_folder(source, tmp_path / "q8")
    before, after = Checkpoint.open(source), Checkpoint.open(tmp_path / "q8")
    assert after.config == before.config
    for name in tensor_shapes(before.config):
        quantized = after.quantized(name)
        is_linear = name.endswith("_proj.weight") or name in ("model.embed_tokens.weight", "lm_head.weight")
        assert (quantized is not None) == is_linear
        if quantized is None:
            assert (after.stored(name) == before.stored(name)).all()
            assert after.stored(name).dtype == before.stored(name).dtype
        else:
            expected = quantize_q8(before.load(name))
            assert (quantized.codes_OI == expected.codes_OI).all()
            assert (quantized.scales_OG == expected.scales_OG).all()
            assert (after.load(name) == dequantize(expected)).all()
    assert (tmp_path / "q8" / "tokenizer.json").read_text() == "{}"
    assert (tmp_path / "q8" / "MODEL_CARD.md").read_text(encoding="utf-8") == "# Card ü\n"
    settings = json.loads((tmp_path / "q8" / "config.json").read_text())["quantization_config"]
    assert (settings["quant_method"], settings["format"]) == ("compressed-tensors", "pack-quantized")


def test_quantising_a_q8_folder_copies_it(tmp_path):
    quantize_folder(ORACLES / "mimo_7b_tiny", tmp_path / "one")
    quantize_folder(tmp_path / "one", tmp_path / "two")
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two")]
    assert files[0] == files[1]


def test_a_tied_embedding_is_stored_once_and_serves_as_head(tmp_path):
    source = Checkpoint.open(ORACLES / "mimo_7b_tiny")
    tensors = {name: source.stored(name) for name in source.names if name != "lm_head.weight"}
    save_checkpoint(tmp_path / "tied", {**source.config.published, "tie_word_embeddings": True}, tensors)
    quantize_folder(tmp_path / "tied", tmp_path / "q8")
    tied = Checkpoint.open(tmp_path / "q8")
    assert not any(name.startswith("lm_head") for name in tied.names)
    assert (tied.load("lm_head.weight") == tied.load("model.embed_tokens.weight")).all()
    assert tied.quantized("lm_head.weight") is not None


def test_a_folder_is_not_quantised_onto_itself(tmp_path):
    source = shutil.copytree(ORACLES / "mimo_7b_tiny", tmp_path / "source")
    with pytest.raises(CheckpointError, match="overwrite its own source"):
        quantize_folder(source, tmp_path / "source" / ".." / "source")


def test_other_packed_formats_are_refused(tmp_path):
    quantize_folder(ORACLES / "mimo_7b_tiny", tmp_path / "q8")
    q8 = Checkpoint.open(tmp_path / "q8")
    tensors = {name: q8.stored(name) for name in q8.names}
    name = "lm_head.weight_packed"
    save_checkpoint(tmp_path / "int4", q8.config.published, {**tensors, name: tensors[name][:, :7]})
    with pytest.raises(CheckpointError, match=r"lm_head.weight_packed has shape \[320, 7\], config.json asks for"):
        Checkpoint.open(tmp_path / "int4")
    save_checkpoint(tmp_path / "shape", q8.config.published, tensors | {"lm_head.weight_shape": np.array([64, 320])})
    with pytest.raises(CheckpointError, match=r"lm_head.weight_shape says \[64, 320\]"):
        Checkpoint.open(tmp_path / "shape")
