"""Model shape: reads a published `config.json` and turns it into one list of layers.

No other module looks at `hybrid_layer_pattern`, `moe_layer_freq` or any `swa_*` key: they all read `ModelConfig`.
Attribute names keep the published key wherever one exists.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from openmimo.errors import CheckpointConfigError, CheckpointError, ConfigError
from openmimo.formats import GROUP_SIZE

__all__ = [
    "Announced",
    "LayerConfig",
    "ModelConfig",
    "parse_config",
    "read_config",
]

WindowReading = Literal["past", "inclusive"]
TrunkState = Literal["pre_norm", "post_norm"]

# Far above every published model, far below what would take memory before a tensor is looked at.
LIMITS = {
    "num_hidden_layers": 1024,
    "n_routed_experts": 4096,
    "num_nextn_predict_layers": 64,
    "max_position_embeddings": 2**30,
    "sliding_window": 2**30,
    "sliding_window_size": 2**30,
}
# Keys that would change the arithmetic, with the values that mean what this package computes.
FIXED = {
    "hidden_act": ("silu",),
    "scoring_func": ("sigmoid",),
    "topk_method": ("noaux_tc",),
    "n_shared_experts": (0,),
    "use_sliding_window": (False,),
    "moe_router_dtype": ("float32", "bfloat16"),  # how the router is stored; its logits are float32 either way
}
DTYPE_NAMES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
# Keys that say nothing about the arithmetic of text: `show` lists only what is in neither this nor any other use.
NEUTRAL = frozenset({
    "architectures", "attention_chunk_size", "attention_dropout", "attention_projection_layout", "audio_config",
    "bos_token_id", "dtype", "hybrid_block_size", "image_token_id", "initializer_range", "model_type",
    "max_window_layers", "num_nextn_predict_layers", "pad_token_id", "processor_config", "sliding_window",
    "text_config", "torch_dtype", "transformers_version", "use_cache", "video_token_id", "vision_config",
    "vision_end_token_id", "vision_model_type", "vision_start_token_id", "vision_token_id",
})  # fmt: skip


@dataclass(frozen=True)
class LayerConfig:
    """Shape of one block: its attention and whether its feed-forward is routed.

    Attributes:
        window: past tokens visible besides the token itself; None means all of them (global attention).
        is_sparse: the feed-forward is a mixture of experts.
        rotary_dims: leading dims of each query and key head that are rotated; even.
        has_sink: one learnable logit per query head enlarges the softmax denominator.
    Source: hybrid_layer_pattern, moe_layer_freq, partial_rotary_factor and the swa_* keys.
    """

    window: int | None
    is_sparse: bool
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    v_head_dim: int
    rotary_dims: int
    rope_theta: float
    has_sink: bool


@dataclass(frozen=True)
class Announced:
    """How config.json says that the weights are stored; what the files hold counts (`storage.py`).

    Attributes:
        weights: projections.
        experts: projections of experts.
        floats: safetensors dtype of what is neither quantised nor a router.
        router: safetensors dtype of routers.
        is_fused: query, key and value projections are one `qkv_proj`.
    """

    weights: Literal["plain", "fp8", "q8", "q4"]
    experts: Literal["plain", "fp8", "mxfp4", "q8", "q4"]
    floats: str
    router: str
    is_fused: bool


@dataclass(frozen=True)
class ModelConfig:
    """Everything that the forward pass needs to know about a checkpoint.

    Attributes:
        family: "v2" (MiMo-V2-Flash names and MTP form) or "7b" (MiMo-7B names and MTP form).
        layers: the trunk, first layer first.
        mtp_layer: shape of every multi-token-prediction block.
        num_mtp_layers: MTP blocks on disk (the published V2 configs do not say).
        mtp_trunk_state: whether MTP blocks read the trunk before or after `model.norm`.
        num_qkv_chunks: row chunks of a fused `qkv_proj`, if the files hold such.
        announced: how config.json says that the weights are stored.
        ignored_keys: keys of config.json that nothing here looks at, sorted; some may carry code (`auto_map`).
        published: the config.json this was read from, as plain data.
    """

    family: Literal["v2", "7b"]
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    layers: tuple[LayerConfig, ...]
    mtp_layer: LayerConfig
    num_mtp_layers: int
    mtp_trunk_state: TrunkState
    rms_norm_eps: float
    max_position_embeddings: int
    tie_word_embeddings: bool
    attention_bias: bool
    attention_value_scale: float
    n_routed_experts: int
    num_experts_per_tok: int
    moe_intermediate_size: int
    n_group: int
    topk_group: int
    norm_topk_prob: bool
    routed_scaling_factor: float
    eos_token_ids: tuple[int, ...]
    num_qkv_chunks: int
    announced: Announced = field(compare=False)
    ignored_keys: tuple[str, ...] = field(compare=False)
    published: Mapping[str, Any] = field(compare=False, repr=False)

    @property
    def num_layers(self) -> int:
        """Number of trunk layers, MTP blocks not counted."""
        return len(self.layers)

    @property
    def num_sparse_layers(self) -> int:
        """Trunk layers with experts."""
        return sum(layer.is_sparse for layer in self.layers)


def read_config(
    folder: str | Path,
    num_mtp_layers: int | None = None,
    window: WindowReading = "past",
    mtp_trunk_state: TrunkState = "pre_norm",
) -> ModelConfig:
    """Read `folder/config.json`.

    Args: as `parse_config`.
    Returns: the model's shape.
    Raises:
        CheckpointError: there is no readable config.json in the folder.
        CheckpointConfigError: a key is missing or has an impossible value.
    """
    path = Path(folder) / "config.json"
    try:
        published = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder} has no config.json: give a checkpoint folder (config.json, *.safetensors)"
        ) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {error}") from error
    try:
        return parse_config(published, num_mtp_layers, window, mtp_trunk_state)
    except ConfigError as error:
        raise CheckpointConfigError(f"{folder}: {error}") from error


def parse_config(
    published: Mapping[str, Any],
    num_mtp_layers: int | None = None,
    window: WindowReading = "past",
    mtp_trunk_state: TrunkState = "pre_norm",
) -> ModelConfig:
    """Turn the published keys into a `ModelConfig`; unknown keys and those that carry code (`auto_map`) are ignored.

    Args:
        published: the content of config.json.
        num_mtp_layers: MTP blocks found on disk; None takes `num_nextn_predict_layers`, else 0.
        window: "past" sees `sliding_window_size` past tokens besides itself, "inclusive" sees one fewer
            (public implementations disagree; architecture docs name who does what).
        mtp_trunk_state: which trunk state the MTP blocks read.
    Returns: the model's shape.
    Raises:
        ConfigError: a key is missing or has an impossible value.
    """
    if not isinstance(published, Mapping):
        raise ConfigError(f"config.json must hold an object, not {type(published).__name__}")
    model_type = published.get("model_type")
    keys = _Keys(published)
    if model_type in ("mimo_v2_flash", "mimo_v2"):
        keys.fixed(published.get("rope_scaling"))
        config = _parse_v2(keys, num_mtp_layers, window, mtp_trunk_state)
    elif model_type in ("mimo", "qwen2"):
        keys.fixed(published.get("rope_scaling"))
        config = _parse_7b(keys, num_mtp_layers, mtp_trunk_state)
    elif model_type == "qwen2_5_vl":
        keys = _Keys({**published, **_text_part(published)})
        keys.fixed(_without_axes(keys.get("rope_scaling")))
        config = _parse_7b(keys, num_mtp_layers, mtp_trunk_state)
    else:
        known = "mimo, mimo_v2_flash, mimo_v2, qwen2 or qwen2_5_vl"
        raise ConfigError(f"model_type {model_type!r} is not supported: use {known}")
    _validate(config)
    return replace(config, ignored_keys=tuple(sorted(set(published) - keys.used - NEUTRAL)), published=dict(published))


def _text_part(published: Mapping[str, Any]) -> Mapping[str, Any]:
    """The text model's own keys, if a folder that sees keeps them apart."""
    part = published.get("text_config") or {}
    if not isinstance(part, Mapping):
        raise ConfigError(f"config.json: text_config must hold an object, not {type(part).__name__}")
    return part


