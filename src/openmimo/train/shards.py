"""A model split over the processes of a run: each keeps its part of every parameter, gradient and moment (FSDP2).

A block is whole only while it runs. Parts are cut along the first dimension: an expert of a stack stays in one piece.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from openmimo.model.model import MiMo
from openmimo.train.processes import training_device

__all__ = ["full", "is_sharded", "own", "part_like", "shard", "whole"]


def shard(model: MiMo) -> None:
    """Split a model over all processes; from here on they must run it equally often, forward and backward.

    Args:
        model: the same on every process, on the training device. The routers' correction biases stay whole: every
            process moves them alike.
    """
    mesh = init_device_mesh(training_device().type, (dist.get_world_size(),))
    biases = {bias for name, bias in model.named_parameters() if name.endswith("e_score_correction_bias")}
    for module in [*model.model.layers, *model.heads, model]:
        fully_shard(module, mesh=mesh, ignored_params=biases)


def is_sharded(model: nn.Module) -> bool:
    """Whether `shard` has split it."""
    return isinstance(model, FSDPModule)


@contextmanager
def whole(model: MiMo, keeps_changes: bool = False) -> Iterator[None]:
    """The time during which every process has all weights, and each may run the model on its own.

    Args:
        model: split or not; one that is not stays as it is.
        keeps_changes: what the first process has made of the weights by the end is what all have from then on.
    Yields:
        nothing.
    """
    modules = [module for module in model.modules() if isinstance(module, FSDPModule)]
    parts = dict(model.named_parameters())
    for module in modules:
        module.set_reshard_after_forward(False, recurse=False)
        module.unshard()
    try:
        yield
        for name, weights in model.named_parameters() if modules and keeps_changes else ():
            dist.broadcast(weights.data, 0)
            if isinstance(part := parts[name], DTensor):
                own(part).data.copy_(own(part_like(weights.data, part)))
    finally:
        for module in modules:
            module.reshard()
            module.set_reshard_after_forward(module is not model, recurse=False)


def own(tensor: Tensor) -> Tensor:
    """This process's part of a split tensor, or the tensor itself where it is whole."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def full(tensor: Tensor) -> Tensor:
    """All of a split tensor, which takes every process, or the tensor itself where it is whole."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def part_like(tensor: Tensor, like: Tensor) -> Tensor:
    """Cut a whole tensor as another one is cut.

    Args:
        tensor: whole, the same on every process.
        like: of the same shape, split or not.
    Returns:
        the tensor, split the same way.
    """
    if not isinstance(like, DTensor):
        return tensor
    mesh = like.device_mesh
    rows = -(-like.shape[0] // mesh.size())
    cut = tensor[rows * mesh.get_local_rank() :][:rows].contiguous()
    return DTensor.from_local(cut, mesh, like.placements, run_check=False, shape=like.shape, stride=like.stride())
