"""What a model costs: parameters, bytes of weights and caches, arithmetic of a token; from its shape alone."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from openmimo.config import LayerConfig, ModelConfig
from openmimo.formats import BLOCK_SIZE, GROUP_SIZE
from openmimo.names import tensor_shapes
from openmimo.tensorfile import DTYPES, NAMES, Spec

__all__ = [
    "WEIGHT_KINDS",
    "ParameterCount",
    "announced_specs",
    "count_media",
    "count_parameters",
    "flops_per_token",
    "format_name",
    "kv_bytes",
    "layer_kv_bytes",
    "weight_bytes",
    "weight_bytes_per_token",
]

WEIGHT_KINDS = ("f32", "bf16", "q8", "q4")
_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "qkv_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class ParameterCount:
    """How many numbers a model has, and how many one token uses.

    Attributes:
        attention: projections, biases and sinks of the trunk's attention.
        dense: feed-forwards of the trunk's dense layers.
        experts: feed-forwards of the trunk's sparse layers, with routers and correction biases.
        norms: norms of the trunk.
        tables: embedding and head together, once if they are tied.
        embedding: the embedding table; the head has as many.
        mtp_head: one multi-token-prediction block; it borrows embedding and head.
        num_mtp_heads: how many of those there are.
        active: used by one token in the trunk, without embedding and head.
    """

    attention: int
    dense: int
    experts: int
    norms: int
    tables: int
    embedding: int
    mtp_head: int
    num_mtp_heads: int
    active: int

    @property
    def trunk(self) -> int:
        """All of the trunk with embedding and head."""
        return self.attention + self.dense + self.experts + self.norms + self.tables

    @property
    def mtp(self) -> int:
        """All multi-token-prediction blocks."""
        return self.num_mtp_heads * self.mtp_head

    @property
    def total(self) -> int:
        """Trunk and MTP blocks."""
        return self.trunk + self.mtp

    @property
    def active_with_head(self) -> int:
        """What one decoded token multiplies by."""
        return self.active + self.embedding

    @property
    def active_with_both(self) -> int:
        """The usual headline figure: embedding and head counted as used."""
        return self.active + self.tables


def count_parameters(config: ModelConfig) -> ParameterCount:
    """Count a model's parameters, norms, sinks and router biases included.

    Args:
        config: the model's shape.
    Returns: the counts.
    """
    hidden, num_experts = config.hidden_size, config.n_routed_experts
    expert, dense = 3 * hidden * config.moe_intermediate_size, 3 * hidden * config.intermediate_size
    num_sparse = sum(layer.is_sparse for layer in config.layers)
    attention = sum(_attention_parameters(layer, config) for layer in config.layers)
    all_dense = (config.num_layers - num_sparse) * dense
    norms = (2 * config.num_layers + 1) * hidden
    embedding = config.vocab_size * hidden
    # A router also has one correction bias for each expert, which only steers the choice.
    routers = num_sparse * num_experts * hidden
    return ParameterCount(
        attention=attention,
        dense=all_dense,
        experts=routers + num_sparse * num_experts * (expert + 1),
        norms=norms,
        tables=embedding if config.tie_word_embeddings else 2 * embedding,
        embedding=embedding,
        # One block has five norms and a projection from the embedding and the trunk state together.
        mtp_head=_attention_parameters(config.mtp_layer, config) + dense + 5 * hidden + 2 * hidden * hidden,
        num_mtp_heads=config.num_mtp_layers,
        active=attention + all_dense + norms + routers + num_sparse * config.num_experts_per_tok * expert,
    )


def _attention_parameters(layer: LayerConfig, config: ModelConfig) -> int:
    heads, kv_heads = layer.num_attention_heads, layer.num_key_value_heads
    qkv = heads * layer.head_dim + kv_heads * (layer.head_dim + layer.v_head_dim)
    sinks = heads if layer.has_sink else 0
    biases = qkv if config.attention_bias else 0
    return config.hidden_size * (qkv + heads * layer.v_head_dim) + biases + sinks


def count_media(published: Mapping[str, Any]) -> dict[str, int]:
    """Count what an omni model has besides its text model.

    Args:
        published: the content of config.json.
    Returns: parameters of the vision tower and of the audio path, as far as config.json describes them.
    Source: keys vision_config and audio_config of MiMo-V2.5; other spellings are not counted.
    """
    counts = {"vision": _count_vision, "audio": _count_audio}
    found = {}
    for name, count in counts.items():
        try:
            found[name] = count(published[f"{name}_config"])
        except (LookupError, TypeError, ValueError):  # not there, or of another model family
            continue
    return found


def _count_vision(keys: Mapping[str, Any]) -> int:
    hidden, inner, depth, out = (keys[k] for k in ("hidden_size", "intermediate_size", "depth", "out_hidden_size"))
    heads, kv_heads, head_dim = keys["num_heads"], keys["num_key_value_heads"], keys.get("qk_channels", 64)
    qkv = (heads + 2 * kv_heads) * head_dim
    attention = (hidden + 1) * qkv + heads * head_dim * hidden + hidden
    mlp = 2 * (hidden + 1) * inner + (inner + 1) * hidden
    sinks = heads * sum(kind >= 0 for kind in keys["vit_window_attn_types"]) if keys["use_sink"] else 0
    merged = hidden * keys["spatial_merge_size"] ** 2
    patch = 3 * keys["temporal_patch_size"] * keys["patch_size"] ** 2 * hidden
    return depth * (attention + mlp + 2 * hidden) + sinks + patch + hidden + merged * merged + out * merged


def _count_audio(keys: Mapping[str, Any]) -> int:
    hidden, inner = keys["input_local_dim"], keys["input_local_intermediate_size"]
    heads = keys["input_local_attn_heads"] * keys["input_local_head_dim"]
    layer = 4 * hidden * heads + 3 * heads + 3 * hidden * inner + 2 * hidden
    grouped = keys["group_size"] * hidden
    projection = 4 * grouped * grouped + keys["out_hidden_size"] * 4 * grouped
    codes = keys["audio_channels"] * int(keys["speech_vocab_size"]) * hidden
    return keys["input_local_layers"] * layer + hidden + projection + codes


# Bytes.


def announced_specs(config: ModelConfig) -> dict[str, Spec]:
    """Say what a folder with this config.json holds if it is stored as the config announces.

    Args:
        config: the model's shape.
    Returns: the stored tensors with their companions, `lm_head.weight` left out if it is tied.
    """
    specs: dict[str, Spec] = {}
    shapes = tensor_shapes(config)
    if config.tie_word_embeddings:
        del shapes["lm_head.weight"]
    for name, shape in shapes.items():
        part = name.split(".")[-2]
        if config.announced.is_fused and part in ("q_proj", "k_proj", "v_proj"):
            stem = name.removesuffix(f"{part}.weight")
            rows = sum(shapes[f"{stem}{each}_proj.weight"][0] for each in "qkv")
            specs |= _announced(f"{stem}qkv_proj.weight", (rows, shape[1]), config, config.num_qkv_chunks)
        else:
            specs |= _announced(name, shape, config, 1)
    return specs


def _announced(name: str, shape: tuple[int, ...], config: ModelConfig, chunks: int) -> dict[str, Spec]:
    announced, part = config.announced, name.split(".")[-2]
    kind = announced.experts if ".experts." in name else announced.weights
    if kind in ("q8", "q4") and part.endswith("_proj"):
        bits = int(kind[1])
        return {
            f"{name}_packed": _spec("I32", shape[0], -(-shape[1] * bits // 32)),
            f"{name}_scale": _spec("BF16", shape[0], -(-shape[1] // GROUP_SIZE)),
            f"{name}_shape": _spec("I64", 2),
        }
    if kind == "mxfp4":
        scale = _spec("U8", shape[0], -(-shape[1] // GROUP_SIZE))
        return {name: _spec("U8", shape[0], -(-shape[1] // 2)), f"{name}_scale": scale}
    if kind == "fp8" and part in _PROJECTIONS:
        blocks = chunks * -(-shape[0] // chunks // BLOCK_SIZE), -(-shape[1] // BLOCK_SIZE)
        return {name: _spec("F8_E4M3", *shape), f"{name}_scale_inv": _spec("F32", *blocks)}
    if name.endswith("e_score_correction_bias"):
        return {name: _spec("F32", *shape)}
    return {name: _spec(announced.router if part == "gate" else announced.floats, *shape)}


def _spec(dtype: str, *shape: int) -> Spec:
    return Spec(DTYPES[dtype], shape)


def format_name(name: str, specs: Mapping[str, Spec]) -> str:
    """Name the format that an announced tensor is part of, as `Checkpoint.num_bytes_by_format` does.

    Args:
        name: a key of `specs`.
        specs: what `announced_specs` gives.
    Returns: fp8, mxfp4, q8, q4, or the dtype of what is not quantised.
    """
    dtype = NAMES[specs[name].dtype]
    if dtype == "F8_E4M3" or name.endswith("_scale_inv"):
        return "fp8"
    if dtype == "U8":
        return "mxfp4"
    stem = name.removesuffix("_packed").removesuffix("_scale").removesuffix("_shape")
    if f"{stem}_packed" in specs:
        return "q8" if specs[f"{stem}_packed"].shape[1] * 8 > specs[f"{stem}_scale"].shape[1] * 32 else "q4"
    return dtype


def weight_bytes(config: ModelConfig, kind: str) -> int:
    """Size the weights as this engine keeps them.

    Args:
        config: the model's shape.
        kind: one of `WEIGHT_KINDS`.
    Returns: bytes; the padding of odd shapes is left out.
    """
    shapes = tensor_shapes(config)
    return sum(_kept(name, shape, kind) for name, shape in shapes.items() if not _is_second_table(name, config))


def weight_bytes_per_token(config: ModelConfig, kind: str | None = None) -> int:
    """Count the weight bytes that decoding one token reads: the chosen experts, one row of the embedding, no drafts.

    Args:
        config: the model's shape.
        kind: one of `WEIGHT_KINDS`, or None for what config.json announces.
    Returns: bytes.
    """
    if kind is None:
        sizes = {name: spec.num_bytes for name, spec in announced_specs(config).items()}
    else:
        sizes = {name: _kept(name, shape, kind) for name, shape in tensor_shapes(config).items()}
    shares: Counter[str] = Counter()
    for name, size in sizes.items():
        shares["experts" if ".experts." in name else "mtp" if ".mtp" in name else name] += size
    experts = shares.pop("experts", 0) * config.num_experts_per_tok // max(1, config.n_routed_experts)
    shares.pop("mtp", 0)
    table = sum(shares.pop(name) for name in tuple(shares) if name.startswith("model.embed_tokens."))
    is_head = config.tie_word_embeddings and kind is None  # then the table is all that is stored of the head
    return sum(shares.values()) + experts + (table if is_head else 0) + table // config.vocab_size


def _kept(name: str, shape: tuple[int, ...], kind: str) -> int:
    numbers = math.prod(shape)
    is_router = name.endswith("mlp.gate.weight")
    if kind == "f32" or is_router or len(shape) != 2:
        return 4 * numbers
    if kind == "bf16":
        return 2 * numbers
    return shape[0] * (-(-shape[1] * int(kind[1]) // 8) + 2 * -(-shape[1] // GROUP_SIZE))


def _is_second_table(name: str, config: ModelConfig) -> bool:
    return config.tie_word_embeddings and name == "lm_head.weight"


def kv_bytes(config: ModelConfig, tokens: int, kind: str = "bf16") -> int:
    """Size the trunk's key-value cache of one sequence.

    Args:
        config: the model's shape.
        tokens: cached positions; window layers keep only their window.
        kind: "f32", "bf16" or "int8".
    Returns: bytes; MTP blocks are not counted (`layer_kv_bytes` of `mtp_layer` gives one).
    """
    return sum(layer_kv_bytes(layer, tokens, kind) for layer in config.layers)


def layer_kv_bytes(layer: LayerConfig, tokens: int, kind: str = "bf16") -> int:
    """Size one layer's key-value cache of one sequence.

    Args:
        layer: the layer's shape.
        tokens: cached positions.
        kind: "f32", "bf16" or "int8"; int8 has a bf16 scale for each key and each value of a head.
    Returns: bytes.
    """
    numbers = layer.head_dim + layer.v_head_dim
    head = {"f32": 4 * numbers, "bf16": 2 * numbers, "int8": numbers + 4}[kind]
    return layer.num_key_value_heads * head * _visible(layer, tokens)


def flops_per_token(config: ModelConfig, context: int) -> int:
    """Count the arithmetic of decoding one token without drafts.

    Args:
        config: the model's shape.
        context: positions that global layers see.
    Returns: floating-point operations, a multiply-add being two; norms and activations are left out.
    """
    attention = sum(
        layer.num_attention_heads * (layer.head_dim + layer.v_head_dim) * _visible(layer, context)
        for layer in config.layers
    )
    return 2 * (count_parameters(config).active_with_head + attention)


def _visible(layer: LayerConfig, tokens: int) -> int:
    return tokens if layer.window is None else min(tokens, layer.window)
