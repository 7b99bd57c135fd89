"""Model files that cannot be used end in one line on stderr and exit code 3, and nothing is generated.

| | files | tests |
| --- | --- | --- |
| M1 | cut short | test_a_shard_that_is_cut; test_checkpoint.py: test_a_file_cut_anywhere_is_refused |
| M2 | broken header | test_a_header_that_lies; test_checkpoint.py: DAMAGED, test_a_changed_header_byte |
| M3 | changed data | test_a_changed_byte_of_data_is_refused_or_generates |
| M4 | NaN and infinite weights | test_a_number_that_is_none_is_named_with_its_tensor |
| M5 | impossible config.json | test_a_config_that_cannot_work; every key: test_config.py |
| M6 | tokenizer and template | test_tokenizer.py, test_chat.py |
| M7 | missing, foreign and mixed shards | test_shards_that_do_not_belong_together; test_checkpoint.py |
| M10 | settings | test_loading.py |
"""

import json
import shutil
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from openmimo.checkpoint import Checkpoint, save_checkpoint
from openmimo.cli import main
from openmimo.quantize import quantize_folder

ORACLES = Path(__file__).parent.parent / "oracles"
FLASH, SEVEN, FP8, MXFP4 = (
    ORACLES / name for name in ("mimo_v2_flash_tiny", "mimo_7b_tiny", "mimo_v2_flash_fp8_tiny", "mimo_v25_mxfp4_tiny")
)
GENERATE = ("--ids", "1,2,3", "--max-new-tokens", "100", "--threads", "1")


@pytest.fixture
def refusal(capsys):
    """The one line that loading a folder ends in."""

    def of(folder):
        assert main(["generate", str(folder), *GENERATE]) == 3
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("openmimo: ")
        assert err.count("\n") == 1
        return err

    return of


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(FLASH, tmp_path / "model")


def changed(source: Path, target: Path, name: str, change, config=None) -> Path:
    """A copy of a folder with one stored tensor changed."""
    checkpoint = Checkpoint.open(source)
    tensors = {stored: checkpoint.stored(stored) for stored in checkpoint.names}
    tensors[name] = tensors[name].copy()
    change(tensors[name])
    save_checkpoint(target, {**checkpoint.config.published, **(config or {})}, tensors)
    return target


def test_a_shard_that_is_cut(folder, refusal):
    path = folder / "model_1.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-4096])
    message = refusal(folder)
    assert "model_1.safetensors is not a complete safetensors file: its tensors need" in message
    assert message.endswith("copy it again\n")


def test_a_header_that_lies(folder, refusal):
    path = folder / "model_1.safetensors"
    path.write_bytes((2**63).to_bytes(8, "little") + path.read_bytes()[8:])
    assert "its header claims 9223372036854775808 bytes" in refusal(folder)


