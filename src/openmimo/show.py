"""What a checkpoint is, at a glance: its layers, parameters, bytes and costs (`openmimo show`)."""

import math
from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import Any

from openmimo.checkpoint import Checkpoint, has_weights
from openmimo.config import LayerConfig, ModelConfig, read_config
from openmimo.costs import (
    WEIGHT_KINDS,
    announced_specs,
    count_media,
    count_parameters,
    flops_per_token,
    format_name,
    kv_bytes,
    layer_kv_bytes,
    weight_bytes,
    weight_bytes_per_token,
)

__all__ = ["describe", "format_description"]

CONTEXTS = (32 * 1024, 128 * 1024, 256 * 1024, 1024 * 1024)
CACHE_KINDS = ("bf16", "int8")
PUBLISHED_MTP_HEADS = 3
"""What every published V2 checkpoint holds; none of their configs says so."""


def describe(folder: str | Path) -> dict[str, Any]:
    """Sum up a checkpoint, or what one would be that has only its config.json here.

    Args:
        folder: a checkpoint folder, or one with nothing but config.json.
    Returns: JSON-ready data; costs are given at contexts of 32K, 128K, 256K and 1M tokens.
    Raises:
        CheckpointError: as `Checkpoint.open`.
        ConfigError: as `Checkpoint.open`.
    """
    checkpoint = Checkpoint.open(folder) if has_weights(folder) else None
    config, source = (checkpoint.config, "files") if checkpoint else _announced_config(folder)
    per_token = {"stored": weight_bytes_per_token(config)}
    unused = checkpoint.unused() if checkpoint else count_media(config.published)
    per_token |= {kind: weight_bytes_per_token(config, kind) for kind in WEIGHT_KINDS}
    return {
        "folder": str(folder),
        "model_type": config.published["model_type"],
        "family": config.family,
        "hidden_size": config.hidden_size,
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_position_embeddings,
        "num_layers": config.num_layers,
        "layer_groups": _layer_groups(config),
        "mtp_heads": config.num_mtp_layers,
        "mtp_heads_from": source,
        "experts": config.n_routed_experts,
        "experts_per_token": config.num_experts_per_tok,
        "parameters": _parameters(config, sum(unused.values())),
        "stored": _stored_here(checkpoint) if checkpoint else _stored_as_announced(config, sum(unused.values())),
        "weight_bytes": {kind: weight_bytes(config, kind) for kind in WEIGHT_KINDS},
        "costs": [_costs(config, context, per_token) for context in CONTEXTS],
        "unused": unused,
        "ignored_keys": list(config.ignored_keys),
    }


def format_description(description: dict[str, Any]) -> str:
    """Lay a description out for a terminal.

    Args:
        description: what `describe` gives.
    Returns: lines without colours, ending without a newline.
    """
    p, stored = description["parameters"], description["stored"]
    formats = ", ".join(f"{name} {_bytes(size)}" for name, size in stored["formats"].items())
    here = ", ".join(f"{kind} {_bytes(size)}" for kind, size in description["weight_bytes"].items())
    rows = [
        ("model", f"{description['model_type']} ({description['family']} layout)"),
        ("hidden, vocab", f"{description['hidden_size']:,}, {description['vocab_size']:,}"),
        ("context", f"{description['max_position_embeddings']:,} tokens"),
        ("layers", f"{description['num_layers']}"),
        *(("", _group_line(group)) for group in description["layer_groups"]),
        ("MTP heads", _heads_line(description)),
        ("parameters", f"{p['total']:,} = {p['trunk']:,} trunk + {p['mtp']:,} MTP"),
        ("", f"trunk: {p['attention']:,} attention, {p['dense']:,} dense, {p['experts']:,} experts"),
        ("", f"{p['tables']:,} embedding and head, {p['norms']:,} norms"),
        ("active", f"{p['active']:,} for each token; {p['active_with_head']:,} with head"),
        ("", f"{p['active_with_both']:,} with embedding and head"),
        ("stored", f"{stored['elements']:,} numbers, {_bytes(stored['bytes'])}: {formats}"),
        ("in memory", here),
        *(line for cost in description["costs"] for line in _cost_lines(cost)),
        *(("not used", f"{name}, {size:,} numbers") for name, size in description["unused"].items()),
        *_whole_lines(description),
        *(("ignored", f"{key} in config.json") for key in description["ignored_keys"]),
    ]
    return "\n".join([description["folder"], *(f"  {name:<14}{text}".rstrip() for name, text in rows)])


