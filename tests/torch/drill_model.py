"""A tiny model with fresh weights and the drills' vocabulary, in a folder that the engine opens."""

from pathlib import Path
from typing import Any

import drills
import torch

from openmimo.checkpoint import save_checkpoint
from openmimo.config import parse_config
from openmimo.model.model import MiMo, new_model, published_tensors

TINY: dict[str, Any] = {
    "architectures": ["MiMoV2FlashForCausalLM"], "model_type": "mimo_v2_flash", "torch_dtype": "float32",
    "vocab_size": drills.VOCAB_SIZE, "hidden_size": 32, "intermediate_size": 48,
    "num_hidden_layers": 3, "hybrid_layer_pattern": [0, 1, 0], "moe_layer_freq": [0, 1, 1],
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "v_head_dim": 16,
    "swa_num_attention_heads": 2, "swa_num_key_value_heads": 1, "swa_head_dim": 16, "swa_v_head_dim": 16,
    "partial_rotary_factor": 0.5, "rope_theta": 10000, "swa_rope_theta": 1000, "sliding_window": 8,
    "add_swa_attention_sink_bias": True, "attention_value_scale": 0.7, "n_routed_experts": 4,
    "num_experts_per_tok": 2, "moe_intermediate_size": 16, "max_position_embeddings": 64, "layernorm_epsilon": 1e-5,
    "tie_word_embeddings": True, "num_nextn_predict_layers": 1, "eos_token_id": drills.END, "pad_token_id": drills.PAD,
}  # fmt: skip


def tiny_model(seed: int = 0) -> MiMo:
    """Fresh weights without dead blocks."""
    model, generator = new_model(parse_config(TINY), seed=seed), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad and parameter.abs().sum() == 0:
                parameter.normal_(0, 0.3, generator=generator)
    return model


def save(model: MiMo, folder: Path) -> Path:
    save_checkpoint(folder, dict(model.config.published), published_tensors(model), drills.text_files())
    return folder
