"""Optimisers for small MiMo models: Muon on matrices, AdamW on the rest, one learning-rate schedule for both."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["Muon", "OptimConfig", "learning_rate", "make_optimizers"]


@dataclass(frozen=True)
class OptimConfig:
    """Optimiser settings.

    Attributes:
        matrix_lr: Muon's step for matrices (also for each expert of a stack).
        lr: AdamW's step for embeddings, norms, sinks and routers.
        weight_decay: decoupled, on matrices only.
        warmup: share of the run with a rising learning rate.
        decay: share of the run, at its end, with a linearly falling one.
        clip: largest gradient norm.
    """

    matrix_lr: float = 0.02
    lr: float = 3e-3
    weight_decay: float = 0.05
    warmup: float = 0.02
    decay: float = 0.4
    clip: float = 1.0


class Muon(torch.optim.Optimizer):
    """Momentum, then each matrix is replaced by its nearest orthogonal one (Newton-Schulz).

    torch.optim.Muon takes single matrices only; here all equal shapes, expert stacks included, go through one batched
    iteration, which on a CPU is several times faster.

    Source: Jordan et al., "Muon", 2024; quintic coefficients from there.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.0
    ):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[tuple[nn.Parameter, Tensor]]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                momentum = state.setdefault("momentum", torch.zeros_like(parameter))
                momentum.lerp_(parameter.grad, 1 - group["momentum"])
                update = parameter.grad.lerp(momentum, group["momentum"])
                by_shape[parameter.shape[-2:]].append((parameter, update.reshape(-1, *parameter.shape[-2:])))
            for shape, pairs in by_shape.items():
                updates = orthogonalise(torch.cat([update for _, update in pairs]))
                scale = max(1.0, shape[0] / shape[1]) ** 0.5
                for (parameter, _), update in zip(pairs, updates.split([u.shape[0] for _, u in pairs]), strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(update.reshape(parameter.shape).to(parameter.dtype), alpha=-group["lr"] * scale)


def orthogonalise(x_NRC: Tensor, steps: int = 4) -> Tensor:
    """Push every matrix's singular values towards 1.

    Args:
        x_NRC: float [N, R, C].
        steps: Newton-Schulz iterations.
    Returns:
        bfloat16 [N, R, C].
    """
    is_tall = x_NRC.shape[1] > x_NRC.shape[2]
    x = x_NRC.transpose(1, 2) if is_tall else x_NRC
    x = (x / (x.flatten(1).norm(dim=1)[:, None, None] * 1.02 + 1e-7)).bfloat16()
    for _ in range(steps):
        gram = x @ x.transpose(1, 2)
        poly = torch.baddbmm(gram, gram, gram, beta=-4.7750, alpha=2.0315)
        x = torch.baddbmm(x, poly, x, beta=3.4445, alpha=1.0)
    return x.transpose(1, 2) if is_tall else x


def make_optimizers(model: nn.Module, config: OptimConfig) -> list[torch.optim.Optimizer]:
    """Split the trainable parameters: matrices of blocks to Muon, everything else to AdamW (0.9, 0.95).

    Args:
        model: only parameters that require a gradient are taken.
        config: learning rates and weight decay.
    Returns:
        one optimiser for each group that is not empty; the groups keep their peak rate in `peak_lr`.
    """
    matrices, others = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_matrix = parameter.ndim >= 2 and not any(
                key in name for key in ("embed_tokens", "lm_head", ".gate.weight")
            )
            (matrices if is_matrix else others).append(parameter)
    optimizers: list[torch.optim.Optimizer] = []
    if matrices:
        optimizers.append(Muon(matrices, lr=config.matrix_lr, weight_decay=config.weight_decay))
    if others:
        optimizers.append(torch.optim.AdamW(others, lr=config.lr, betas=(0.9, 0.95), weight_decay=0.0, fused=True))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


def learning_rate(progress: float, config: OptimConfig) -> float:
    """Share of the peak learning rate at a point of the run: warm-up, stable, linear decay to zero.

    Args:
        progress: 0 at the first step, 1 after the last.
        config: gives warmup and decay.
    Returns:
        factor from 0 to 1; with warmup 0.02 and decay 0.4 it is 0.5 at progress 0.01, 1 at 0.3 and 0.5 at 0.8.
    """
    rising = progress / config.warmup if config.warmup else 1.0
    falling = (1 - progress) / config.decay if config.decay else 1.0
    return max(0.0, min(1.0, rising, falling))
