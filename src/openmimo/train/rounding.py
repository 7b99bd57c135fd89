"""Training of weights that will be rounded: forward and backward see the codes, the optimiser keeps the floats."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from openmimo import _native
from openmimo.formats import Quantized, dequantize
from openmimo.model.model import MiMo
from openmimo.train.shards import own

__all__ = ["CodeBits", "round_weight", "rounded"]

CodeBits = Literal[4, 8]
CODED = re.compile(r"(_proj|_proj\.weight|embed_tokens\.weight|lm_head\.weight)$")
"""Parameters that an engine keeps as codes: all matrices but the routers'."""


@contextmanager
def rounded(model: MiMo, bits: CodeBits) -> Iterator[None]:
    """Inside, the model computes with the weights of an engine of so many bits; afterwards it has its own again.

    Gradients that are taken inside pass straight through the rounding to the floats.

    Args:
        model: float32, split over processes or not; changed in place for the time being.
        bits: of a code.
    Yields:
        nothing.
    Source: straight-through estimator (Bengio et al. 2013); codes and scales are those of the native engine.
    """
    # A split model is cut between rows, and a scale belongs to one row: every process rounds its own.
    parts = [own(parameter.data) for name, parameter in model.named_parameters() if CODED.search(name)]
    floats = [part.clone() for part in parts]
    try:
        for part in parts:
            part.copy_(round_weight(part, bits))
        yield
    finally:
        for part, kept in zip(parts, floats, strict=True):
            part.copy_(kept)


def round_weight(weight: Tensor, bits: CodeBits) -> Tensor:
    """Round a weight as the native engine does: one scale for 32 inputs of a row.

    Args:
        weight: float32 [..., out, in].
        bits: of a code.
    Returns:
        float32 of the same shape.
    """
    if not weight.numel():
        return weight  # of a process without a row
    rows_OI = np.ascontiguousarray(weight.detach().cpu().numpy().reshape(-1, weight.shape[-1]))
    codes_OI, scales_OG = _native.quantize(rows_OI, bits)
    values = dequantize(Quantized(bits, codes_OI, scales_OG))
    return torch.from_numpy(values).view(weight.shape).to(weight.device)
