"""How a tensor lies in a checkpoint's files: in which format, beside which companions, alone or fused with others.

The files decide, not config.json: a tensor is fp8 if its dtype says so, packed if `X_packed` is there, and query, key
and value projections are fused if `qkv_proj` is there.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from openmimo.config import ModelConfig
from openmimo.errors import CheckpointError
from openmimo.formats import (
    BLOCK_SIZE,
    GROUP_SIZE,
    Quantized,
    dequantize,
    dequantize_fp8,
    dequantize_mxfp4,
    to_float32,
    unpack_codes,
)
from openmimo.tensorfile import Entry

__all__ = ["Part", "Storage", "find_storage"]

Read = Callable[[str], np.ndarray]
Shape = tuple[int, ...]

FLOATS = ("F32", "F16", "BF16")
BYTES = ("U8", "F8_E8M0")
QKV = {"q_proj": 0, "k_proj": 1, "v_proj": 2}


@dataclass(frozen=True)
class Part:
    """What a stored tensor must look like.

    Attributes:
        shape: its shape.
        dtypes: names of the dtypes that it may have.
        content: the integers that it must hold; None means that any numbers will do.
    """

    shape: Shape
    dtypes: tuple[str, ...]
    content: tuple[int, ...] | None = None


class Storage(Protocol):
    """One tensor of the model in the files."""

    @property
    def format(self) -> str:
        """What `show` calls it."""
        ...

    @property
    def parts(self) -> Mapping[str, Part]:
        """The stored tensors that it is made of."""
        ...

    def load(self, read: Read) -> np.ndarray:
        """The tensor as float32; `read` gives stored tensors by name."""
        ...


@dataclass(frozen=True)
class Rows:
    """Which rows of a stored matrix are the tensor's: a run of every chunk. A matrix of its own is one whole chunk.

    Fused projections are chunks of [Q rows | K rows | V rows], one for each key-value head of the global layers, and
    the fp8 blocks start anew in every chunk. Source: key attention_projection_layout; docs/checkpoint.md.
    """

    num_chunks: int
    chunk_rows: int
    begin: int
    end: int

    @property
    def stored(self) -> int:
        """Rows of the stored matrix."""
        return self.num_chunks * self.chunk_rows

    @property
    def blocks(self) -> int:
        """Rows of the stored fp8 scales."""
        return self.num_chunks * -(-self.chunk_rows // BLOCK_SIZE)

    def pick(self, matrix: np.ndarray) -> np.ndarray:
        """The tensor's rows of the stored matrix, in order; a view if that is all of them."""
        chunks = matrix.reshape(self.num_chunks, self.chunk_rows, -1)
        return chunks[:, self.begin : self.end].reshape(-1, matrix.shape[1])

    def pick_blocks(self, scales: np.ndarray) -> np.ndarray:
        """The stored fp8 scales of each of the tensor's rows."""
        chunks = scales.reshape(self.num_chunks, -1, scales.shape[1])
        return chunks[:, np.arange(self.begin, self.end) // BLOCK_SIZE].reshape(-1, scales.shape[1])


@dataclass(frozen=True)
class Plain:
    """Floats as they are."""

    name: str
    shape: Shape
    rows: Rows | None = None
    format: str = "plain"

    @property
    def parts(self) -> dict[str, Part]:
        shape = self.shape if self.rows is None else (self.rows.stored, self.shape[1])
        return {self.name: Part(shape, FLOATS)}

    def values(self, read: Read) -> np.ndarray:
        """The tensor in its stored dtype."""
        stored = read(self.name)
        return stored if self.rows is None else self.rows.pick(stored)

    def load(self, read: Read) -> np.ndarray:
        return to_float32(self.values(read))


@dataclass(frozen=True)
class Fp8:
    """e4m3 codes and a float32 scale for each 128x128 block."""

    name: str
    shape: Shape
    rows: Rows
    format: str = "fp8"

    @property
    def parts(self) -> dict[str, Part]:
        num_in = self.shape[1]
        return {
            self.name: Part((self.rows.stored, num_in), ("F8_E4M3",)),
            f"{self.name}_scale_inv": Part((self.rows.blocks, -(-num_in // BLOCK_SIZE)), FLOATS),
        }

    def load(self, read: Read) -> np.ndarray:
        scales = to_float32(read(f"{self.name}_scale_inv"))
        return dequantize_fp8(self.rows.pick(read(self.name)), self.rows.pick_blocks(scales))


@dataclass(frozen=True)
class Mxfp4:
    """e2m1 codes, two a byte, and an exponent for 32 inputs."""

    name: str
    shape: Shape
    rows: Rows
    format: str = "mxfp4"

    @property
    def parts(self) -> dict[str, Part]:
        num_in = self.shape[1]
        return {
            self.name: Part((self.rows.stored, -(-num_in // 2)), ("U8",)),
            f"{self.name}_scale": Part((self.rows.stored, -(-num_in // GROUP_SIZE)), BYTES),
        }

    def load(self, read: Read) -> np.ndarray:
        pairs, scales = read(self.name), read(f"{self.name}_scale").view(np.uint8)
        return dequantize_mxfp4(self.rows.pick(pairs), self.rows.pick(scales))[:, : self.shape[1]]


@dataclass(frozen=True)
class Packed:
    """Integer codes packed into words and a scale for 32 inputs: q8 or q4."""

    name: str
    shape: Shape
    rows: Rows
    bits: int

    @property
    def format(self) -> str:
        return f"q{self.bits}"

    @property
    def parts(self) -> dict[str, Part]:
        num_in = self.shape[1]
        return {
            f"{self.name}_packed": Part((self.rows.stored, -(-num_in * self.bits // 32)), ("I32",)),
            f"{self.name}_scale": Part((self.rows.stored, -(-num_in // GROUP_SIZE)), FLOATS),
            f"{self.name}_shape": Part((2,), ("I64",), (self.rows.stored, num_in)),
        }

    def quantized(self, read: Read) -> Quantized:
        """The stored codes, bit for bit."""
        packed = self.rows.pick(read(f"{self.name}_packed"))
        scales = to_float32(self.rows.pick(read(f"{self.name}_scale")))
        return Quantized(self.bits, unpack_codes(packed, self.shape[1], self.bits), np.ascontiguousarray(scales))

    def load(self, read: Read) -> np.ndarray:
        return dequantize(self.quantized(read))


def find_storage(name: str, shapes: Mapping[str, Shape], config: ModelConfig, entries: Mapping[str, Entry]) -> Storage:
    """Find out how a tensor is stored.

    Args:
        name: a name of `tensor_shapes`.
        shapes: `tensor_shapes` of the model.
        config: the model's shape.
        entries: what the files hold.
    Returns: its storage; whether the parts are there, and as they must be, is left to the caller.
    Raises:
        CheckpointError: projections are fused in chunks that do not divide the heads.
    """
    shape = shapes[name]
    if len(shape) != 2:
        return Plain(name, shape)
    stored, rows = name, Rows(1, shape[0], 0, shape[0])
    fused = _fused_name(name)
    if fused is not None and (fused in entries or f"{fused}_packed" in entries):
        stored, rows = fused, _fused_rows(name, shapes, config.num_qkv_chunks)
    if f"{stored}_packed" in entries and stored not in entries:
        return Packed(stored, shape, rows, _packed_bits(shape[1], entries[f"{stored}_packed"], config))
    dtype = entries[stored].dtype_name if stored in entries else ""
    if dtype == "F8_E4M3":
        return Fp8(stored, shape, rows)
    if dtype == "U8":
        return Mxfp4(stored, shape, rows)
    return Plain(stored, shape, rows)


def _fused_name(name: str) -> str | None:
    prefix, _, rest = name.rpartition(".self_attn.")
    part, _, kind = rest.partition(".")
    return f"{prefix}.self_attn.qkv_proj.weight" if part in QKV and kind == "weight" else None


def _fused_rows(name: str, shapes: Mapping[str, Shape], num_chunks: int) -> Rows:
    prefix, _, rest = name.rpartition(".self_attn.")
    rows = [shapes[f"{prefix}.self_attn.{part}.weight"][0] for part in QKV]
    if any(count % num_chunks for count in rows):
        raise CheckpointError(f"{prefix}.self_attn.qkv_proj.weight cannot be {num_chunks} chunks of {rows} rows")
    each = [count // num_chunks for count in rows]
    index = QKV[rest.partition(".")[0]]
    return Rows(num_chunks, sum(each), sum(each[:index]), sum(each[: index + 1]))


def _packed_bits(num_in: int, packed: Entry, config: ModelConfig) -> int:
    """The width of a row tells; at 4 inputs and fewer both take one word, and config.json has to."""
    width = packed.shape[-1] if packed.shape else 0
    if num_in <= 4:
        return 4 if config.announced.weights == "q4" else 8
    return 4 if width == -(-num_in // 8) else 8
