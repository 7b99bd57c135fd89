import json
import os
import shutil
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import openmimo.checkpoint
from openmimo import _native
from openmimo.checkpoint import Checkpoint, save_checkpoint
from openmimo.errors import CheckpointError, ConfigError
from openmimo.formats import pack_codes, packed_config
from openmimo.names import tensor_shapes
from openmimo.quantize import quantize_folder

ORACLES = Path(__file__).parent.parent / "oracles"
FLASH, SEVEN, FUSED, OMNI = (
    ORACLES / name for name in ("mimo_v2_flash_tiny", "mimo_7b_tiny", "mimo_v25_mxfp4_tiny", "mimo_v25_omni_tiny")
)
TABLES = ("model.embed_tokens.weight", "lm_head.weight")


def settings_of(folder):
    return json.loads((folder / "config.json").read_text())["quantization_config"]


@pytest.mark.parametrize("weights", ["q8", "q4"])
@pytest.mark.parametrize("source", [FLASH, SEVEN, FUSED], ids=lambda path: path.name)
def test_a_smaller_folder_holds_the_same_model_rounded(tmp_path, source, weights):
    sizes = quantize_folder(source, tmp_path / "small", weights)
    before, after = Checkpoint.open(source), Checkpoint.open(tmp_path / "small")
    assert after.config == before.config
    assert sizes == {"from_bytes": before.num_bytes(), "to_bytes": after.num_bytes()}
    for name in tensor_shapes(before.config):
        quantized = after.quantized(name)
        assert (quantized is not None) == name.endswith("_proj.weight")
        if quantized is None:
            assert (after.load(name) == before.load(name)).all()
            assert after.float_dtype(name) == before.float_dtype(name)
        else:
            codes, scales = _native.quantize(before.load(name), int(weights[1]))
            assert quantized.bits == int(weights[1])
            assert (quantized.codes_OI == codes).all()
            assert (quantized.scales_OG == scales).all()


def test_other_engines_are_told_what_is_packed(tmp_path):
    quantize_folder(OMNI, tmp_path / "q4", "q4")
    settings = settings_of(tmp_path / "q4")
    assert (settings["quant_method"], settings["format"]) == ("compressed-tensors", "pack-quantized")
    assert settings["config_groups"]["group_0"]["targets"] == ["Linear"]
    assert settings["config_groups"]["group_0"]["weights"]["num_bits"] == 4
    assert settings["ignore"] == [
        "model.embed_tokens",
        "lm_head",
        r"re:audio_encoder\..*",
        r"re:speech_embeddings\..*",
        r"re:visual\..*",
        r"re:.*mlp\.gate$",
    ]
    small = Checkpoint.open(tmp_path / "q4")
    assert small.config.published["attention_projection_layout"] == "split"
    assert "model.layers.0.self_attn.k_proj.weight_packed" in small.names
    assert not any("qkv_proj" in name for name in small.names if name.startswith("model."))
    name = "visual.merger.mlp.0.weight"
    assert (small.stored(name) == Checkpoint.open(OMNI).stored(name)).all()


def test_texts_come_along(tmp_path):
    source = shutil.copytree(SEVEN, tmp_path / "source")
    (source / "tokenizer.json").write_text("{}")
    (source / "MODEL_CARD.md").write_text("# Card ü\n", encoding="utf-8")
    (source / "modeling_mimo.py").write_text("import os")
    quantize_folder(source, tmp_path / "q8")
    found = {path.name for path in (tmp_path / "q8").iterdir()}
    assert found == {"config.json", "model.safetensors", "tokenizer.json", "MODEL_CARD.md"}
    assert (tmp_path / "q8" / "MODEL_CARD.md").read_text(encoding="utf-8") == "# Card ü\n"


def test_codes_of_the_wanted_width_are_kept_bit_for_bit(tmp_path):
    for weights in ("q8", "q4"):
        quantize_folder(SEVEN, tmp_path / f"{weights} one", weights)
        quantize_folder(tmp_path / f"{weights} one", tmp_path / f"{weights} two", weights)
        files = [(tmp_path / f"{weights} {name}" / "model.safetensors").read_bytes() for name in ("one", "two")]
        assert files[0] == files[1]
    quantize_folder(tmp_path / "q8 one", tmp_path / "q4 of q8", "q4")
    assert Checkpoint.open(tmp_path / "q4 of q8").bits("model.layers.0.mlp.up_proj.weight") == 4


def test_the_default_model_is_kept_bit_for_bit(tmp_path):
    default = openmimo.checkpoint.default_model_path()
    quantize_folder(default, tmp_path / "again")
    before, after = Checkpoint.open(default), Checkpoint.open(tmp_path / "again")
    assert after.names == before.names
    assert all((after.stored(name) == before.stored(name)).all() for name in before.names)
    assert settings_of(tmp_path / "again") == settings_of(default)


