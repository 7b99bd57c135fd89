"""Optimisers: AdamW as in the papers, Muon for matrices where a recipe asks for it, one schedule for both."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from openmimo.train.processes import computes_bf16
from openmimo.train.shards import full, own, part_like

__all__ = ["Muon", "OptimConfig", "learning_rate", "make_optimizers"]

BETAS = (0.9, 0.95)


@dataclass(frozen=True)
class OptimConfig:
    """Optimiser settings.

    Attributes:
        lr: AdamW's step.
        matrix_lr: Muon's step for the matrices of blocks (each expert of a stack being one); None leaves them to AdamW.
        weight_decay: decoupled, on matrices only.
        eps: AdamW's; how many tiny gradients count depends on it, and with them `num_zeros`.
        warmup: share of the run with a rising learning rate.
        decay: share of the run, at its end, with a linearly falling one.
        clip: largest gradient norm.
    Source: betas 0.9 and 0.95, decay 0.1, clip 1.0, eps 1e-8 of MiMo-V2-Flash. Its peak of 3.2e-4 is for 15B active
    parameters; a few million stand ten times that.
    """

    lr: float = 3e-3
    matrix_lr: float | None = None
    weight_decay: float = 0.1
    eps: float = 1e-8
    warmup: float = 0.02
    decay: float = 0.4
    clip: float = 1.0


class Muon(torch.optim.Optimizer):
    """Momentum, then each matrix is replaced by its nearest orthogonal one (Newton-Schulz).

    torch.optim.Muon takes single matrices only; here all equal shapes, expert stacks included, go through one batched
    iteration, which on a CPU is several times faster. Of a model that is split over processes, each of them takes the
    whole of every matrix, and of a stack the experts that it has.

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
                update = own(update) if parameter.ndim > 2 else full(update)
                by_shape[parameter.shape[-2:]].append((parameter, update.reshape(-1, *parameter.shape[-2:])))
            for shape, pairs in by_shape.items():
                updates = orthogonalise(torch.cat([update for _, update in pairs]))
                scale = max(1.0, shape[0] / shape[1]) ** 0.5
                for (parameter, _), update in zip(pairs, updates.split([u.shape[0] for _, u in pairs]), strict=True):
                    part = own(parameter)
                    step = update if parameter.ndim > 2 else own(part_like(update.view(parameter.shape), parameter))
                    part.mul_(1 - group["lr"] * group["weight_decay"])
                    part.add_(step.reshape(part.shape).to(part.dtype), alpha=-group["lr"] * scale)


def orthogonalise(x_NRC: Tensor, steps: int = 4) -> Tensor:
    """Push every matrix's singular values towards 1.

    Args:
        x_NRC: float [N, R, C].
        steps: Newton-Schulz iterations.
    Returns:
        [N, R, C], bfloat16 where the device computes in it; elsewhere it would take ten times as long as float32.
    """
    is_tall = x_NRC.shape[1] > x_NRC.shape[2]
    x = x_NRC.transpose(1, 2) if is_tall else x_NRC
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] * 1.02 + 1e-7)
    x = x.bfloat16() if computes_bf16(x.device) else x.float()
    for _ in range(steps):
        gram = x @ x.transpose(1, 2)
        poly = torch.baddbmm(gram, gram, gram, beta=-4.7750, alpha=2.0315)
        x = torch.baddbmm(x, poly, x, beta=3.4445, alpha=1.0)
    return x.transpose(1, 2) if is_tall else x


def make_optimizers(model: nn.Module, config: OptimConfig) -> list[torch.optim.Optimizer]:
    """Split the trainable parameters over optimisers.

    Args:
        model: only parameters that require a gradient are taken.
        config: learning rates, weight decay, and whether Muon gets the matrices of blocks.
    Returns:
        one optimiser, or two with Muon; the groups keep their peak rate in `peak_lr`.
    """
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    by_muon = [p for name, p in trained if config.matrix_lr is not None and _is_block_matrix(name, p)]
    taken = {id(parameter) for parameter in by_muon}
    rest = [parameter for _, parameter in trained if id(parameter) not in taken]
    groups = [
        {"params": [p for p in rest if p.ndim >= 2], "weight_decay": 0.0 if by_muon else config.weight_decay},
        {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    optimizers: list[torch.optim.Optimizer] = []
    if by_muon and config.matrix_lr is not None:
        optimizers.append(Muon(by_muon, lr=config.matrix_lr, weight_decay=config.weight_decay))
    if groups:
        optimizers.append(torch.optim.AdamW(groups, lr=config.lr, betas=BETAS, eps=config.eps, fused=True))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


def _is_block_matrix(name: str, parameter: nn.Parameter) -> bool:
    return parameter.ndim >= 2 and not any(key in name for key in ("embed_tokens", "lm_head", ".gate.weight"))


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
