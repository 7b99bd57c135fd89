"""Deterministic random checkpoints in the published layouts, for benchmarks: costs are real, words are not.

Each tensor has its own Philox stream, keyed by the seed and its name, so a value depends on nothing else. `agree=True`
makes the MTP heads right nearly always: every residual branch is scaled down to almost nothing and `eh_proj` passes the
token's half on, so trunk and heads become the same function of the last token. Costs stay the same. Without it a
draft is nearly always wrong.

    python benchmarks/checkpoints.py S M          # writes runs/bench/S and runs/bench/M
    python benchmarks/checkpoints.py S --agree    # writes runs/bench/S-agree
"""

import argparse
import hashlib
import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parents[1] / "runs" / "bench"
SHARD_BYTES = 4 << 30
CHUNK = 1 << 24
"""Numbers drawn at once."""

V2 = {
    "S": {
        "hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 12, "num_attention_heads": 8,
        "num_key_value_heads": 1, "head_dim": 48, "v_head_dim": 32, "n_routed_experts": 16, "num_experts_per_tok": 2,
        "moe_intermediate_size": 128, "vocab_size": 16384, "partial_rotary_factor": 0.334,
    },
    "M": {
        "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
        "num_key_value_heads": 1, "head_dim": 192, "v_head_dim": 128, "n_routed_experts": 64, "num_experts_per_tok": 8,
        "moe_intermediate_size": 256, "vocab_size": 65536, "partial_rotary_factor": 0.334,
    },
}  # fmt: skip
D7 = {
    "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 36, "num_attention_heads": 32,
    "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151680,
}  # fmt: skip
NAMES = (*V2, "D7")

Spec = tuple[str, tuple[int, ...], str]
"""Name, shape and kind of a tensor; the kind says how its values are drawn."""


def config_of(name: str) -> dict[str, Any]:
    """What config.json says, in the published keys of MiMo-V2-Flash (S, M) or MiMo-7B (D7)."""
    shared = {
        "max_position_embeddings": 32768, "hidden_act": "silu", "attention_dropout": 0.0, "initializer_range": 0.02,
        "rms_norm_eps": 1e-5, "tie_word_embeddings": False, "torch_dtype": "bfloat16", "use_cache": True,
    }  # fmt: skip
    if name == "D7":
        return {
            **D7, **shared, "architectures": ["MiMoForCausalLM"], "model_type": "mimo", "attention_bias": True,
            "rope_theta": 640000, "num_nextn_predict_layers": 1, "use_sliding_window": False, "sliding_window": None,
        }  # fmt: skip
    size = V2[name]
    layers = range(size["num_hidden_layers"])
    return {
        **size, **shared, "architectures": ["MiMoV2FlashForCausalLM"], "model_type": "mimo_v2_flash",
        "attention_bias": False, "attention_value_scale": 0.707, "add_full_attention_sink_bias": False,
        "add_swa_attention_sink_bias": True, "attention_chunk_size": 128, "sliding_window": 128,
        "sliding_window_size": 128, "hybrid_block_size": None, "layernorm_epsilon": 1e-5,
        "hybrid_layer_pattern": [int(i > 0 and (i + 1) % 6 > 0) for i in layers],
        "moe_layer_freq": [int(i > 0) for i in layers], "rope_theta": 5000000, "swa_rope_theta": 10000,
        "swa_head_dim": size["head_dim"], "swa_v_head_dim": size["v_head_dim"],
        "swa_num_attention_heads": size["num_attention_heads"], "swa_num_key_value_heads": 2,
        "n_group": 1, "topk_group": 1, "n_shared_experts": None, "norm_topk_prob": True, "routed_scaling_factor": None,
        "scoring_func": "sigmoid", "topk_method": "noaux_tc", "num_nextn_predict_layers": 3,
    }  # fmt: skip


def tensors_of(config: dict[str, Any]) -> Iterator[Spec]:
    """Every tensor of a checkpoint, in file order."""
    hidden, vocab = config["hidden_size"], config["vocab_size"]
    is_v2 = "hybrid_layer_pattern" in config
    yield "model.embed_tokens.weight", (vocab, hidden), "matrix"
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        yield from _norms(prefix, ("input_layernorm", "post_attention_layernorm"), hidden)
        yield from _attention(prefix, config, is_v2 and config["hybrid_layer_pattern"][layer] == 1)
        if is_v2 and config["moe_layer_freq"][layer]:
            yield from _experts(prefix, config)
        else:
            yield from _mlp(prefix, hidden, config["intermediate_size"])
    for head in range(config["num_nextn_predict_layers"]):
        yield from _mtp(head, config, is_v2)
    yield from _norms("model.", ("norm",), hidden)
    yield "lm_head.weight", (vocab, hidden), "matrix"


def _norms(prefix: str, names: tuple[str, ...], hidden: int) -> Iterator[Spec]:
    for name in names:
        yield f"{prefix}{name}.weight", (hidden,), "norm"


def _attention(prefix: str, config: dict[str, Any], is_window: bool) -> Iterator[Spec]:
    hidden, heads, dim = config["hidden_size"], config["num_attention_heads"], config["head_dim"]
    kv_heads = config["swa_num_key_value_heads" if is_window else "num_key_value_heads"]
    v_dim = config.get("v_head_dim", dim)
    for part, outs in (("q", heads * dim), ("k", kv_heads * dim), ("v", kv_heads * v_dim)):
        yield f"{prefix}self_attn.{part}_proj.weight", (outs, hidden), "matrix"
        if config["attention_bias"]:
            yield f"{prefix}self_attn.{part}_proj.bias", (outs,), "bias"
    yield f"{prefix}self_attn.o_proj.weight", (hidden, heads * v_dim), "branch"
    if is_window:
        yield f"{prefix}self_attn.attention_sink_bias", (heads,), "sink"