def _without_axes(scaling: Any) -> Any:
    """Rotary settings of a text without images: its three position axes are equal, so their sections do not matter."""
    if not isinstance(scaling, Mapping):
        return scaling
    kinds = {key: value for key, value in scaling.items() if key != "mrope_section"}
    return {key: "default" if value == "mrope" else value for key, value in kinds.items()}


class _Keys:
    """Typed access to config.json that names the key in every error, and remembers which keys were asked for."""

    def __init__(self, published: Mapping[str, Any]):
        self.published = published
        self.used: set[str] = set()

    def get(self, key: str) -> Any:
        self.used.add(key)
        return self.published.get(key)

    def integer(self, key: str, default: int | None = None) -> int:
        value = self.get(key)
        if value is None:
            value = default
        if value is None:
            raise ConfigError(f"config.json has no {key!r}, which this model_type needs")
        limit = LIMITS.get(key, 2**31 - 1)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= limit:
            raise ConfigError(f"config.json: {key}={value!r} must be an integer from 0 to {limit}")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        value = self.get(key)
        if value is None:
            value = default
        if isinstance(value, bool) or not isinstance(value, int | float) or not -1e30 < value < 1e30:
            raise ConfigError(f"config.json: {key}={value!r} must be a number of ordinary size")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self.get(key)
        if value is None:
            value = default
        if not isinstance(value, bool):
            raise ConfigError(f"config.json: {key}={value!r} must be true or false")
        return value

    def pattern(self, key: str, length: int) -> list[int]:
        value = self.get(key)
        if not isinstance(value, list) or len(value) != length or any(item not in (0, 1) for item in value):
            raise ConfigError(f"config.json: {key} must be a list of {length} zeros and ones, one for each layer")
        return value

    def epsilon(self, default: float) -> float:
        """Families and releases differ in the name of the norm's epsilon."""
        other = self.number("rms_norm_eps", default)
        return self.number("layernorm_epsilon", other)

    def fixed(self, rope_scaling: Any) -> None:
        for key, allowed in FIXED.items():
            value = self.get(key)
            if value is not None and value not in allowed:
                raise ConfigError(f"config.json: {key}={value!r} is not supported: it must be {allowed[0]!r}")
        self.used.add("rope_scaling")
        is_default = isinstance(rope_scaling, Mapping) and all(value == "default" for value in rope_scaling.values())
        if rope_scaling and not is_default:
            raise ConfigError(f"config.json: rope_scaling={rope_scaling!r} is not supported: it must be null")

    def eos(self) -> tuple[int, ...]:
        value = self.get("eos_token_id")
        ids = value if isinstance(value, list) else [] if value is None else [value]
        if any(isinstance(item, bool) or not isinstance(item, int) for item in ids):
            raise ConfigError(f"config.json: eos_token_id={value!r} must be an integer or a list of integers")
        return tuple(ids)

    def announced(self) -> Announced:
        """How the weights are said to be stored, once it is clear that it can be read."""
        found = self.get("quantization_config") or {}
        method = found.get("quant_method") if isinstance(found, Mapping) else None
        weights: Any = "plain"
        if method == "fp8" and found.get("weight_block_size", [128, 128]) == [128, 128]:
            weights = "fp8"
        elif method == "compressed-tensors" and found.get("format") == "pack-quantized":
            weights = f"q{_packed_bits(found.get('config_groups'))}"
        elif found:
            raise ConfigError(
                f"config.json: quantization_config with quant_method={method!r} is not supported: it must be fp8 in "
                "blocks of 128x128, or compressed-tensors in format pack-quantized"
            )
        floats = self.get("dtype") or self.get("torch_dtype") or "bfloat16"
        router = self.get("moe_router_dtype") or "float32"
        return Announced(
            weights=weights,
            experts="mxfp4" if found.get("store_dtype") == "mxfp4" else weights,
            floats=DTYPE_NAMES.get(str(floats), "BF16"),
            router=DTYPE_NAMES.get(str(router), "F32"),
            is_fused=self.get("attention_projection_layout") == "fused_qkv",
        )


