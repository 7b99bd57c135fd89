"""Number formats for weights: q8, one signed byte a weight with one bf16 scale for 32 of them.

On disk q8 is what compressed-tensors calls pack-quantized: codes + 128 as bytes, four to a little-endian int32.
"""

from typing import Any

import ml_dtypes
import numpy as np

from openmimo.errors import CheckpointError

__all__ = ["GROUP_SIZE", "dequantize_q8", "pack_q8", "q8_config", "quantize_q8", "unpack_q8"]

GROUP_SIZE = 32
"""Neighbouring weights of a row that share a scale; the last group of a row may be shorter."""


def quantize_q8(weight_OI: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Round a weight to signed bytes.

    Args:
        weight_OI: float32 [out, in].
    Returns:
        codes int8 [out, in], each in [-127, 127], and scales float32 [out, ceil(in / 32)] that bf16 holds exactly.
        Each weight is off by at most half its scale (bf16 rounds a scale by 1/512, a quarter step of code 127).
    Raises:
        CheckpointError: a weight is not finite.
    """
    num_out, num_in = weight_OI.shape
    weight_OI = np.asarray(weight_OI, np.float32)
    if not np.isfinite(weight_OI).all():
        raise CheckpointError("a weight to quantise is NaN or infinite: the checkpoint is damaged, save it again")
    padded = np.pad(weight_OI, ((0, 0), (0, -num_in % GROUP_SIZE))).reshape(num_out, -1, GROUP_SIZE)
    scales = (np.abs(padded).max(axis=2, initial=0) / 127).astype(ml_dtypes.bfloat16).astype(np.float32)
    steps = padded / np.where(scales > 0, scales, 1)[..., None]
    codes = np.clip(np.rint(steps), -127, 127).astype(np.int8)
    return np.ascontiguousarray(codes.reshape(num_out, -1)[:, :num_in]), scales


def dequantize_q8(codes_OI: np.ndarray, scales_OG: np.ndarray) -> np.ndarray:
    """Turn codes and scales back into a weight.

    Args:
        codes_OI: int8 [out, in].
        scales_OG: float32 [out, ceil(in / 32)].
    Returns: float32 [out, in].
    """
    scales_OI = np.repeat(scales_OG, GROUP_SIZE, axis=1)[:, : codes_OI.shape[1]]
    return codes_OI.astype(np.float32) * scales_OI


def pack_q8(codes_OI: np.ndarray) -> np.ndarray:
    """Pack codes for disk.

    Args:
        codes_OI: int8 [out, in].
    Returns: int32 [out, ceil(in / 4)]; byte b of word w is code 4w + b, plus 128; missing codes are zero bytes.
    """
    unsigned = np.ascontiguousarray(codes_OI).view(np.uint8) ^ 0x80
    return np.pad(unsigned, ((0, 0), (0, -codes_OI.shape[1] % 4))).view("<i4")


def unpack_q8(packed_OW: np.ndarray, num_in: int) -> np.ndarray:
    """Undo `pack_q8`.

    Args:
        packed_OW: int32 [out, ceil(num_in / 4)].
        num_in: codes in a row.
    Returns: int8 [out, num_in].
    """
    unsigned = np.ascontiguousarray(packed_OW).view(np.uint8)[:, :num_in]
    return (unsigned ^ 0x80).view(np.int8)


def q8_config() -> dict[str, Any]:
    """Describe q8 for config.json.

    Returns: the value of `quantization_config`.
    """
    weights = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "group", "group_size": GROUP_SIZE}
    return {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "config_groups": {"group_0": {"targets": ["Linear", "Embedding"], "weights": weights}},
        "ignore": [r"re:.*mlp\.gate$"],
    }
