"""The processes of one run: alone, or several under torchrun that average their gradients."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = [
    "CPU",
    "computes_bf16",
    "from_all",
    "from_first",
    "process_group",
    "rank_and_world",
    "sum_over_processes",
    "training_device",
]

Made = TypeVar("Made")
CPU = torch.device("cpu")


@contextmanager
def process_group() -> Iterator[bool]:
    """Join the group that torchrun started, if it did, and share the cores among its processes.

    Yields:
        True on the process that talks to people, which is the only one without torchrun.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1 or "OMP_NUM_THREADS" not in os.environ:  # torchrun sets it to 1, whatever the machine has
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // world))
    if world == 1 or dist.is_initialized():
        yield rank_and_world()[0] == 0
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(training_device())
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield dist.get_rank() == 0
    finally:
        dist.destroy_process_group()


def rank_and_world() -> tuple[int, int]:
    """Number of this process and number of processes; (0, 1) alone."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def training_device() -> torch.device:
    """The GPU of this process if there is one, else the CPU."""
    if not torch.cuda.is_available():
        return CPU
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())


@cache
def computes_bf16(device: torch.device) -> bool:
    """Whether matrix products in bfloat16 are faster than in float32 here, and not merely possible."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    words = Path("/proc/cpuinfo").read_text(encoding="utf-8").split() if sys.platform == "linux" else []
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(words)


def from_first(make: Callable[[], Made]) -> Made:
    """What the first process makes, on every process; the others wait for it.

    Args:
        make: called on the first process only.
    Returns:
        its result, as a copy on the others.
    """
    rank, world = rank_and_world()
    made: list[Any] = [make() if rank == 0 else None]
    if world > 1:
        dist.broadcast_object_list(made, device=training_device())
    return made[0]


def from_all(made: Made) -> list[Made]:
    """What every process made, on every process.

    Args:
        made: by this one.
    Returns:
        theirs, in the order of their numbers.
    """
    found: list[Any] = [made] * rank_and_world()[1]
    if len(found) > 1:
        dist.all_gather_object(found, made)
    return found


def sum_over_processes(tensors: Sequence[Tensor]) -> None:
    """Replace tensors by their sums over all processes, in one exchange.

    Args:
        tensors: float32 of one device, the same shapes on every process; changed in place.
    """
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    for tensor, total in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(total.view_as(tensor))