def _packed_bits(groups: Any) -> int:
    parts = list(groups.values()) if isinstance(groups, Mapping) else []
    widths = {_scheme_bits(part.get("weights") if isinstance(part, Mapping) else None) for part in parts}
    if len(widths) != 1:
        raise ConfigError("config.json: quantization_config must have config_groups of one width")
    return widths.pop()


def _scheme_bits(weights: Any) -> int:
    wanted = {"type": "int", "symmetric": True, "strategy": "group", "group_size": GROUP_SIZE}
    fits = isinstance(weights, Mapping) and all(weights.get(key) == value for key, value in wanted.items())
    if not fits or weights.get("num_bits") not in (4, 8):
        raise ConfigError(
            f"config.json: packed weights {weights!r} are not supported: they must be symmetric 4-bit or 8-bit "
            f"integers in groups of {GROUP_SIZE}"
        )
    return weights["num_bits"]


def _parse_v2(
    keys: _Keys, num_mtp_layers: int | None, window: WindowReading, mtp_trunk_state: TrunkState
) -> ModelConfig:
    num_layers = keys.integer("num_hidden_layers")
    heads, kv_heads = keys.integer("num_attention_heads"), keys.integer("num_key_value_heads")
    head_dim = keys.integer("head_dim")
    v_head_dim = keys.integer("v_head_dim", head_dim)
    factor = keys.number("partial_rotary_factor", 1.0)
    sliding_window = keys.integer("sliding_window_size", keys.integer("sliding_window", 0))
    past = sliding_window if window == "past" else keys.integer("sliding_window", sliding_window) - 1

    def layer(is_sliding: bool, is_sparse: bool) -> LayerConfig:
        prefix = "swa_" if is_sliding else ""
        qk_dim = keys.integer(prefix + "head_dim", head_dim)
        sink_key = "add_swa_attention_sink_bias" if is_sliding else "add_full_attention_sink_bias"
        return LayerConfig(
            window=past if is_sliding else None,
            is_sparse=is_sparse,
            num_attention_heads=keys.integer(prefix + "num_attention_heads", heads),
            num_key_value_heads=keys.integer(prefix + "num_key_value_heads", kv_heads),
            head_dim=qk_dim,
            v_head_dim=keys.integer(prefix + "v_head_dim", v_head_dim),
            rotary_dims=int(qk_dim * factor),
            rope_theta=keys.number(prefix + "rope_theta", 10000.0),
            has_sink=keys.flag(sink_key, False),
        )

    sliding = keys.pattern("hybrid_layer_pattern", num_layers)
    sparse = keys.pattern("moe_layer_freq", num_layers)
    scale = keys.number("routed_scaling_factor", 1.0)
    return ModelConfig(
        family="v2",
        vocab_size=keys.integer("vocab_size"),
        hidden_size=keys.integer("hidden_size"),
        intermediate_size=keys.integer("intermediate_size"),
        layers=tuple(layer(bool(s), bool(m)) for s, m in zip(sliding, sparse, strict=True)),
        mtp_layer=layer(is_sliding=True, is_sparse=False),
        num_mtp_layers=keys.integer("num_nextn_predict_layers", 0) if num_mtp_layers is None else num_mtp_layers,
        mtp_trunk_state=mtp_trunk_state,
        rms_norm_eps=keys.epsilon(1e-5),
        max_position_embeddings=keys.integer("max_position_embeddings"),
        tie_word_embeddings=keys.flag("tie_word_embeddings", False),
        attention_bias=keys.flag("attention_bias", False),
        attention_value_scale=keys.number("attention_value_scale", 1.0),
        n_routed_experts=keys.integer("n_routed_experts", 0),
        num_experts_per_tok=keys.integer("num_experts_per_tok", 0),
        moe_intermediate_size=keys.integer("moe_intermediate_size", 0),
        n_group=keys.integer("n_group", 1),
        topk_group=keys.integer("topk_group", 1),
        norm_topk_prob=keys.flag("norm_topk_prob", True),
        routed_scaling_factor=scale,
        eos_token_ids=keys.eos(),
        num_qkv_chunks=max(kv_heads, 1),
        announced=keys.announced(),
        ignored_keys=(),
        published={},
    )


