import json
import math
from pathlib import Path

import pytest

from openmimo.config import parse_config, read_config
from openmimo.errors import CheckpointError, ConfigError

PUBLISHED = Path(__file__).parent.parent / "oracles" / "published"
FLASH = json.loads((PUBLISHED / "mimo_v2_flash.json").read_text())
SEVEN = json.loads((PUBLISHED / "mimo_7b.json").read_text())


def test_flash_layers_follow_the_published_lists():
    layers = parse_config(FLASH).layers
    assert [i for i, layer in enumerate(layers) if layer.window is None] == [0, 5, 11, 17, 23, 29, 35, 41, 47]
    assert [layer.is_sparse for layer in layers] == [False] + [True] * 47
    assert {layer.rotary_dims for layer in layers} == {64}  # int(192 * 0.334)
    assert (layers[0].rope_theta, layers[0].num_key_value_heads, layers[0].has_sink) == (5e6, 4, False)
    assert (layers[1].rope_theta, layers[1].num_key_value_heads, layers[1].has_sink) == (1e4, 8, True)


@pytest.mark.parametrize(("reading", "past"), [("past", 128), ("inclusive", 127)])
def test_both_readings_of_the_window(reading, past):
    assert parse_config(FLASH, window=reading).layers[1].window == past


def test_the_number_of_mtp_blocks_on_disk_beats_the_config():
    assert parse_config(SEVEN).num_mtp_layers == 1
    assert parse_config(SEVEN, num_mtp_layers=0).num_mtp_layers == 0
    assert parse_config(FLASH).num_mtp_layers == 0  # the published V2 configs do not say


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "llama"}, "'llama' is not supported"),
        ({"num_hidden_layers": 10**6}, "from 0 to 1024"),
        ({"num_hidden_layers": 0}, "must be a list of 0"),
        ({"n_routed_experts": 10**6}, "from 0 to 4096"),
        ({"n_routed_experts": 0}, "from 1 to n_routed_experts=0"),
        ({"num_experts_per_tok": 257}, "from 1 to n_routed_experts=256"),
        ({"n_group": 3}, "must divide"),
        ({"num_attention_heads": 30}, "multiple of 4"),
        ({"num_attention_heads": "64"}, "must be an integer"),
        ({"hidden_size": 4096.0}, "must be an integer"),
        ({"hidden_size": None}, "no 'hidden_size'"),
        ({"hidden_size": 0}, "hidden_size must be at least 1"),
        ({"head_dim": 3, "swa_head_dim": 3}, "must be even"),
        ({"partial_rotary_factor": 1.5}, "from 2 to head_dim"),
        ({"partial_rotary_factor": math.nan}, "ordinary size"),
        ({"rope_theta": 10**400}, "ordinary size"),
        ({"rope_theta": 0}, "above 0"),
        ({"layernorm_epsilon": 0}, "above 0"),
        ({"sliding_window_size": 0}, "sliding_window"),
        ({"hybrid_layer_pattern": [0]}, "list of 48"),
        ({"attention_bias": "no"}, "true or false"),
        ({"eos_token_id": 152_576}, "below vocab_size"),
        ({"eos_token_id": ["x"]}, "integer or a list"),
        ({"scoring_func": "softmax"}, "must be 'sigmoid'"),
        ({"n_shared_experts": 1}, "must be 0"),
        ({"hidden_act": "gelu"}, "must be 'silu'"),
        ({"rope_scaling": {"type": "yarn", "factor": 4}}, "must be null"),
        ({"rope_scaling": {"type": ["default"]}}, "must be null"),
    ],
    ids=str,
)
def test_a_config_that_cannot_work_is_refused(change, words):
    with pytest.raises(ConfigError, match=words):
        parse_config(FLASH | change)


def test_neutral_and_unknown_keys_are_accepted():
    neutral = {"rope_scaling": {"rope_type": "default", "type": "default"}, "n_shared_experts": 0, "unheard_of": [1]}
    assert parse_config(FLASH | neutral) == parse_config(FLASH)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\xff"])
def test_an_unreadable_config_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckpointError, match="cannot be read as JSON"):
        read_config(tmp_path)


def test_a_folder_without_a_config_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(ConfigError, match="must hold an object"):
        read_config(tmp_path)
