import json
import shutil
from pathlib import Path

import pytest

from openmimo.show import describe, format_description

ORACLES = Path(__file__).parent.parent / "oracles"


def test_the_description_of_the_flash_fixture():
    description = describe(ORACLES / "mimo_v2_flash_tiny")
    assert [(g["first"], g["last"], g["attention"], g["feed_forward"]) for g in description["layer_groups"]] == [
        (0, 0, "global", "dense"),
        (1, 4, "window", "experts"),
        (5, 5, "global", "experts"),
        (6, 7, "window", "experts"),
    ]
    assert (description["mtp_heads"], description["mtp_heads_from"]) == (3, "files")
    assert description["stored"]["bytes"] == 1_755_432  # the fixture index's total_size
    # Two global layers of one head hold 24 + 16 bf16 numbers a token; six window layers hold 8 tokens of two heads.
    assert description["costs"][0]["kv_bytes"]["bf16"] == 2 * 40 * 2 * 32_768 + 6 * 2 * 40 * 2 * 8
    assert description["costs"][0]["kv_bytes"]["int8"] == 2 * 44 * 32_768 + 6 * 2 * 44 * 8
    assert description["costs"][0]["mtp_kv_bytes"]["bf16"] == 3 * 2 * 40 * 2 * 8
    assert description["ignored_keys"] == ["auto_map"]
    assert json.loads(json.dumps(description)) == description


def test_formats_are_told_by_the_files_and_what_is_not_text_is_named():
    stored = describe(ORACLES / "mimo_v25_mxfp4_tiny")["stored"]
    assert set(stored["formats"]) == {"fp8", "mxfp4", "BF16", "F32"}
    # Six sparse layers of eight experts: three matrices of 96 x 128 in half a byte, and a scale for 32.
    assert stored["formats"]["mxfp4"] == 6 * 8 * 3 * 96 * 128 * 17 // 32
    omni = describe(ORACLES / "mimo_v25_omni_tiny")
    assert omni["unused"] == {"audio_encoder": 119_136, "speech_embeddings": 5_120, "visual": 128_536}
    assert "  not used      visual, 128,536 numbers" in format_description(omni).splitlines()
    assert describe(ORACLES / "mimo_vl_tiny")["unused"].keys() == {"visual"}


@pytest.fixture
def bare_folder(tmp_path):
    def make(name):
        shutil.copy(ORACLES / "published" / f"{name}.json", tmp_path / "config.json")
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        (
            "mimo_v2_flash",
            (
                "308,778,780,864 309,766,601,088 4,482,664,896 302,844,489,472 1,249,902,592 329,273,408 "
                "14,196,021,696 14,820,972,992 15,445,924,288 2.836 5.649 22.52"
            ),
        ),
        ("mimo_v2_5", "308,778,780,864 309,766,601,088 310,756,322,688 310,775,040,000 728,594,432 261,127,168"),
        (
            "mimo_v2_5_pro",
            (
                "1,021,248,126,336 1,023,182,841,600 18,717,089,280 1,000,353,326,976 1,874,853,888 40,020,039,168 "
                "40,957,466,112 41,894,893,056 1,023,244,718,976 1.599 6.287 12.54 50.04"
            ),
        ),
        ("mimo_7b", "7,622,619,136 210,790,400 4.5 18 36"),
    ],
    ids=lambda value: value if value.startswith("mimo") else "",
)
def test_a_published_config_alone_gives_the_published_figures(bare_folder, name, figures):
    text = format_description(describe(bare_folder(name)))
    words = set(text.replace(":", " ").replace(";", " ").split())
    assert set(figures.split()) - words == set()


def test_a_config_that_does_not_count_its_drafting_blocks_is_shown_with_the_published_three(bare_folder):
    description = describe(bare_folder("mimo_v2_flash"))
    assert (description["mtp_heads"], description["mtp_heads_from"]) == (3, "published models")
    assert "3 of 329,273,408 parameters, as in published models" in format_description(description)
    assert describe(bare_folder("mimo_7b"))["mtp_heads_from"] == "config.json"


def test_the_description_reads_well_in_a_terminal():
    text = format_description(describe(ORACLES / "mimo_7b_tiny"))
    assert text.splitlines()[1:] == [
        "  model         mimo (7b layout)",
        "  hidden, vocab 64, 320",
        "  context       32,768 tokens",
        "  layers        4",
        "                0-3     global, 4/2 heads of 16/16, dense",
        "  MTP heads     1 of 54,720 parameters",
        "  parameters    281,088 = 226,368 trunk + 54,720 MTP",
        "                trunk: 49,664 attention, 135,168 dense, 0 experts",
        "                40,960 embedding and head, 576 norms",
        "  active        185,408 for each token; 205,888 with head",
        "                226,368 with embedding and head",
        "  stored        281,088 numbers, 549 KiB: BF16 549 KiB",
        "  in memory     f32 1.072 MiB, bf16 552 KiB, q8 296.4 KiB, q4 159.9 KiB",
        "  at 32K        KV cache bf16 16 MiB + 4 MiB MTP, int8 9 MiB + 2.25 MiB MTP",
        "                a token: 0.034 GFLOP; GB read: stored 0.0172, f32 0.0176, bf16 0.0172, q8 0.017, q4 0.0169",
        "  at 128K       KV cache bf16 64 MiB + 16 MiB MTP, int8 36 MiB + 9 MiB MTP",
        "                a token: 0.135 GFLOP; GB read: stored 0.0675, f32 0.0679, bf16 0.0675, q8 0.0673, q4 0.0672",
        "  at 256K       KV cache bf16 128 MiB + 32 MiB MTP, int8 72 MiB + 18 MiB MTP",
        "                a token: 0.269 GFLOP; GB read: stored 0.135, f32 0.135, bf16 0.135, q8 0.134, q4 0.134",
        "  at 1M         KV cache bf16 512 MiB + 128 MiB MTP, int8 288 MiB + 72 MiB MTP",
        "                a token: 1.07 GFLOP; GB read: stored 0.537, f32 0.538, bf16 0.537, q8 0.537, q4 0.537",
        "  ignored       auto_map in config.json",
    ]