def _parse_7b(keys: _Keys, num_mtp_layers: int | None, mtp_trunk_state: TrunkState) -> ModelConfig:
    heads = keys.integer("num_attention_heads")
    hidden_size = keys.integer("hidden_size")
    head_dim = keys.integer("head_dim", hidden_size // max(heads, 1))
    layer = LayerConfig(
        window=None,
        is_sparse=False,
        num_attention_heads=heads,
        num_key_value_heads=keys.integer("num_key_value_heads", heads),
        head_dim=head_dim,
        v_head_dim=head_dim,
        rotary_dims=head_dim,
        rope_theta=keys.number("rope_theta", 10000.0),
        has_sink=False,
    )
    return ModelConfig(
        family="7b",
        vocab_size=keys.integer("vocab_size"),
        hidden_size=hidden_size,
        intermediate_size=keys.integer("intermediate_size"),
        layers=(layer,) * keys.integer("num_hidden_layers"),
        mtp_layer=layer,
        num_mtp_layers=keys.integer("num_nextn_predict_layers", 0) if num_mtp_layers is None else num_mtp_layers,
        mtp_trunk_state=mtp_trunk_state,
        rms_norm_eps=keys.epsilon(1e-6),
        max_position_embeddings=keys.integer("max_position_embeddings"),
        tie_word_embeddings=keys.flag("tie_word_embeddings", False),
        attention_bias=keys.flag("attention_bias", True),
        attention_value_scale=1.0,
        n_routed_experts=0,
        num_experts_per_tok=0,
        moe_intermediate_size=0,
        n_group=1,
        topk_group=1,
        norm_topk_prob=True,
        routed_scaling_factor=1.0,
        eos_token_ids=keys.eos(),
        num_qkv_chunks=1,
        announced=keys.announced(),
        ignored_keys=(),
        published={},
    )


def _validate(config: ModelConfig) -> None:
    for key in ("vocab_size", "hidden_size", "intermediate_size", "num_layers", "max_position_embeddings"):
        if getattr(config, key) < 1:
            raise ConfigError(f"config.json: {key} must be at least 1")
    for layer in (*config.layers, config.mtp_layer):
        heads, kv_heads = layer.num_attention_heads, layer.num_key_value_heads
        if heads < 1 or kv_heads < 1 or heads % kv_heads:
            raise ConfigError(f"config.json: {heads} query heads must be a multiple of {kv_heads} key-value heads")
        if layer.v_head_dim < 1 or layer.rotary_dims not in range(2, layer.head_dim + 1, 2):
            raise ConfigError(
                f"config.json: head_dim={layer.head_dim} with {layer.rotary_dims} rotated dims cannot work: "
                "the rotated dims must be even, from 2 to head_dim"
            )
        is_used = layer is not config.mtp_layer or config.num_mtp_layers > 0
        if is_used and layer.window is not None and layer.window < 1:
            raise ConfigError("config.json: sliding_window must let a token see at least one before it")
        if layer.rope_theta <= 0:
            raise ConfigError(f"config.json: rope_theta={layer.rope_theta} must be above 0")
    if config.rms_norm_eps <= 0:
        raise ConfigError(f"config.json: the norm epsilon {config.rms_norm_eps} must be above 0")
    if any(not 0 <= token_id < config.vocab_size for token_id in config.eos_token_ids):
        raise ConfigError(f"config.json: eos_token_id must be below vocab_size={config.vocab_size}")
    if any(layer.is_sparse for layer in config.layers):
        experts, chosen = config.n_routed_experts, config.num_experts_per_tok
        if not 1 <= chosen <= experts or config.moe_intermediate_size < 1:
            raise ConfigError(f"config.json: num_experts_per_tok={chosen} must be from 1 to n_routed_experts={experts}")
        if config.n_group < 1 or experts % config.n_group or not 1 <= config.topk_group <= config.n_group:
            raise ConfigError(f"config.json: n_group={config.n_group} must divide n_routed_experts={experts}")
