"""Run under torchrun: both optimisers move a split model as they move a whole one, given the same gradients."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from drills import text_files

from openmimo.train.best import BestWeights
from openmimo.train.optim import OptimConfig, make_optimizers
from openmimo.train.shards import full, part_like, shard, whole
from tests.torch.drill_model import tiny_model

torch.set_num_threads(1)
dist.init_process_group("gloo")
plain, split = tiny_model(), tiny_model()
shard(split)
generator = torch.Generator().manual_seed(1)
for one, other in zip(plain.parameters(), split.parameters(), strict=True):
    if one.requires_grad:
        gradient = torch.randn(one.shape, generator=generator)
        one.grad, other.grad = gradient, part_like(gradient, other)
for model in (plain, split):
    for optimizer in make_optimizers(model, OptimConfig(lr=0.1, matrix_lr=0.1)):
        optimizer.step()
        optimizer.step()
for (name, one), other in zip(plain.named_parameters(), split.parameters(), strict=True):
    assert torch.allclose(one, full(other), atol=1e-6), name

# What the first process makes of the weights, all have.
kept = tiny_model(2)
for name, bias in kept.named_parameters():
    if name.endswith("e_score_correction_bias"):
        bias += 1
with whole(split, keeps_changes=True):
    if dist.get_rank() == 0:
        best = BestWeights(Path(sys.argv[1]), text_files())
        best.offer(kept, 1, 1.0)
        assert best.restore(split) == 1
for (name, one), other in zip(kept.named_parameters(), split.parameters(), strict=True):
    assert (one == full(other)).all(), name
with whole(split):
    assert all(
        parameter.shape == one.shape for parameter, one in zip(split.parameters(), plain.parameters(), strict=True)
    )
dist.destroy_process_group()