def test_a_packed_embedding_stays_packed(tmp_path):
    source = Checkpoint.open(SEVEN)
    codes, scales = _native.quantize(source.load(TABLES[0]), 8)
    tensors = {name: source.load(name) for name in source.names if name != TABLES[0]} | {
        f"{TABLES[0]}_packed": pack_codes(codes, 8),
        f"{TABLES[0]}_scale": scales.astype(ml_dtypes.bfloat16),
        f"{TABLES[0]}_shape": np.array(codes.shape, np.int64),
    }
    settings = packed_config(8, [name.removesuffix(".weight") for name in source.names if name != TABLES[0]])
    save_checkpoint(tmp_path / "packed", {**source.config.published, "quantization_config": settings}, tensors)
    quantize_folder(tmp_path / "packed", tmp_path / "q8")
    after = Checkpoint.open(tmp_path / "q8")
    stored = after.quantized(TABLES[0])
    assert stored is not None
    assert (stored.codes_OI == codes).all()
    assert (stored.scales_OG == scales).all()
    assert settings_of(tmp_path / "q8")["config_groups"]["group_0"]["targets"] == ["Linear", "Embedding"]


def test_a_float32_table_becomes_bf16_and_a_norm_stays(tmp_path):
    source = Checkpoint.open(SEVEN)
    save_checkpoint(tmp_path / "f32", source.config.published, {name: source.load(name) for name in source.names})
    quantize_folder(tmp_path / "f32", tmp_path / "q8")
    small = Checkpoint.open(tmp_path / "q8")
    assert {small.float_dtype(name) for name in TABLES} == {np.dtype(ml_dtypes.bfloat16)}
    assert small.float_dtype("model.norm.weight") == np.float32


def test_a_tied_embedding_is_stored_once_and_serves_as_head(tmp_path):
    source = Checkpoint.open(SEVEN)
    tensors = {name: source.stored(name) for name in source.names if name != "lm_head.weight"}
    save_checkpoint(tmp_path / "tied", {**source.config.published, "tie_word_embeddings": True}, tensors)
    quantize_folder(tmp_path / "tied", tmp_path / "q8")
    tied = Checkpoint.open(tmp_path / "q8")
    assert not any(name.startswith("lm_head") for name in tied.names)
    assert (tied.load("lm_head.weight") == tied.load("model.embed_tokens.weight")).all()


def test_a_large_model_is_written_in_several_files_with_an_index(tmp_path):
    quantize_folder(FLASH, tmp_path / "whole", "q4")
    quantize_folder(FLASH, tmp_path / "parts", "q4", shard_bytes=100_000)
    whole, parts = Checkpoint.open(tmp_path / "whole"), Checkpoint.open(tmp_path / "parts")
    shards = sorted(path.name for path in (tmp_path / "parts").glob("*.safetensors"))
    assert len(shards) > 4
    assert shards[0] == f"model-00001-of-{len(shards):05}.safetensors"
    index = json.loads((tmp_path / "parts" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == whole.num_bytes()
    assert all((parts.stored(name) == whole.stored(name)).all() for name in whole.names)
    assert parts.names == whole.names


def test_a_folder_is_not_quantised_onto_itself(tmp_path):
    source = shutil.copytree(SEVEN, tmp_path / "source")
    with pytest.raises(CheckpointError, match="overwrite its own source"):
        quantize_folder(source, tmp_path / "source" / ".." / "source")


@pytest.mark.parametrize("failing", range(0, 60, 7))
def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch, failing):
    calls = iter(range(10**6))
    put = openmimo.checkpoint.TensorWriter.put

    def full(writer, name, tensor):
        if next(calls) == failing:
            raise OSError(28, "No space left on device")
        put(writer, name, tensor)

    monkeypatch.setattr(openmimo.checkpoint.TensorWriter, "put", full)
    with pytest.raises(OSError, match="No space left"):
        quantize_folder(SEVEN, tmp_path / "q8", shard_bytes=50_000)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_failure_at_the_end_leaves_nothing_behind(tmp_path, monkeypatch, call):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((os, "fsync", full) if call == "fsync" else (Path, "rename", full)))
    with pytest.raises(OSError, match="No space left"):
        quantize_folder(SEVEN, tmp_path / "q8")
    assert list(tmp_path.iterdir()) == []


def test_other_packed_formats_are_refused(tmp_path):
    quantize_folder(SEVEN, tmp_path / "q8")
    q8 = Checkpoint.open(tmp_path / "q8")
    tensors = {name: q8.stored(name) for name in q8.names}
    name = "model.layers.0.mlp.up_proj.weight"
    narrow = {**tensors, f"{name}_packed": tensors[f"{name}_packed"][:, :7]}
    save_checkpoint(tmp_path / "int3", q8.config.published, narrow)
    with pytest.raises(CheckpointError, match=r"up_proj.weight_packed has shape \[176, 7\], config.json asks for"):
        Checkpoint.open(tmp_path / "int3")
    save_checkpoint(tmp_path / "shape", q8.config.published, tensors | {f"{name}_shape": np.array([64, 176])})
    with pytest.raises(CheckpointError, match=r"up_proj.weight_shape says \[64, 176\]"):
        Checkpoint.open(tmp_path / "shape")
    published = json.loads(json.dumps(q8.config.published))
    published["quantization_config"]["config_groups"]["group_0"]["weights"]["group_size"] = 128
    save_checkpoint(tmp_path / "wide", published, tensors)
    with pytest.raises(ConfigError, match="groups of 32"):
        Checkpoint.open(tmp_path / "wide")