def _mlp(prefix: str, hidden: int, inner: int, name: str = "mlp") -> Iterator[Spec]:
    yield f"{prefix}{name}.gate_proj.weight", (inner, hidden), "matrix"
    yield f"{prefix}{name}.up_proj.weight", (inner, hidden), "matrix"
    yield f"{prefix}{name}.down_proj.weight", (hidden, inner), "branch"


def _experts(prefix: str, config: dict[str, Any]) -> Iterator[Spec]:
    count, hidden = config["n_routed_experts"], config["hidden_size"]
    yield f"{prefix}mlp.gate.weight", (count, hidden), "matrix"
    yield f"{prefix}mlp.gate.e_score_correction_bias", (count,), "correction"
    for expert in range(count):
        yield from _mlp(prefix, hidden, config["moe_intermediate_size"], f"mlp.experts.{expert}")


def _mtp(head: int, config: dict[str, Any], is_v2: bool) -> Iterator[Spec]:
    hidden = config["hidden_size"]
    prefix = f"model.mtp.layers.{head}." if is_v2 else f"model.mtp_layers.{head}."
    norms = ("enorm", "hnorm", "pre_mlp_layernorm") if is_v2 else ("token_layernorm", "hidden_layernorm",
             "post_attention_layernorm")  # fmt: skip
    yield from _norms(prefix, (*norms, "input_layernorm", "final_layernorm"), hidden)
    yield f"{prefix}{'eh_proj' if is_v2 else 'input_proj'}.weight", (hidden, 2 * hidden), "fuse"
    yield from _attention(prefix, config, is_v2)
    yield from _mlp(prefix, hidden, config["intermediate_size"])


def draw(seed: int, name: str, shape: tuple[int, ...], kind: str, agree: bool) -> Iterator[np.ndarray]:
    """A tensor's values, flat and in pieces: float32 for the routers' corrections, else bf16 as uint16."""
    key = int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:16], "little")
    random, count = np.random.Generator(np.random.Philox(key=key)), math.prod(shape)
    if kind == "fuse" and agree:
        yield to_bf16(np.eye(*shape, dtype=np.float32).ravel())
        return
    offset, deviation = 0.0, 1 / math.sqrt(shape[-1])
    if kind == "norm":
        offset, deviation = 1.0, 0.0 if agree else 0.05
    elif kind == "branch":
        deviation *= 1e-4 if agree else 0.5
    else:
        deviation = {"bias": 0.02, "sink": 0.5, "correction": 0.01}.get(kind, deviation)
    for begin in range(0, count, CHUNK):
        piece = random.standard_normal(min(CHUNK, count - begin), dtype=np.float32)
        piece = np.float32(offset) + np.float32(deviation) * piece
        yield piece if kind == "correction" else to_bf16(piece)


def to_bf16(values: np.ndarray) -> np.ndarray:
    """float32 rounded to nearest even bf16, as its 16 bits."""
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def write(folder: Path, name: str, agree: bool = False, seed: int = 0) -> None:
    """Write one checkpoint; config.json comes last, so a folder that has it is whole.

    Args:
        folder: where to; made if need be.
        name: S, M or D7.
        agree: drafts that are right instead of wrong.
        seed: another seed gives other weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = config_of(name)
    shards: list[list[Spec]] = [[]]
    size = 0
    for spec in tensors_of(config):
        size += _num_bytes(spec)
        if size > SHARD_BYTES:
            shards.append([])
            size = _num_bytes(spec)
        shards[-1].append(spec)
    places: dict[str, str] = {}
    for index, specs in enumerate(shards, 1):
        file = f"model-{index:05d}-of-{len(shards):05d}.safetensors" if len(shards) > 1 else "model.safetensors"
        _write_shard(folder / file, specs, agree, seed)
        places |= {spec[0]: file for spec in specs}
    if len(shards) > 1:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    (folder / "config.json").write_text(json.dumps(config, indent=1))


def _num_bytes(spec: Spec) -> int:
    return math.prod(spec[1]) * (4 if spec[2] == "correction" else 2)


def _write_shard(path: Path, specs: list[Spec], agree: bool, seed: int) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for spec in specs:
        end = offset + _num_bytes(spec)
        dtype = "F32" if spec[2] == "correction" else "BF16"
        header[spec[0]] = {"dtype": dtype, "shape": list(spec[1]), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for spec in specs:
            for piece in draw(seed, *spec, agree):
                file.write(piece.data)


def ensure(name: str, agree: bool = False, folder: Path = FOLDER) -> Path:
    """The checkpoint's folder, written first if it is not there.

    Args:
        name: S, M or D7.
        agree: see `write`.
        folder: where checkpoints are kept.
    Returns: its folder.
    """
    place = folder / (f"{name}-agree" if agree else name)
    if not (place / "config.json").is_file():
        print(f"writing {place}", flush=True)
        write(place, name, agree)
    return place


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=NAMES)
    parser.add_argument("--agree", action="store_true", help="drafts that are always right")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="default %(default)s")
    args = parser.parse_args()
    for name in args.names:
        ensure(name, args.agree, args.folder)


if __name__ == "__main__":
    main()
