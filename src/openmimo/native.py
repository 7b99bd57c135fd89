"""The native back end: hands a checkpoint's tensors to the C++ engine and checks everything that crosses the border."""

import os
from collections.abc import Mapping

import ml_dtypes
import numpy as np

from openmimo import _native
from openmimo.batch import PAGE_SIZE, Batch, StepResult
from openmimo.checkpoint import Checkpoint
from openmimo.config import LayerConfig, ModelConfig
from openmimo.errors import CapacityError, CheckpointError, ConfigError
from openmimo.formats import count_nonfinite
from openmimo.names import tensor_shapes

__all__ = ["KvKind", "NativeBackend", "WeightKind"]

WeightKind = str
"""How weights are kept in memory: "f32", "bf16", "q8" or "q4"."""

KvKind = str
"""How keys and values are kept in memory: "f32", "bf16" or "int8"."""

_KEPT_ROWS = 64  # of logits, that one step after the other is written to: fresh memory costs more than its writing
_KINDS = ("f32", "bf16", "q8", "q4")
_KV_KINDS = ("f32", "bf16", "int8")


class NativeBackend:
    """A model in the C++ engine with its own packed copy of the weights. Implements `openmimo.batch.Backend`.

    Calls are not thread-safe: one worker owns the object. The GIL is released while the engine works.

    The environment variable `OPENMIMO_ISA` (portable, avx2, avx512, neon, dotprod) asks for one table of kernels, for
    tests; without it the best table that the machine runs is taken.

    Args:
        checkpoint: an open checkpoint.
        weights: "f32" (exact), "bf16", "q8" or "q4" (codes of 8 or 4 bits with one scale for 32 inputs;
            activations are quantised to 8 bits the same way).
        threads: worker threads including the caller.
        num_slots: sequences whose window caches are kept at once.
        num_pages: pages of `PAGE_SIZE` positions in each global-attention cache.
        kv: how keys and values are kept: "f32", "bf16", or "int8" (codes with one scale for the keys and one for the
            values of each position and head); None is "f32" with f32 weights, else "bf16".
    Raises:
        ConfigError: an argument cannot work.
        CheckpointError: a tensor is missing or has the wrong shape.
        CapacityError: there is not enough memory.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        weights: WeightKind,
        threads: int,
        num_slots: int,
        num_pages: int,
        kv: KvKind | None = None,
    ):
        kv = kv or ("f32" if weights == "f32" else "bf16")
        _check_arguments(weights, kv, threads, num_slots, num_pages)
        self.config: ModelConfig = checkpoint.config
        self.weights, self.kv, self.threads = weights, kv, threads
        self.num_slots = num_slots
        self.num_pages = num_pages
        try:
            self._model = _new_model(self.config, weights, kv, threads, num_slots, num_pages)
            _load(self._model, checkpoint)
        except MemoryError:
            raise CapacityError(
                f"{checkpoint.folder} with weights={weights!r}, {num_slots} slots and {num_pages} cache pages needs "
                "more memory than this process can get: use smaller weights, fewer slots or a smaller cache"
            ) from None
        self._num_heads = 0
        self._logits_BV = np.empty((_KEPT_ROWS, self.config.vocab_size), np.float32)
        self._best_B = np.empty(_KEPT_ROWS, np.int32)

    @property
    def instruction_set(self) -> str:
        """The table of kernels in use: portable, avx2, avx512, neon or dotprod."""
        return self._model.instruction_set

    @property
    def weight_bytes(self) -> int:
        """Memory held by packed weights."""
        return self._model.weight_bytes

    @property
    def cache_bytes(self) -> int:
        """Memory reserved for keys and values; the system hands it out when it is first written."""
        return self._model.cache_bytes

    def start(self, num_ids: int, num_heads: int) -> None:
        """Say what will be asked for, before the first forward pass.

        Args:
            num_ids: ids below this one may be generated.
            num_heads: MTP heads that will draft; with 0 nothing is kept for them.
        Raises:
            ValueError: more ids or heads than the model has.
        """
        self._model.start(num_ids, num_heads)
        self._num_heads = num_heads

    def update(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Replace all weights in place, packed as at loading; caches stay as they are.

        Args:
            tensors: float32, by published name; where the embedding is the output head too, there is no "lm_head".
        Raises:
            CheckpointError: a tensor is missing, unknown, of the wrong type or shape, or holds NaN or infinite
                numbers; nothing was changed.
        """
        names = self._model.tensor_names()
        _check_names(names, tensors)
        shapes = tensor_shapes(self.config)
        ready = {name: _checked(name, tensors[name], shapes[name]) for name in names}
        for name, values in ready.items():
            self._model.set(name, values)

    def forward(self, batch: Batch, wants_hidden: bool = False, wants_routes: bool = False) -> StepResult:
        """Run the trunk over the batch's rows.

        Args:
            batch: new tokens, see `Batch`.
            wants_hidden: return the trunk state of every row.
            wants_routes: return the experts of every row.
        Returns:
            Logits and best ids of the wanted rows, trunk states and experts; overwritten by the next forward pass.
        Raises:
            ValueError: an array has the wrong type or shape, or an id, page, slot or position is out of range.
        """
        num_wanted = len(batch.wanted_B)
        logits_BV, best_B = self._logits_BV[:num_wanted], self._best_B[:num_wanted]
        hidden_TC = routes_TLK = None
        if num_wanted > _KEPT_ROWS:
            logits_BV = np.empty((num_wanted, self.config.vocab_size), np.float32)
            best_B = np.empty(num_wanted, np.int32)
        if wants_hidden:
            hidden_TC = np.empty((len(batch.token_ids_T), self.config.hidden_size), np.float32)
        if wants_routes:
            shape = (len(batch.token_ids_T), self.config.num_sparse_layers, self.config.num_experts_per_tok)
            routes_TLK = np.empty(shape, np.uint16)
        self._model.forward(*_arrays(batch), logits_BV, best_B, hidden_TC, routes_TLK)
        return StepResult(logits_BV, best_B, hidden_TC, routes_TLK)

    def commit(self, keep_N: np.ndarray) -> None:
        """Keep the first keep_N[n] rows of each sequence of the last `forward`.

        Args:
            keep_N: int32 [N], from 0 to that sequence's rows.
        Raises:
            ValueError: a wrong type, length or value, or no `forward` came before.
        """
        self._model.commit(_int32("keep_N", keep_N, 1))

    def draft(self, batch: Batch, counts_N: np.ndarray) -> np.ndarray:
        """Let the MTP heads propose tokens, each head's best id going into the next head.

        Args:
            batch: one row for each sequence, the token that was chosen last.
            counts_N: int32 [N], drafts for each sequence.
        Returns:
            int32 [N, num_heads]; row n begins with its counts_N[n] drafts, -1 where logits are not finite.
        Raises:
            ValueError: as `forward`, or more drafts than `start` gave heads.
        """
        drafts_NK = np.empty((len(counts_N), self._num_heads), np.int32)
        self._model.draft(*_arrays(batch), _int32("counts_N", counts_N, 1), drafts_NK)
        return drafts_NK

    def head_logits(self, head: int, batch: Batch, hidden_TC: np.ndarray, keep_N: np.ndarray) -> np.ndarray:
        """Score rows with one MTP head.

        Args:
            head: 0-based MTP head.
            batch: row at position i carries the token x_(i+1+head).
            hidden_TC: float32 [T, C], trunk state of position i for the row at position i.
            keep_N: int32 [N], leading rows of each sequence that stay in the head's window cache.
        Returns:
            float32 [B, V], logits of the wanted rows.
        Raises:
            ValueError: as `forward`, or there is no such head.
        """
        if hidden_TC.dtype != np.float32 or hidden_TC.shape != (len(batch.token_ids_T), self.config.hidden_size):
            raise ValueError(
                f"hidden_TC is {hidden_TC.dtype} {list(hidden_TC.shape)}, it must be float32 "
                f"[{len(batch.token_ids_T)}, {self.config.hidden_size}]: the trunk state of every row"
            )
        logits_BV = np.empty((len(batch.wanted_B), self.config.vocab_size), np.float32)
        keep_N = _int32("keep_N", keep_N, 1)
        self._model.head_logits(head, *_arrays(batch), np.ascontiguousarray(hidden_TC), keep_N, logits_BV)
        return logits_BV


