"""The C++ engine. Use `openmimo.native`, which explains the arguments; every array is C-contiguous."""

import numpy as np
from numpy.typing import NDArray

Int32 = NDArray[np.int32]
Float32 = NDArray[np.float32]

PAGE: int

def read_bandwidth(threads: int, size: int) -> float: ...
def int8_peak(threads: int) -> float: ...

class LayerShape:
    def __init__(
        self,
        *,
        window: int,
        is_sparse: bool,
        heads: int,
        kv_heads: int,
        k_dim: int,
        v_dim: int,
        rotary_dims: int,
        rope_theta: float,
        has_sink: bool,
        has_bias: bool,
    ) -> None: ...

class RouterShape:
    def __init__(
        self, *, experts: int, chosen: int, groups: int, groups_kept: int, normalise: bool, scale: float
    ) -> None: ...

class ModelShape:
    is_v2: bool
    vocab: int
    hidden: int
    dense_hidden: int
    expert_hidden: int
    max_positions: int
    layers: list[LayerShape]
    mtp_layer: LayerShape
    num_mtp_layers: int
    mtp_reads_post_norm: bool
    is_tied: bool
    norm_eps: float
    value_scale: float
    router: RouterShape
    def __init__(self) -> None: ...

class Model:
    def __init__(
        self,
        shape: ModelShape,
        weights: str,
        kv: str,
        threads: int,
        num_slots: int,
        num_pages: int,
        instruction_set: str = "",
    ) -> None: ...
    @property
    def instruction_set(self) -> str: ...
    @property
    def threads(self) -> int: ...
    @property
    def weight_bytes(self) -> int: ...
    @property
    def cache_bytes(self) -> int: ...
    def tensor_names(self) -> list[str]: ...
    def code_bits(self, name: str) -> int: ...
    def set(self, name: str, values: Float32 | NDArray[np.uint16]) -> None: ...
    def set_codes(self, name: str, codes: NDArray[np.int8], scales: Float32) -> None: ...
    def start(self, num_ids: int, num_heads: int) -> None: ...
    def forward(
        self,
        token_ids_T: Int32,
        starts_N1: Int32,
        first_N: Int32,
        slots_N: Int32,
        pages_NP: Int32,
        wanted_B: Int32,
        logits_BV: Float32,
        best_B: Int32,
        hidden_TC: Float32 | None,
        routes_TLK: NDArray[np.uint16] | None = None,
    ) -> None: ...
    def commit(self, keep_N: Int32) -> None: ...
    def draft(
        self,
        token_ids_T: Int32,
        starts_N1: Int32,
        first_N: Int32,
        slots_N: Int32,
        pages_NP: Int32,
        wanted_B: Int32,
        counts_N: Int32,
        drafts_NK: Int32,
    ) -> None: ...
    def head_logits(
        self,
        head: int,
        token_ids_T: Int32,
        starts_N1: Int32,
        first_N: Int32,
        slots_N: Int32,
        pages_NP: Int32,
        wanted_B: Int32,
        hidden_TC: Float32,
        keep_N: Int32,
        logits_BV: Float32,
    ) -> None: ...

def quantize(
    weights: Float32, bits: int, instruction_set: str = ""
) -> tuple[NDArray[np.int8], NDArray[np.float32]]: ...

class _testing:
    """Single kernels, for the test suite."""

    @staticmethod
    def has_instruction_set(name: str) -> bool: ...
    @staticmethod
    def matmul(isa: str, kind: str, x: Float32, w: Float32, y: Float32) -> None: ...
    @staticmethod
    def round_trip(kind: str, w: Float32, back: Float32) -> None: ...
    @staticmethod
    def rms_norm(isa: str, x: Float32, w: Float32, eps: float, y: Float32) -> None: ...
    @staticmethod
    def silu_mul(isa: str, gate: Float32, up: Float32, weight: float, y: Float32) -> None: ...
    @staticmethod
    def run_jobs(threads: int, jobs: int, chunks: int, pause_us: int = 0, failing_chunk: int = -1) -> list[int]: ...
    @staticmethod
    def choose_experts(shape: RouterShape, logits: Float32, correction: Float32) -> list[tuple[int, float]]: ...
