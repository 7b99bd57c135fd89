import json
from pathlib import Path

from openmimo.checkpoint import Checkpoint
from openmimo.show import describe, format_description

ORACLES = Path(__file__).parent.parent / "oracles"


def test_the_description_of_the_flash_fixture():
    description = describe(Checkpoint.open(ORACLES / "mimo_v2_flash_tiny"))
    assert [(g["first"], g["last"], g["attention"], g["feed_forward"]) for g in description["layer_groups"]] == [
        (0, 0, "global", "dense"),
        (1, 4, "window", "experts"),
        (5, 5, "global", "experts"),
        (6, 7, "window", "experts"),
    ]
    assert description["mtp_heads"] == 3
    assert description["weight_bytes"] == 1_755_432  # the fixture index's total_size
    # Two global layers of one head hold 24 + 16 bf16 numbers a token; six window layers hold 8 tokens of two heads.
    assert description["costs"][0]["kv_bytes"] == 2 * 40 * 2 * 32_768 + 6 * 2 * 40 * 2 * 8
    assert description["costs"][0]["mtp_kv_bytes"] == 3 * 2 * 40 * 2 * 8
    assert description["ignored_keys"] == ["auto_map"]
    assert json.loads(json.dumps(description)) == description


def test_the_description_reads_well_in_a_terminal():
    text = format_description(describe(Checkpoint.open(ORACLES / "mimo_7b_tiny")))
    assert text.splitlines()[1:] == [
        "  model         mimo (7b layout)",
        "  hidden, vocab 64, 320",
        "  context       32,768 tokens",
        "  layers        4",
        "                0-3     global, 4/2 heads of 16/16, dense",
        "  MTP heads     1",
        "  parameters    281,088 (226,368 trunk, 54,720 MTP)",
        "                226,368 active for each token",
        "  weights       549 KiB (BF16 549 KiB)",
        "  at 32K        bf16 KV cache 16 MiB + 4 MiB MTP, 0.034 GFLOP a token",
        "  at 128K       bf16 KV cache 64 MiB + 16 MiB MTP, 0.135 GFLOP a token",
        "  at 256K       bf16 KV cache 128 MiB + 32 MiB MTP, 0.269 GFLOP a token",
        "  ignored       auto_map in config.json",
    ]
