"""Quantise: whole checkpoint folders to q8, and the q8 arithmetic for single weights."""

import re
from pathlib import Path

import ml_dtypes
import numpy as np

from openmimo.checkpoint import Checkpoint, save_checkpoint
from openmimo.errors import CheckpointError
from openmimo.formats import GROUP_SIZE, Quantized, pack_codes, packed_config
from openmimo.names import tensor_shapes

__all__ = ["quantize_folder", "quantize_q8"]

QUANTISED_NAME = re.compile(r"(?:_proj|embed_tokens|lm_head)\.weight$")
COMPANIONS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "generation_config.json",
    "MODEL_CARD.md",
)


def quantize_folder(source: str | Path, target: str | Path) -> None:
    """Write a q8 copy of a checkpoint: linear weights and the embedding as bytes, everything else as it is.

    Args:
        source: a checkpoint folder.
        target: the folder to write.
    Raises:
        CheckpointError: the source cannot be used, or is the target.
    """
    source, target = Path(source), Path(target)
    if source.resolve() == target.resolve():
        raise CheckpointError(f"{target} would overwrite its own source: give another folder")
    checkpoint = Checkpoint.open(source)
    names = list(tensor_shapes(checkpoint.config))
    if checkpoint.config.tie_word_embeddings:
        names.remove("lm_head.weight")
    tensors: dict[str, np.ndarray] = {}
    for name in names:
        is_quantised = QUANTISED_NAME.search(name) is not None
        tensors |= _quantized_parts(checkpoint, name) if is_quantised else {name: checkpoint.stored(name)}
    texts = {name: (source / name).read_text(encoding="utf-8") for name in COMPANIONS if (source / name).is_file()}
    save_checkpoint(target, {**checkpoint.config.published, "quantization_config": packed_config(8)}, tensors, texts)


def quantize_q8(weight_OI: np.ndarray) -> Quantized:
    """Round a weight to signed bytes.

    Args:
        weight_OI: float32 [out, in].
    Returns:
        codes in [-127, 127], and scales that bf16 holds exactly. Each weight is off by at most half its scale (bf16
        rounds a scale by 1/512, a quarter step of code 127).
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
    return Quantized(8, np.ascontiguousarray(codes.reshape(num_out, -1)[:, :num_in]), scales)


def _quantized_parts(checkpoint: Checkpoint, name: str) -> dict[str, np.ndarray]:
    quantized = checkpoint.quantized(name) or quantize_q8(checkpoint.load(name))
    return {
        f"{name}_packed": pack_codes(quantized.codes_OI, quantized.bits),
        f"{name}_scale": quantized.scales_OG.astype(ml_dtypes.bfloat16),
        f"{name}_shape": np.array(quantized.codes_OI.shape, np.int64),
    }
