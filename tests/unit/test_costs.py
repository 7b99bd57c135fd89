"""Figures of the published models, from their config.json alone; who worked them out is in tests/oracles/published."""

import json
import math
from pathlib import Path

import pytest

from openmimo.checkpoint import Checkpoint
from openmimo.config import parse_config
from openmimo.costs import (
    announced_specs,
    count_media,
    count_parameters,
    flops_per_token,
    kv_bytes,
    layer_kv_bytes,
    weight_bytes,
    weight_bytes_per_token,
)
from openmimo.names import tensor_shapes

ORACLES = Path(__file__).parent.parent / "oracles"
FLASH, V25, PRO, SEVEN = (
    json.loads((ORACLES / "published" / f"{name}.json").read_text())
    for name in ("mimo_v2_flash", "mimo_v2_5", "mimo_v2_5_pro", "mimo_7b")
)
PUBLISHED = pytest.mark.parametrize("published", [FLASH, V25, PRO, SEVEN], ids=["flash", "v2.5", "pro", "7b"])


@pytest.mark.parametrize("published", [FLASH, V25], ids=["flash", "v2.5"])
def test_v2_flash_counts_match_the_published_ones(published):
    count = count_parameters(parse_config(published, num_mtp_layers=3))
    assert count.attention == 4_482_664_896
    assert count.experts == 302_844_489_472
    assert count.tables == 1_249_902_592
    assert count.trunk == 308_778_780_864
    assert count.total == 309_766_601_088
    assert count.mtp_head == 329_273_408
    assert count.active == 14_196_021_696
    assert count.active_with_head == 14_820_972_992
    assert count.active_with_both == 15_445_924_288


def test_v2_5_pro_counts_match_the_published_ones():
    count = count_parameters(parse_config(PRO, num_mtp_layers=3))
    assert count.attention == 18_717_089_280
    assert count.experts == 1_000_353_326_976
    assert count.tables == 1_874_853_888
    assert count.trunk == 1_021_248_126_336
    assert count.total == 1_023_182_841_600
    assert count.active == 40_020_039_168
    assert count.active_with_head == 40_957_466_112
    assert count.active_with_both == 41_894_893_056


def test_mimo_7b_counts_match_the_published_ones():
    count = count_parameters(parse_config(SEVEN))
    assert (count.trunk, count.mtp) == (7_622_619_136, 210_790_400)


def test_the_media_parts_of_v2_5_match_the_published_ones():
    media = count_media(V25)
    assert media == {"vision": 728_594_432, "audio": 261_127_168}
    total = count_parameters(parse_config(V25, num_mtp_layers=3)).total
    assert total + sum(media.values()) == 310_756_322_688
    assert count_media(PRO) == {}
    assert count_media({"vision_config": {"depth": 32}, "audio_config": 7}) == {}


def test_stored_numbers_with_their_scale_grids_match_the_listings():
    counts = {}
    for name, published in (("v2.5", V25), ("pro", PRO)):
        specs = announced_specs(parse_config(published, num_mtp_layers=3))
        counts[name] = sum(math.prod(spec.shape) for spec in specs.values())
    assert counts["v2.5"] + sum(count_media(V25).values()) == 310_775_040_000
    assert counts["pro"] == 1_023_244_718_976


def test_the_stored_shapes_of_v2_5_match_the_listing():
    specs = announced_specs(parse_config(V25, num_mtp_layers=3))
    shape = {name.removeprefix("model."): spec.shape for name, spec in specs.items()}
    assert shape["layers.0.self_attn.qkv_proj.weight"] == (13568, 4096)
    assert shape["layers.0.self_attn.qkv_proj.weight_scale_inv"] == (108, 32)
    assert shape["layers.1.self_attn.qkv_proj.weight"] == (14848, 4096)
    assert shape["mtp.layers.2.self_attn.qkv_proj.weight_scale_inv"] == (116, 32)
    assert shape["layers.1.mlp.experts.255.down_proj.weight_scale_inv"] == (32, 16)
    assert "layers.0.self_attn.q_proj.weight" not in shape
    specs = announced_specs(parse_config(PRO, num_mtp_layers=3))
    assert specs["model.layers.0.self_attn.qkv_proj.weight_scale_inv"].shape == (216, 48)


@pytest.mark.parametrize("name", [path.name for path in sorted(ORACLES.glob("mimo_*"))])
def test_the_folders_hold_what_their_configs_announce(name):
    checkpoint = Checkpoint.open(ORACLES / name)
    specs = announced_specs(checkpoint.config)
    media = {n for n in checkpoint.names if n.split(".")[0] in checkpoint.unused()} - {
        n for n in checkpoint.names if n.startswith(("model.", "lm_head"))
    }
    assert set(checkpoint.names) - media == set(specs)
    for stored, spec in specs.items():
        assert (checkpoint.stored(stored).dtype, checkpoint.stored(stored).shape) == (spec.dtype, spec.shape)