@pytest.mark.parametrize("seed", range(12))
def test_a_changed_byte_of_data_is_refused_or_generates(tmp_path, capsys, seed):
    folder = shutil.copytree(FP8, tmp_path / "model")
    data = bytearray((folder / "model.safetensors").read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    rng = np.random.default_rng(seed)
    for position in rng.integers(start, len(data), 80):
        data[position] = rng.integers(256)
    (folder / "model.safetensors").write_bytes(data)
    code = main(["generate", str(folder), *GENERATE])
    out, err = capsys.readouterr()
    # Large numbers may overflow on the way: then the request ends, and says so.
    assert (code, "NaN or infinite" in err) == (3, True) or (code, bool(out)) == (0, True) or code == 1


def put(array, value, count=1):
    array.reshape(-1)[:count] = value


@pytest.mark.parametrize(
    ("source", "name", "value", "count", "words"),
    [
        (FLASH, "model.layers.2.self_attn.o_proj.weight", np.nan, 2, "model.layers.2.self_attn.o_proj.weight holds 2"),
        (FLASH, "model.layers.1.mlp.gate.weight", np.inf, 1, "model.layers.1.mlp.gate.weight holds 1 numbers"),
        (FLASH, "model.mtp.layers.1.eh_proj.weight", -np.inf, 3, "model.mtp.layers.1.eh_proj.weight holds 3 numbers"),
        (FLASH, "model.norm.weight", np.nan, 1, "model.norm.weight holds 1 numbers that are NaN or infinite; copy"),
        (FP8, "model.layers.1.mlp.experts.3.up_proj.weight", np.nan, 1, "experts.3.up_proj.weight holds 1 numbers"),
        # One scale of a block of 88 x 128 codes.
        (FP8, "model.layers.1.mlp.experts.3.up_proj.weight_scale_inv", np.nan, 1, "up_proj.weight holds 11264 numbers"),
        (
            MXFP4,
            "model.layers.1.mlp.experts.0.up_proj.weight_scale",
            255,
            1,
            "experts.0.up_proj.weight holds 32 numbers",
        ),
    ],
)
def test_a_number_that_is_none_is_named_with_its_tensor(tmp_path, refusal, source, name, value, count, words):
    assert words in refusal(changed(source, tmp_path / "nan", name, lambda array: put(array, value, count)))


def test_a_scale_of_codes_that_is_none_is_named(tmp_path, refusal):
    quantize_folder(SEVEN, tmp_path / "q4", "q4")
    name = "model.layers.0.mlp.up_proj.weight"
    folder = changed(tmp_path / "q4", tmp_path / "nan", f"{name}_scale", lambda array: put(array, np.nan))
    assert f"{name} holds 1 numbers that are NaN or infinite" in refusal(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "gpt2"}, "model_type 'gpt2' is not supported"),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers=1000000 must be an integer from 0 to 1024"),
        ({"num_attention_heads": 3}, "3 query heads must be a multiple of 2 key-value heads"),
        ({"hidden_size": 32}, "config.json asks for [320, 32]"),
        ({"num_hidden_layers": 3}, "the files hold layer 3, config.json asks for 3 layers"),
        ({"vocab_size": "320"}, "vocab_size='320' must be an integer"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quant_method='gptq' is not supported"),
        ({"quantization_config": ["fp8"]}, "quant_method=None is not supported"),
        ({"rope_scaling": {"type": "yarn", "factor": 4}}, "it must be null"),
    ],
    ids=str,
)
def test_a_config_that_cannot_work(tmp_path, refusal, change, words):
    folder = shutil.copytree(SEVEN, tmp_path / "model")
    config = json.loads((SEVEN / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    message = refusal(folder)
    assert words in message
    assert str(folder) in message


def test_keys_that_could_carry_code_are_ignored_and_listed(tmp_path, capsys):
    folder = shutil.copytree(SEVEN, tmp_path / "model")
    config = json.loads((SEVEN / "config.json").read_text())
    strange = {"_attn_implementation_internal": "evil/kernel", "auto_map": {"AutoModel": "x.Y"}, "unheard_of": 1}
    (folder / "config.json").write_text(json.dumps(config | strange))
    assert main(["show", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ignored_keys"] == sorted(strange)


def test_shards_that_do_not_belong_together(folder, refusal):
    shutil.copy(SEVEN / "model.safetensors", folder / "model_1.safetensors")
    assert "model.safetensors.index.json and the files disagree about" in refusal(folder)
    (folder / "model_1.safetensors").unlink()
    assert "lacks model_1.safetensors" in refusal(folder)


def test_a_shard_that_the_index_does_not_know(folder, refusal):
    shutil.copy(SEVEN / "model.safetensors", folder / "model-extra.safetensors")
    assert "model-extra.safetensors is not named by model.safetensors.index.json" in refusal(folder)


def test_a_bf16_checkpoint_with_one_weight_that_is_none(tmp_path, refusal):
    name = "model.layers.0.mlp.down_proj.weight"
    folder = changed(SEVEN, tmp_path / "nan", name, lambda array: put(array, ml_dtypes.bfloat16(np.inf)))
    assert f"{name} holds 1 numbers" in refusal(folder)
