import json
import math
from pathlib import Path

import pytest

from openmimo.config import count_parameters, flops_per_token, kv_bytes, layer_kv_bytes, parse_config, read_config
from openmimo.errors import CheckpointError, ConfigError
from openmimo.names import tensor_shapes

PUBLISHED = Path(__file__).parent.parent / "oracles" / "published"
FLASH = json.loads((PUBLISHED / "mimo_v2_flash.json").read_text())
SEVEN = json.loads((PUBLISHED / "mimo_7b.json").read_text())
PRO_GLOBAL = (0, 7, 15, 23, 31, 39, 47, 55, 62, 69)
PRO = FLASH | {
    "model_type": "mimo_v2",
    "hidden_size": 6144,
    "num_hidden_layers": 70,
    "num_attention_heads": 128,
    "swa_num_attention_heads": 128,
    "num_key_value_heads": 8,
    "n_routed_experts": 384,
    "attention_value_scale": 0.612,
    "hybrid_layer_pattern": [0 if i in PRO_GLOBAL else 1 for i in range(70)],
    "moe_layer_freq": [0] + [1] * 69,
}


# The published figures of V2-Flash, V2.5-Pro and MiMo-7B.


def test_v2_flash_counts_match_the_published_ones():
    count = count_parameters(parse_config(FLASH, num_mtp_layers=3))
    assert count.trunk == 308_778_780_864
    assert count.total == 309_766_601_088
    assert count.mtp == 3 * 329_273_408
    assert count.active == 14_196_021_696
    assert count.active_with_head == 14_820_972_992
    assert count.active_with_both == 15_445_924_288


def test_v2_5_pro_counts_match_the_published_ones():
    count = count_parameters(parse_config(PRO, num_mtp_layers=3))
    assert count.trunk == 1_021_248_126_336
    assert count.total == 1_023_182_841_600
    assert count.active == 40_020_039_168
    assert count.active_with_head == 40_957_466_112
    assert count.active_with_both == 41_894_893_056


def test_mimo_7b_counts_match_the_published_ones():
    count = count_parameters(parse_config(SEVEN))
    assert (count.trunk, count.mtp) == (7_622_619_136, 210_790_400)


@pytest.mark.parametrize("published", [FLASH, PRO, SEVEN], ids=["flash", "pro", "7b"])
def test_counts_agree_with_the_table_of_tensors(published):
    config = parse_config(published, num_mtp_layers=2)
    assert sum(map(math.prod, tensor_shapes(config).values())) == count_parameters(config).total


def test_tied_embeddings_count_once():
    tied, untied = (count_parameters(parse_config(SEVEN | {"tie_word_embeddings": tied})) for tied in (True, False))
    assert untied.total - tied.total == 151_680 * 4096
    assert tied.active_with_both == tied.active_with_head == untied.active_with_head


@pytest.mark.parametrize(
    ("published", "per_token", "constant"),
    [(FLASH, 23_040, 25_559_040), (PRO, 51_200, 39_321_600), (SEVEN, 147_456, 0)],
    ids=["flash", "pro", "7b"],
)
def test_the_cache_grows_by_the_published_bytes(published, per_token, constant):
    config = parse_config(published)
    for tokens in (32_768, 131_072, 262_144):
        assert kv_bytes(config, tokens) == per_token * tokens + constant
        assert kv_bytes(config, tokens, bytes_per_number=4) == 2 * kv_bytes(config, tokens)


def test_three_flash_heads_add_two_megabytes_of_cache():
    assert 3 * layer_kv_bytes(parse_config(FLASH).mtp_layer, 10**6) == 1_966_080


def test_arithmetic_of_one_token_matches_the_published_figures():
    flash, pro = parse_config(FLASH), parse_config(PRO)
    assert flops_per_token(flash, 0) == pytest.approx(29.6e9, rel=2e-3)
    assert flops_per_token(flash, 32_768) == pytest.approx(29.6e9 + 12.3e9, rel=2e-3)
    assert flops_per_token(flash, 262_144) == pytest.approx(29.6e9 + 96.8e9, rel=2e-3)
    assert flops_per_token(pro, 131_072) == pytest.approx(81.9e9 + 108e9, rel=2e-3)


# Reading.


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
        ({"partial_rotary_factor": 1.5}, "at most head_dim"),
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
