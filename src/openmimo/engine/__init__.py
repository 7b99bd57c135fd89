"""Serving engine: continuous batching, paged caches, sampling and speculative decoding over any back end."""

from openmimo.engine.engine import Engine, MtpChoice, Prompt, find_eos_ids, max_drafts
from openmimo.engine.params import SamplingParams
from openmimo.engine.request import Completion, Delta, DeltaStream, Handle, Stats, TokenLogprob

__all__ = [
    "Completion",
    "Delta",
    "DeltaStream",
    "Engine",
    "Handle",
    "MtpChoice",
    "Prompt",
    "SamplingParams",
    "Stats",
    "TokenLogprob",
    "find_eos_ids",
    "max_drafts",
]
