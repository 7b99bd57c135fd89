"""config.json for other readers: the V2-Flash keys in the spelling of `transformers` beside the published one."""

from collections.abc import Mapping
from typing import Any

from openmimo.config import parse_config
from openmimo.errors import ConfigError

__all__ = ["with_transformers_keys"]


def with_transformers_keys(published: Mapping[str, Any]) -> dict[str, Any]:
    """Add what `transformers` reads instead of the published keys, so that its MiMoV2Flash computes the same.

    Args:
        published: a V2-Flash config.json.
    Returns:
        the same with layer_types, mlp_layer_types, rope_parameters and rms_norm_eps.
    Raises:
        ConfigError: that class cannot express the model; the message says why.
    """
    config = parse_config(published)
    kinds = {"full_attention": [], "sliding_attention": []}
    for layer in config.layers:
        kinds["full_attention" if layer.window is None else "sliding_attention"].append(layer)
    reasons = []
    full, sliding = kinds["full_attention"], kinds["sliding_attention"]
    if any(a.num_key_value_heads * 2 != b.num_key_value_heads for a in full for b in sliding):
        reasons.append("sliding layers must have twice the key-value heads of the global ones")
    if any((a.head_dim, a.v_head_dim) != (b.head_dim, b.v_head_dim) for a in full for b in sliding):
        reasons.append("all layers must have the same head dims")
    if any(layer.has_sink for layer in full) or not all(layer.has_sink for layer in sliding):
        reasons.append("sliding layers must have sinks, global ones must not")
    if config.attention_bias:
        reasons.append("attention_bias must be false")
    if reasons:
        raise ConfigError(f"transformers' MiMoV2Flash cannot express this model: {'; '.join(reasons)}")
    factor = published.get("partial_rotary_factor", 1.0)
    return {
        **published,
        "layer_types": ["full_attention" if layer.window is None else "sliding_attention" for layer in config.layers],
        "mlp_layer_types": ["sparse" if layer.is_sparse else "dense" for layer in config.layers],
        "rope_parameters": {
            kind: {"rope_type": "default", "rope_theta": layers[0].rope_theta, "partial_rotary_factor": factor}
            for kind, layers in kinds.items()
            if layers
        },
        "rms_norm_eps": config.rms_norm_eps,
    }
