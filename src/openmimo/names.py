"""Published tensor names: the one table of what a checkpoint holds."""

import re

from openmimo.config import LayerConfig, ModelConfig

__all__ = ["LAYER_NAME", "MTP_NAME", "mtp_prefix", "tensor_shapes"]

LAYER_NAME = re.compile(r"model\.layers\.(\d{1,6})\.")
MTP_NAME = re.compile(r"model\.(?:mtp\.layers|mtp_layers)\.(\d{1,3})\.")


def tensor_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """List every tensor of a model under its published name.

    Args:
        config: the model's shape.
    Returns: name to shape, trunk first; `lm_head.weight` is listed even if it is the embedding (tie_word_embeddings).
    """
    hidden = config.hidden_size
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (config.vocab_size, hidden)}
    for index, layer in enumerate(config.layers):
        prefix = f"model.layers.{index}."
        shapes |= _norms(prefix, hidden, "input_layernorm", "post_attention_layernorm")
        shapes |= _attention(prefix, layer, config)
        shapes |= _experts(prefix, config) if layer.is_sparse else _mlp(prefix, config)
    shapes |= {"model.norm.weight": (hidden,), "lm_head.weight": (config.vocab_size, hidden)}
    for head in range(config.num_mtp_layers):
        shapes |= _mtp(mtp_prefix(config, head), config)
    return shapes


def mtp_prefix(config: ModelConfig, head: int) -> str:
    """Say where one multi-token-prediction block lies.

    Args:
        config: the model's shape.
        head: 0-based.
    Returns: the beginning of its tensors' names.
    """
    return f"model.mtp.layers.{head}." if config.family == "v2" else f"model.mtp_layers.{head}."


def _norms(prefix: str, hidden: int, *names: str) -> dict[str, tuple[int, ...]]:
    return {f"{prefix}{name}.weight": (hidden,) for name in names}


def _attention(prefix: str, layer: LayerConfig, config: ModelConfig) -> dict[str, tuple[int, ...]]:
    hidden, prefix = config.hidden_size, prefix + "self_attn."
    rows = {
        "q": layer.num_attention_heads * layer.head_dim,
        "k": layer.num_key_value_heads * layer.head_dim,
        "v": layer.num_key_value_heads * layer.v_head_dim,
    }
    shapes: dict[str, tuple[int, ...]] = {f"{prefix}{name}_proj.weight": (rows[name], hidden) for name in rows}
    if config.attention_bias:
        shapes |= {f"{prefix}{name}_proj.bias": (rows[name],) for name in rows}
    shapes[f"{prefix}o_proj.weight"] = (hidden, layer.num_attention_heads * layer.v_head_dim)
    if layer.has_sink:
        shapes[f"{prefix}attention_sink_bias"] = (layer.num_attention_heads,)
    return shapes


def _gated(prefix: str, hidden: int, inner: int) -> dict[str, tuple[int, ...]]:
    return {
        f"{prefix}gate_proj.weight": (inner, hidden),
        f"{prefix}up_proj.weight": (inner, hidden),
        f"{prefix}down_proj.weight": (hidden, inner),
    }


def _mlp(prefix: str, config: ModelConfig) -> dict[str, tuple[int, ...]]:
    return _gated(f"{prefix}mlp.", config.hidden_size, config.intermediate_size)


def _experts(prefix: str, config: ModelConfig) -> dict[str, tuple[int, ...]]:
    num_experts, hidden = config.n_routed_experts, config.hidden_size
    shapes: dict[str, tuple[int, ...]] = {
        f"{prefix}mlp.gate.weight": (num_experts, hidden),
        f"{prefix}mlp.gate.e_score_correction_bias": (num_experts,),
    }
    for expert in range(num_experts):
        shapes |= _gated(f"{prefix}mlp.experts.{expert}.", hidden, config.moe_intermediate_size)
    return shapes


def _mtp(prefix: str, config: ModelConfig) -> dict[str, tuple[int, ...]]:
    hidden = config.hidden_size
    if config.family == "v2":
        norms = ("enorm", "hnorm", "input_layernorm", "pre_mlp_layernorm", "final_layernorm")
        projection = "eh_proj"
    else:
        norms = (
            "token_layernorm",
            "hidden_layernorm",
            "input_layernorm",
            "post_attention_layernorm",
            "final_layernorm",
        )
        projection = "input_proj"
    shapes = _norms(prefix, hidden, *norms) | {f"{prefix}{projection}.weight": (hidden, 2 * hidden)}
    return shapes | _attention(prefix, config.mtp_layer, config) | _mlp(prefix, config)