def _check_arguments(weights: str, kv: str, threads: int, num_slots: int, num_pages: int) -> None:
    if weights not in _KINDS:
        raise ConfigError(f"weights={weights!r} must be one of {', '.join(_KINDS)}")
    if kv not in _KV_KINDS:
        raise ConfigError(f"kv={kv!r} must be one of {', '.join(_KV_KINDS)}")
    if not 1 <= threads <= 256:
        raise ConfigError(f"threads={threads} must be from 1 to 256")
    for name, value in (("num_slots", num_slots), ("num_pages", num_pages)):
        if not 1 <= value < 2**31:
            raise ConfigError(f"{name}={value} must be at least 1")


def _new_model(
    config: ModelConfig, weights: WeightKind, kv: KvKind, threads: int, num_slots: int, num_pages: int
) -> _native.Model:
    isa = os.environ.get("OPENMIMO_ISA", "")
    try:
        return _native.Model(_model_shape(config), weights, kv, threads, num_slots, num_pages, isa)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _layer_shape(config: ModelConfig, layer: LayerConfig) -> _native.LayerShape:
    return _native.LayerShape(
        window=-1 if layer.window is None else layer.window,
        is_sparse=layer.is_sparse,
        heads=layer.num_attention_heads,
        kv_heads=layer.num_key_value_heads,
        k_dim=layer.head_dim,
        v_dim=layer.v_head_dim,
        rotary_dims=layer.rotary_dims,
        rope_theta=layer.rope_theta,
        has_sink=layer.has_sink,
        has_bias=config.attention_bias,
    )


