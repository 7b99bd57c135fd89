"""What a checkpoint is, at a glance: its layers, parameters, bytes and costs (`openmimo show`)."""

from itertools import groupby
from typing import Any

from openmimo.checkpoint import Checkpoint
from openmimo.config import (
    LayerConfig,
    ModelConfig,
    count_parameters,
    flops_per_token,
    kv_bytes,
    layer_kv_bytes,
)

__all__ = ["describe", "format_description"]

CONTEXTS = (32 * 1024, 128 * 1024, 256 * 1024)


def describe(checkpoint: Checkpoint) -> dict[str, Any]:
    """Sum up a checkpoint.

    Args:
        checkpoint: an open checkpoint.
    Returns: JSON-ready data; costs are given at contexts of 32K, 128K and 256K tokens.
    """
    config = checkpoint.config
    return {
        "folder": str(checkpoint.folder),
        "model_type": config.published["model_type"],
        "family": config.family,
        "hidden_size": config.hidden_size,
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_position_embeddings,
        "num_layers": config.num_layers,
        "layer_groups": _layer_groups(config),
        "mtp_heads": config.num_mtp_layers,
        "experts": config.n_routed_experts,
        "experts_per_token": config.num_experts_per_tok,
        "parameters": _parameters(config),
        "weight_bytes": checkpoint.num_bytes(),
        "weight_dtypes": checkpoint.num_bytes_by_format(),
        "costs": [_costs(config, context) for context in CONTEXTS],
        "ignored_keys": [key for key in ("auto_map",) if key in config.published],
    }


def format_description(description: dict[str, Any]) -> str:
    """Lay a description out for a terminal.

    Args:
        description: what `describe` gives.
    Returns: lines without colours, ending without a newline.
    """
    parameters, heads = description["parameters"], description["mtp_heads"]
    dtypes = ", ".join(f"{name} {_bytes(size)}" for name, size in description["weight_dtypes"].items())
    rows = [
        ("model", f"{description['model_type']} ({description['family']} layout)"),
        ("hidden, vocab", f"{description['hidden_size']:,}, {description['vocab_size']:,}"),
        ("context", f"{description['max_position_embeddings']:,} tokens"),
        ("layers", f"{description['num_layers']}"),
        *(("", _group_line(group)) for group in description["layer_groups"]),
        ("MTP heads", str(heads) if heads else "none: no drafts"),
        ("parameters", f"{parameters['total']:,} ({parameters['trunk']:,} trunk, {parameters['mtp']:,} MTP)"),
        ("", f"{parameters['active_with_both']:,} active for each token"),
        ("weights", f"{_bytes(description['weight_bytes'])} ({dtypes})"),
        *((f"at {cost['context'] // 1024}K", _cost_line(cost)) for cost in description["costs"]),
        *(("ignored", f"{key} in config.json") for key in description["ignored_keys"]),
    ]
    return "\n".join([description["folder"], *(f"  {name:<14}{text}".rstrip() for name, text in rows)])


def _layer_groups(config: ModelConfig) -> list[dict[str, Any]]:
    """Neighbouring layers of the same shape as one entry."""
    groups = []
    for layer, run in groupby(enumerate(config.layers), key=lambda item: item[1]):
        indices = [index for index, _ in run]
        groups.append({"first": indices[0], "last": indices[-1], **_layer(layer)})
    return groups


def _layer(layer: LayerConfig) -> dict[str, Any]:
    return {
        "attention": "global" if layer.window is None else "window",
        "window": layer.window,
        "query_heads": layer.num_attention_heads,
        "key_value_heads": layer.num_key_value_heads,
        "head_dims": [layer.head_dim, layer.v_head_dim],
        "rotary_dims": layer.rotary_dims,
        "rope_theta": layer.rope_theta,
        "has_sink": layer.has_sink,
        "feed_forward": "experts" if layer.is_sparse else "dense",
    }


def _parameters(config: ModelConfig) -> dict[str, int]:
    count = count_parameters(config)
    names = ("total", "trunk", "mtp", "active", "active_with_head", "active_with_both", "embedding")
    return {name: getattr(count, name) for name in names}


def _costs(config: ModelConfig, context: int) -> dict[str, int]:
    return {
        "context": context,
        "kv_bytes": kv_bytes(config, context),
        "mtp_kv_bytes": config.num_mtp_layers * layer_kv_bytes(config.mtp_layer, context),
        "flops_per_token": flops_per_token(config, context),
    }


def _group_line(group: dict[str, Any]) -> str:
    first, last = group["first"], group["last"]
    attention = "global" if group["window"] is None else f"window {group['window']}"
    sink = ", sink" if group["has_sink"] else ""
    keys, values = group["head_dims"]
    heads = f"{group['query_heads']}/{group['key_value_heads']} heads of {keys}/{values}"
    where = f"{first}" if first == last else f"{first}-{last}"
    return f"{where:<8}{attention}{sink}, {heads}, {group['feed_forward']}"


def _cost_line(cost: dict[str, int]) -> str:
    cache, drafts = _bytes(cost["kv_bytes"]), _bytes(cost["mtp_kv_bytes"])
    return f"bf16 KV cache {cache} + {drafts} MTP, {cost['flops_per_token'] / 1e9:,.3g} GFLOP a token"


def _bytes(size: int) -> str:
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= factor:
            return f"{size / factor:.4g} {unit}"
    return f"{size} B"