@PUBLISHED
def test_counts_agree_with_the_table_of_tensors(published):
    config = parse_config(published, num_mtp_layers=2)
    assert sum(map(math.prod, tensor_shapes(config).values())) == count_parameters(config).total


def test_tied_embeddings_count_once():
    tied, untied = (count_parameters(parse_config(SEVEN | {"tie_word_embeddings": tied})) for tied in (True, False))
    assert untied.total - tied.total == 151_680 * 4096
    assert tied.active_with_both == tied.active_with_head == untied.active_with_head
    config = parse_config(SEVEN | {"tie_word_embeddings": True})
    assert weight_bytes(parse_config(SEVEN), "bf16") - weight_bytes(config, "bf16") == 151_680 * 4096 * 2
    assert weight_bytes_per_token(config) == weight_bytes_per_token(parse_config(SEVEN))


@pytest.mark.parametrize(
    ("published", "per_token", "constant"),
    [(FLASH, 23_040, 25_559_040), (V25, 23_040, 25_559_040), (PRO, 51_200, 39_321_600), (SEVEN, 147_456, 0)],
    ids=["flash", "v2.5", "pro", "7b"],
)
def test_the_cache_grows_by_the_published_bytes(published, per_token, constant):
    config = parse_config(published)
    for tokens in (32_768, 131_072, 262_144, 1_048_576):
        assert kv_bytes(config, tokens) == per_token * tokens + constant
        assert kv_bytes(config, tokens, "f32") == 2 * kv_bytes(config, tokens)


def test_an_int8_cache_has_two_scales_for_each_position_of_a_head():
    layer = parse_config(FLASH).layers[0]  # 4 heads of 192 + 128
    assert layer_kv_bytes(layer, 10, "int8") == 10 * 4 * (192 + 128 + 2 * 2)


def test_three_flash_heads_add_two_megabytes_of_cache():
    assert 3 * layer_kv_bytes(parse_config(FLASH).mtp_layer, 10**6) == 1_966_080


def test_arithmetic_of_one_token_matches_the_published_figures():
    flash, pro = parse_config(FLASH), parse_config(PRO)
    assert flops_per_token(flash, 0) == pytest.approx(29.6e9, rel=2e-3)
    assert flops_per_token(flash, 32_768) == pytest.approx(29.6e9 + 12.3e9, rel=2e-3)
    assert flops_per_token(flash, 131_072) == pytest.approx(29.6e9 + 48.5e9, rel=2e-3)
    assert flops_per_token(flash, 262_144) == pytest.approx(29.6e9 + 96.8e9, rel=2e-3)
    for tokens, attention in ((32_768, 27.5e9), (131_072, 108e9), (262_144, 215e9)):
        assert flops_per_token(pro, tokens) == pytest.approx(81.9e9 + attention, rel=2e-3)


def test_weight_bytes_of_one_token_match_the_published_figures():
    fp4 = V25 | {"quantization_config": V25["quantization_config"] | {"store_dtype": "mxfp4"}}
    assert weight_bytes_per_token(parse_config(V25)) == pytest.approx(17.2e9, rel=3e-3)
    assert weight_bytes_per_token(parse_config(fp4)) == pytest.approx(12.8e9, rel=3e-3)
    assert weight_bytes_per_token(parse_config(V25), "bf16") == pytest.approx(29.6e9, rel=5e-3)


def test_drafting_blocks_weigh_on_memory_and_not_on_a_plain_token():
    with_heads, without = parse_config(V25, num_mtp_layers=3), parse_config(V25, num_mtp_layers=0)
    assert weight_bytes(with_heads, "bf16") - weight_bytes(without, "bf16") == pytest.approx(
        2 * 3 * 329_273_408, rel=1e-3
    )
    assert weight_bytes_per_token(with_heads) == weight_bytes_per_token(without)


def test_codes_take_their_bits_and_a_bf16_scale_for_32():
    # Every width of V2-Flash is a multiple of 32: 8.5 and 4.5 bits a weight.
    config = parse_config(FLASH, num_mtp_layers=0)
    matrices = sum(math.prod(s) for n, s in tensor_shapes(config).items() if len(s) == 2 and "mlp.gate.w" not in n)
    rest = weight_bytes(config, "f32") - 4 * matrices
    assert weight_bytes(config, "q8") - rest == matrices * 17 // 16
    assert weight_bytes(config, "q4") - rest == matrices * 9 // 16