def _model_shape(config: ModelConfig) -> _native.ModelShape:
    shape = _native.ModelShape()
    shape.is_v2 = config.family == "v2"
    shape.vocab = config.vocab_size
    shape.hidden = config.hidden_size
    shape.dense_hidden = config.intermediate_size
    shape.expert_hidden = config.moe_intermediate_size
    shape.max_positions = config.max_position_embeddings
    shape.layers = [_layer_shape(config, layer) for layer in config.layers]
    shape.mtp_layer = _layer_shape(config, config.mtp_layer)
    shape.num_mtp_layers = config.num_mtp_layers
    shape.mtp_reads_post_norm = config.mtp_trunk_state == "post_norm"
    shape.is_tied = config.tie_word_embeddings
    shape.norm_eps = config.rms_norm_eps
    shape.value_scale = config.attention_value_scale
    shape.router = _native.RouterShape(
        experts=config.n_routed_experts,
        chosen=config.num_experts_per_tok,
        groups=config.n_group,
        groups_kept=config.topk_group,
        normalise=config.norm_topk_prob,
        scale=config.routed_scaling_factor,
    )
    return shape


def _load(model: _native.Model, checkpoint: Checkpoint) -> None:
    """One tensor at a time: the engine packs it and this process keeps no second copy."""
    for name in model.tensor_names():
        try:
            codes = checkpoint.quantized(name)
            if codes is not None and codes.bits == model.code_bits(name):
                model.set_codes(name, np.ascontiguousarray(codes.codes_OI), np.ascontiguousarray(codes.scales_OG))
            else:
                model.set(name, _plain(checkpoint, name))
            checkpoint.release(name)
        except CheckpointError:
            raise
        except ValueError as error:
            raise CheckpointError(f"{checkpoint.folder}: {error}") from error


def _check_names(names: list[str], tensors: Mapping[str, np.ndarray]) -> None:
    missing, unknown = [name for name in names if name not in tensors], sorted(tensors.keys() - set(names))
    for what, found in (("missing", missing), ("unknown", unknown)):
        if found:
            more = f" and {len(found) - 3} more" if len(found) > 3 else ""
            raise CheckpointError(
                f"new weights: {', '.join(found[:3])}{more} {'is' if len(found) == 1 else 'are'} {what}; give all of "
                f"the model's {len(names)} tensors by their published names, and no others"
            )


def _checked(name: str, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if values.dtype != np.float32 or values.shape != shape:
        raise CheckpointError(
            f"new weights: {name} is {values.dtype} {list(values.shape)}, it must be float32 {list(shape)}"
        )
    if count := count_nonfinite(values):
        raise CheckpointError(
            f"new weights: {name} holds {count} numbers that are NaN or infinite; the old weights stay"
        )
    return np.ascontiguousarray(values)


def _plain(checkpoint: Checkpoint, name: str) -> np.ndarray:
    """A tensor as float32, or as the bits of its bf16 numbers if that is how it is stored: no copy is made then."""
    is_bf16 = checkpoint.float_dtype(name) == ml_dtypes.bfloat16
    return np.ascontiguousarray(checkpoint.floats(name).view(np.uint16) if is_bf16 else checkpoint.load(name))


def _arrays(batch: Batch) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    return (
        _int32("token_ids_T", batch.token_ids_T, 1),
        _int32("starts_N1", batch.starts_N1, 1),
        _int32("first_N", batch.first_N, 1),
        _int32("slots_N", batch.slots_N, 1),
        _int32("pages_NP", batch.pages_NP, 2),
        _int32("wanted_B", batch.wanted_B, 1),
    )


def _int32(name: str, array: np.ndarray, ndim: int) -> np.ndarray:
    if array.dtype != np.int32 or array.ndim != ndim:
        raise ValueError(f"{name} is {array.dtype} with {array.ndim} axes, it must be int32 with {ndim}")
    return np.ascontiguousarray(array)


assert PAGE_SIZE == _native.PAGE, "a page of the batch protocol is a page of the C++ caches"