def _announced_config(folder: str | Path) -> tuple[ModelConfig, str]:
    config = read_config(folder)
    if config.family == "v2" and "num_nextn_predict_layers" not in config.published:
        return read_config(folder, PUBLISHED_MTP_HEADS), "published models"
    return config, "config.json"


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


def _parameters(config: ModelConfig, unused: int) -> dict[str, int]:
    count = count_parameters(config)
    names = ("total", "trunk", "mtp", "mtp_head", "attention", "dense", "experts", "norms", "tables", "embedding")
    counts = {name: getattr(count, name) for name in (*names, "active", "active_with_head", "active_with_both")}
    return {**counts, "total_with_unused": count.total + unused}


def _stored_here(checkpoint: Checkpoint) -> dict[str, Any]:
    elements = checkpoint.num_elements()
    return {
        "elements": elements,
        "elements_with_unused": elements + sum(checkpoint.unused().values()),
        "bytes": checkpoint.num_bytes(),
        "formats": checkpoint.num_bytes_by_format(),
    }


def _stored_as_announced(config: ModelConfig, unused: int) -> dict[str, Any]:
    specs = announced_specs(config)
    sizes: Counter[str] = Counter()
    for name, spec in specs.items():
        sizes[format_name(name, specs)] += spec.num_bytes
    elements = sum(math.prod(spec.shape) for spec in specs.values())
    return {
        "elements": elements,
        "elements_with_unused": elements + unused,
        "bytes": sizes.total(),
        "formats": dict(sizes.most_common()),
    }


def _costs(config: ModelConfig, context: int, weights: dict[str, int]) -> dict[str, Any]:
    caches = {kind: kv_bytes(config, context, kind) for kind in CACHE_KINDS}
    heads = {kind: config.num_mtp_layers * layer_kv_bytes(config.mtp_layer, context, kind) for kind in CACHE_KINDS}
    return {
        "context": context,
        "kv_bytes": caches,
        "mtp_kv_bytes": heads,
        "flops_per_token": flops_per_token(config, context),
        "bytes_per_token": {kind: size + caches["bf16"] for kind, size in weights.items()},
    }


def _heads_line(description: dict[str, Any]) -> str:
    heads, each = description["mtp_heads"], description["parameters"]["mtp_head"]
    if not heads:
        return "none: no drafts"
    origin = description["mtp_heads_from"]
    doubt = "" if origin == "files" else f", as {origin} says" if origin == "config.json" else f", as in {origin}"
    return f"{heads} of {each:,} parameters{doubt}"


def _group_line(group: dict[str, Any]) -> str:
    first, last = group["first"], group["last"]
    attention = "global" if group["window"] is None else f"window {group['window']}"
    sink = ", sink" if group["has_sink"] else ""
    keys, values = group["head_dims"]
    heads = f"{group['query_heads']}/{group['key_value_heads']} heads of {keys}/{values}"
    where = f"{first}" if first == last else f"{first}-{last}"
    return f"{where:<8}{attention}{sink}, {heads}, {group['feed_forward']}"


def _cost_lines(cost: dict[str, Any]) -> list[tuple[str, str]]:
    heads = cost["mtp_kv_bytes"]
    caches = ", ".join(
        f"{kind} {_bytes(size)}" + (f" + {_bytes(heads[kind])} MTP" if heads[kind] else "")
        for kind, size in cost["kv_bytes"].items()
    )
    reads = ", ".join(f"{kind} {size / 1e9:,.3g}" for kind, size in cost["bytes_per_token"].items())
    return [
        (f"at {_context(cost['context'])}", f"KV cache {caches}"),
        ("", f"a token: {cost['flops_per_token'] / 1e9:,.3g} GFLOP; GB read: {reads}"),
    ]


def _whole_lines(description: dict[str, Any]) -> list[tuple[str, str]]:
    """Sums that include what the text model does not use."""
    if not description["unused"]:
        return []
    parameters, stored = description["parameters"], description["stored"]
    return [
        ("all in all", f"{parameters['total_with_unused']:,} parameters"),
        ("", f"{stored['elements_with_unused']:,} stored numbers"),
    ]


def _context(tokens: int) -> str:
    return f"{tokens // 2**20}M" if tokens >= 2**20 else f"{tokens // 1024}K"


def _bytes(size: int) -> str:
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= factor:
            return f"{size / factor:.4g} {unit}"
    return f"{size} B"
