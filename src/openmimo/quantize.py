"""Smaller copies of checkpoint folders: q8 or q4, written one tensor at a time."""

import re
from pathlib import Path
from typing import Any, Literal

import ml_dtypes
import numpy as np

from openmimo import _native
from openmimo.checkpoint import SHARD_BYTES, Checkpoint, CheckpointWriter
from openmimo.errors import CheckpointError
from openmimo.formats import GROUP_SIZE, pack_codes, packed_config
from openmimo.names import tensor_shapes
from openmimo.tensorfile import Spec

__all__ = ["quantize_folder"]

PROJECTION = re.compile(r"_proj\.weight$")
BF16 = np.dtype(ml_dtypes.bfloat16)
TABLES = ("model.embed_tokens.weight", "lm_head.weight")
COMPANIONS = (
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "tokenizer_config.json",
    "chat_template.jinja",
    "generation_config.json",
    "preprocessor_config.json",
    "MODEL_CARD.md",
)


def quantize_folder(
    source: str | Path, target: str | Path, weights: Literal["q8", "q4"] = "q8", shard_bytes: int = SHARD_BYTES
) -> dict[str, int]:
    """Write a smaller copy of a checkpoint: projections as codes, everything else as it is.

    Embedding and head stay floats, as other engines want them, unless they are stored as codes. Fused projections are
    written apart, and what the text model does not use is copied. A tensor that has codes of the wanted width keeps
    them bit for bit.

    Args:
        source: a checkpoint folder.
        target: the folder to write; a new one appears whole or not at all.
        weights: number format of the projections.
        shard_bytes: most bytes of a weight file.
    Returns: "from_bytes" and "to_bytes", what the tensors take in either folder.
    Raises:
        CheckpointError: the source cannot be used, or is the target.
        OSError: the disk is full or not writable; nothing is left of the attempt.
    """
    source, target = Path(source), Path(target)
    if source.resolve() == target.resolve():
        raise CheckpointError(f"{target} would overwrite its own source: give another folder")
    checkpoint, bits = Checkpoint.open(source), int(weights[1])
    texts = {name: (source / name).read_text(encoding="utf-8") for name in COMPANIONS if (source / name).is_file()}
    names = list(tensor_shapes(checkpoint.config))
    if checkpoint.config.tie_word_embeddings:
        names.remove("lm_head.weight")
    groups = [_specs(checkpoint, name, bits) for name in names]
    media = {name: checkpoint.stored(name) for name in checkpoint.unused_names()}
    groups += [{name: Spec(tensor.dtype, tensor.shape)} for name, tensor in media.items()]
    with CheckpointWriter(target, _published(checkpoint, names, bits), groups, texts, shard_bytes) as writer:
        for name in names:
            writer.put(_tensors(checkpoint, name, bits))
            checkpoint.release(name)
        writer.put(media)
    return {
        "from_bytes": checkpoint.num_bytes(),
        "to_bytes": sum(s.num_bytes for group in groups for s in group.values()),
    }


def _becomes_codes(checkpoint: Checkpoint, name: str) -> bool:
    return PROJECTION.search(name) is not None or checkpoint.bits(name) is not None


def _specs(checkpoint: Checkpoint, name: str, bits: int) -> dict[str, Spec]:
    shape = checkpoint.shape(name)
    if not _becomes_codes(checkpoint, name):
        return {name: Spec(_kept_dtype(checkpoint, name), shape)}
    return {
        f"{name}_packed": Spec(np.dtype(np.int32), (shape[0], -(-shape[1] * bits // 32))),
        f"{name}_scale": Spec(BF16, (shape[0], -(-shape[1] // GROUP_SIZE))),
        f"{name}_shape": Spec(np.dtype(np.int64), (2,)),
    }


def _tensors(checkpoint: Checkpoint, name: str, bits: int) -> dict[str, np.ndarray]:
    if not _becomes_codes(checkpoint, name):
        return {name: checkpoint.floats(name).astype(_kept_dtype(checkpoint, name), copy=False)}
    codes_OI, scales_OG = _codes(checkpoint, name, bits)
    return {
        f"{name}_packed": pack_codes(codes_OI, bits),
        f"{name}_scale": scales_OG.astype(BF16),
        f"{name}_shape": np.array(codes_OI.shape, np.int64),
    }


def _codes(checkpoint: Checkpoint, name: str, bits: int) -> tuple[np.ndarray, np.ndarray]:
    if checkpoint.bits(name) == bits and (stored := checkpoint.quantized(name)):
        return stored.codes_OI, stored.scales_OG
    return _native.quantize(np.ascontiguousarray(checkpoint.load(name)), bits)


def _kept_dtype(checkpoint: Checkpoint, name: str) -> np.dtype:
    """As stored, but bf16 for tables: in float32 they would be most of a small model's file."""
    return BF16 if name in TABLES else checkpoint.float_dtype(name)


def _published(checkpoint: Checkpoint, names: list[str], bits: int) -> dict[str, Any]:
    published = dict(checkpoint.config.published)
    if "attention_projection_layout" in published:
        published["attention_projection_layout"] = "split"
    floats = [name.removesuffix(".weight") for name in TABLES if name in names and checkpoint.bits(name) is None]
    others = [rf"re:{first}\..*" for first in checkpoint.unused()]
    published["quantization_config"] = packed_config(bits, [*floats, *others])
    return published
