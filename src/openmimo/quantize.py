"""Quantise: whole checkpoint folders to q8, and the q8 arithmetic for single weights."""

import re
from pathlib import Path

import ml_dtypes
import numpy as np

from openmimo.checkpoint import Checkpoint, save_checkpoint, tensor_shapes
from openmimo.errors import CheckpointError
from openmimo.q8 import dequantize_q8, pack_q8, q8_config, quantize_q8

__all__ = ["dequantize_q8", "quantize_folder", "quantize_q8"]

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
    save_checkpoint(target, {**checkpoint.config.published, "quantization_config": q8_config()}, tensors, texts)


def _quantized_parts(checkpoint: Checkpoint, name: str) -> dict[str, np.ndarray]:
    codes_OI, scales_OG = checkpoint.quantized(name) or quantize_q8(checkpoint.load(name))
    return {
        f"{name}_packed": pack_q8(codes_OI),
        f"{name}_scale": scales_OG.astype(ml_dtypes.bfloat16),
        f"{name}_shape": np.array(codes_OI.shape, np.int64),
    }
