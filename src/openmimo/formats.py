"""Number formats of stored weights: how codes and scales become numbers.

| format | a weight is | source |
| --- | --- | --- |
| fp8 | e4m3 code * float32 scale of its 128x128 block | published V2 checkpoints (`weight_scale_inv`, multiplied) |
| mxfp4 | e2m1 code * 2^(scale - 127), one scale for 32 inputs | OCP Microscaling Formats 1.0, `store_dtype mxfp4` |
| q8, q4 | signed code * bf16 scale, one scale for 32 inputs | compressed-tensors, "pack-quantized" |

O rows, I inputs, G groups of 32 inputs. A damaged scale or code comes out as NaN; whoever reads a tensor checks for it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

__all__ = [
    "BLOCK_SIZE",
    "GROUP_SIZE",
    "Quantized",
    "count_nonfinite",
    "dequantize",
    "dequantize_fp8",
    "dequantize_mxfp4",
    "pack_codes",
    "packed_config",
    "to_float32",
    "unpack_codes",
]

BLOCK_SIZE = 128
"""Rows and columns of the block of an fp8 weight that share a scale; blocks at the edges may be smaller."""
GROUP_SIZE = 32
"""Neighbouring weights of a row that share a scale (q8, q4, mxfp4); the last group of a row may be shorter."""

EMBEDDING = "model.embed_tokens"

_E4M3 = np.arange(256, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn).astype(np.float32)
_E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
_E2M1 = np.concatenate([_E2M1, -_E2M1])
_E8M0 = np.append(np.ldexp(np.float32(1), np.arange(255) - 127), np.nan).astype(np.float32)
_AT_ONCE = 2**20


@dataclass(frozen=True)
class Quantized:
    """A weight as signed codes with one scale for 32 inputs.

    Attributes:
        bits: 8 or 4.
        codes_OI: int8 [out, in], from -128 to 127 or from -8 to 7.
        scales_OG: float32 [out, ceil(in / 32)]; a weight is its code times its group's scale.
    """

    bits: int
    codes_OI: np.ndarray
    scales_OG: np.ndarray


def dequantize(quantized: Quantized) -> np.ndarray:
    """Turn codes and scales into a weight.

    Args:
        quantized: q8 or q4.
    Returns: float32 [out, in].
    """
    weight_OI = quantized.codes_OI.astype(np.float32)
    _scale_columns(weight_OI, quantized.scales_OG, GROUP_SIZE)
    return weight_OI


def dequantize_fp8(codes_OI: np.ndarray, scales_OB: np.ndarray) -> np.ndarray:
    """Turn an fp8 weight into numbers.

    Args:
        codes_OI: float8_e4m3fn [out, in].
        scales_OB: float32 [out, ceil(in / 128)], for each row the scales of its blocks.
    Returns: float32 [out, in].
    """
    weight_OI = np.empty(codes_OI.shape, np.float32)
    for rows in _few_rows(codes_OI):  # the table is faster than a cast, and indices of few rows at a time cost nothing
        np.take(_E4M3, codes_OI[rows].view(np.uint8), out=weight_OI[rows], mode="clip")
    _scale_columns(weight_OI, scales_OB, BLOCK_SIZE)
    return weight_OI


def dequantize_mxfp4(pairs_OJ: np.ndarray, scales_OG: np.ndarray) -> np.ndarray:
    """Turn an mxfp4 weight into numbers.

    Args:
        pairs_OJ: uint8 [out, in / 2], two codes a byte, the even input in the low half; bit 3 of a code is its sign.
        scales_OG: uint8 [out, ceil(in / 32)], exponents plus 127; 255 means NaN.
    Returns: float32 [out, in].
    """
    weight_OI = np.empty((pairs_OJ.shape[0], 2 * pairs_OJ.shape[1]), np.float32)
    for rows in _few_rows(pairs_OJ):
        weight_OI[rows, 0::2] = _E2M1[pairs_OJ[rows] & 15]
        weight_OI[rows, 1::2] = _E2M1[pairs_OJ[rows] >> 4]
    _scale_columns(weight_OI, _E8M0[scales_OG], GROUP_SIZE)
    return weight_OI


def pack_codes(codes_OI: np.ndarray, bits: int) -> np.ndarray:
    """Pack codes for disk.

    Args:
        codes_OI: int8 [out, in].
        bits: 8 or 4.
    Returns:
        int32 [out, ceil(in * bits / 32)]: code + 2^(bits - 1) as `bits` bits, first code lowest; missing ones are 0.
    """
    per_word = 32 // bits
    unsigned = (codes_OI.astype(np.int16) + (1 << (bits - 1))).astype(np.uint8)
    unsigned = np.pad(unsigned, ((0, 0), (0, -codes_OI.shape[1] % per_word)))
    if bits == 4:
        unsigned = unsigned[:, 0::2] | unsigned[:, 1::2] << 4
    return unsigned.view("<i4")


def unpack_codes(packed_OW: np.ndarray, num_in: int, bits: int) -> np.ndarray:
    """Undo `pack_codes`.

    Args:
        packed_OW: int32 [out, ceil(num_in * bits / 32)].
        num_in: codes in a row.
        bits: 8 or 4.
    Returns: int8 [out, num_in].
    """
    unsigned = np.ascontiguousarray(packed_OW).view(np.uint8)
    if bits == 8:
        return (unsigned[:, :num_in] ^ 0x80).view(np.int8)
    codes = np.empty((len(unsigned), 2 * unsigned.shape[1]), np.int8)
    np.bitwise_and(unsigned, 15, out=codes[:, 0::2].view(np.uint8))
    np.right_shift(unsigned, 4, out=codes[:, 1::2].view(np.uint8))
    codes -= 8
    return codes[:, :num_in]


def packed_config(bits: int, floats: Sequence[str]) -> dict[str, Any]:
    """Describe q8 or q4 for config.json.

    Args:
        bits: 8 or 4.
        floats: modules besides routers that are not packed: names, or patterns that begin with "re:".
    Returns: the value of `quantization_config`.
    """
    weights = {"num_bits": bits, "type": "int", "symmetric": True, "strategy": "group", "group_size": GROUP_SIZE}
    targets = ["Linear"] if EMBEDDING in floats else ["Linear", "Embedding"]
    return {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "config_groups": {"group_0": {"targets": targets, "weights": weights}},
        "ignore": [*floats, r"re:.*mlp\.gate$"],
    }


def to_float32(values: np.ndarray) -> np.ndarray:
    """Widen stored floats.

    Args:
        values: float32, float16 or bfloat16.
    Returns: float32, the same numbers; a copy only if it must be.
    """
    return values.astype(np.float32, copy=False)


def count_nonfinite(values: np.ndarray) -> int:
    """Count what is not a number.

    Args:
        values: float32, float16 or bfloat16, any shape.
    Returns: how many are NaN or infinite.
    """
    flat = values.reshape(-1)
    parts = (flat[begin : begin + _AT_ONCE] for begin in range(0, len(flat), _AT_ONCE))
    return sum(len(part) - int(np.count_nonzero(np.isfinite(part))) for part in parts)


def _scale_columns(weight_OI: np.ndarray, scales_OG: np.ndarray, size: int) -> None:
    """Multiply in place, each run of `size` columns of a row by its own scale."""
    whole = weight_OI.shape[1] // size * size
    groups = weight_OI[:, :whole].reshape(len(weight_OI), -1, size)  # a view: only the last axis is split
    groups *= scales_OG[:, : whole // size, None]
    if whole < weight_OI.shape[1]:
        weight_OI[:, whole:] *= scales_OG[:, -1:]


def _few_rows(matrix: np.ndarray) -> Iterator[slice]:
    step = max(1, _AT_ONCE // 16 // max(1, matrix.shape[1]))
    return (slice(begin, begin + step) for begin in range(0, len(matrix), step))
