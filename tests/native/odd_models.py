"""Small random checkpoints of shapes that no published model has, each a little off every size the engine likes."""

from pathlib import Path
from typing import Any

import numpy as np

from openmimo.checkpoint import save_checkpoint, tensor_shapes
from openmimo.config import parse_config

V2 = {
    "model_type": "mimo_v2_flash", "vocab_size": 101, "hidden_size": 48, "intermediate_size": 56,
    "num_hidden_layers": 3, "hybrid_layer_pattern": [0, 1, 1], "moe_layer_freq": [0, 1, 1],
    "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 20, "v_head_dim": 12,
    "swa_num_attention_heads": 4, "swa_num_key_value_heads": 2, "swa_head_dim": 20, "swa_v_head_dim": 12,
    "partial_rotary_factor": 0.34, "rope_theta": 10000, "swa_rope_theta": 1000, "sliding_window": 9,
    "add_swa_attention_sink_bias": True, "attention_value_scale": 0.707, "n_routed_experts": 6,
    "num_experts_per_tok": 2, "moe_intermediate_size": 24, "max_position_embeddings": 512,
    "num_nextn_predict_layers": 2, "layernorm_epsilon": 1e-5,
}  # fmt: skip
SEVEN = {
    "model_type": "mimo", "vocab_size": 75, "hidden_size": 60, "intermediate_size": 72, "num_hidden_layers": 3,
    "num_attention_heads": 6, "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "rope_theta": 10000,
    "max_position_embeddings": 512, "num_nextn_predict_layers": 1,
}  # fmt: skip


def layers(pattern: list[int], num_dense: int = 1, sparse_every: int = 1) -> dict[str, Any]:
    """Keys of a V2 model with the given windowed (1) and global (0) layers; the first ones have no experts."""
    sparse = [int(i >= num_dense and i % sparse_every == 0) for i in range(len(pattern))]
    return {"num_hidden_layers": len(pattern), "hybrid_layer_pattern": pattern, "moe_layer_freq": sparse}


def heads(query: int, key_value: int, window_key_value: int | None = None) -> dict[str, Any]:
    return {
        "num_attention_heads": query, "num_key_value_heads": key_value, "swa_num_attention_heads": query,
        "swa_num_key_value_heads": key_value if window_key_value is None else window_key_value,
    }  # fmt: skip


PRO_GLOBALS = {0, 7, 15, 23, 31, 39, 47, 55, 63, 69}

SHAPES: dict[str, dict[str, Any]] = {
    "plain": V2,
    "a window of one token": V2 | {"sliding_window": 1},
    "a window longer than any prompt": V2 | {"sliding_window": 400},
    "a window of one page": V2 | {"sliding_window": 64},
    "as many key-value heads as query heads": V2 | heads(4, 4),
    "one key-value head everywhere": V2 | heads(5, 1),
    "one head": V2 | heads(1, 1),
    "70 heads on one": V2 | heads(70, 1) | {"head_dim": 4, "swa_head_dim": 4, "partial_rotary_factor": 0.5},
    "an odd hidden size": V2 | {"hidden_size": 33},
    "a hidden size above one tile": V2 | {"hidden_size": 146},
    "odd inner sizes": V2 | {"intermediate_size": 71, "moe_intermediate_size": 7},
    "experts of 40": V2 | {"moe_intermediate_size": 40, "intermediate_size": 130},
    "all experts for every token": V2 | {"num_experts_per_tok": 6},
    "one expert": V2 | {"n_routed_experts": 1, "num_experts_per_tok": 1},
    "many experts": V2 | {"n_routed_experts": 67, "num_experts_per_tok": 9},
    "groups of experts": V2 | {"n_routed_experts": 12, "n_group": 4, "topk_group": 2, "num_experts_per_tok": 5},
    "groups of one expert": V2 | {"n_group": 6, "topk_group": 3},
    "unnormalised, scaled experts": V2 | {"norm_topk_prob": False, "routed_scaling_factor": 2.5},
    "70 layers": V2 | layers([int(i not in PRO_GLOBALS) for i in range(70)], sparse_every=5) | {"hidden_size": 20},
    "windows only": V2 | layers([1, 1, 1]),
    "no windows": V2 | layers([0, 0, 0]),
    "one layer, dense": V2 | layers([0]),
    "experts in the first layer": V2 | layers([1, 0], num_dense=0),
    "no sinks": V2 | {"add_swa_attention_sink_bias": False},
    "sinks on all layers": V2 | {"add_full_attention_sink_bias": True},
    "values as they are": V2 | {"attention_value_scale": 1.0},
    "tied embeddings": V2 | {"tie_word_embeddings": True, "vocab_size": 37},
    "a vocabulary of whole panels": V2 | {"vocab_size": 96},
    "two rotated dims": V2 | {"partial_rotary_factor": 0.1},
    "all dims rotated": V2 | {"partial_rotary_factor": 1.0},
    "odd head dims": V2
    | {"head_dim": 17, "v_head_dim": 5, "swa_head_dim": 15, "swa_v_head_dim": 19, "partial_rotary_factor": 0.28},
    "values wider than keys": V2 | {"head_dim": 6, "v_head_dim": 34, "swa_head_dim": 6, "swa_v_head_dim": 34},
    "biases": V2 | {"attention_bias": True},
    "one head of drafts": V2 | {"num_nextn_predict_layers": 1},
    "7b": SEVEN,
    "7b without drafts": SEVEN | {"num_nextn_predict_layers": 0},
    "7b without bias": SEVEN | {"attention_bias": False},
    "7b with one key-value head, tied": SEVEN | {"num_key_value_heads": 1, "tie_word_embeddings": True},
}


def write_checkpoint(folder: Path, published: dict[str, Any], seed: int) -> None:
    """A folder whose every tensor matters: matrices keep the size of what they multiply, nothing is left at 0 or 1."""
    rng = np.random.default_rng(seed)
    config = parse_config(published)
    tensors = {name: _random(rng, name, shape) for name, shape in tensor_shapes(config).items()}
    if config.tie_word_embeddings:
        del tensors["lm_head.weight"]
    save_checkpoint(folder, published, tensors)


def _random(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    values = rng.standard_normal(shape, np.float32)
    if len(shape) == 2:
        return values if "embed_tokens" in name else values / np.sqrt(shape[1]).astype(np.float32)
    return values * np.float32(0.3) + np.float32("norm" in name)
