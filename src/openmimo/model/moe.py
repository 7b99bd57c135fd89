"""Feed-forward blocks in torch: the dense gated MLP and the sigmoid-routed mixture of experts."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openmimo.config import ModelConfig

__all__ = ["MLP", "MoE", "Router", "balance_bias", "on_grid"]

ROW_GRID = 64


class MLP(nn.Module):
    """Gated feed-forward: down(silu(gate x) * up x).

    Source: key intermediate_size.
    """

    def __init__(self, hidden_size: int, intermediate_size: int):
        super().__init__()
        self.gate_proj = nn.Linear(hidden_size, intermediate_size, bias=False)
        self.up_proj = nn.Linear(hidden_size, intermediate_size, bias=False)
        self.down_proj = nn.Linear(intermediate_size, hidden_size, bias=False)

    def forward(self, x_BTC: Tensor) -> Tensor:
        """Map float [B, T, C] to float [B, T, C]."""
        return self.down_proj(F.silu(self.gate_proj(x_BTC)) * self.up_proj(x_BTC))


class Router(nn.Module):
    """Chooses experts in float32: sigmoid scores, a correction bias for the choice only, grouped top-k.

    Attributes:
        load_E: float32 [E], tokens, padding not counted, sent to each expert since the last `balance_bias`; training
            only.
        balance_loss: the sequence-level auxiliary loss of the last training pass, else None.
    Source: scoring_func sigmoid, topk_method noaux_tc, n_group, topk_group, norm_topk_prob, routed_scaling_factor.
    """

    load_E: Tensor

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.empty(config.n_routed_experts, config.hidden_size))
        self.e_score_correction_bias = nn.Parameter(torch.zeros(config.n_routed_experts), requires_grad=False)
        self.register_buffer("load_E", torch.zeros(config.n_routed_experts), persistent=False)
        self.balance_loss: Tensor | None = None

    def forward(self, x_BTC: Tensor, routes_BTK: Tensor | None = None, is_real_BT: Tensor | None = None) -> Tensor:
        """Mixing weights of every expert, zero for those not chosen.

        Args:
            x_BTC: normed activations, float [B, T, C].
            routes_BTK: int64 [B, T, K], experts to replay instead of choosing; -1 for a token that chooses freely.
                Their weights are this router's own, so that it learns.
            is_real_BT: bool [B, T], False for padding, which counts as no load; None means that there is none.
        Returns:
            float32 [B, T, E].
        """
        with torch.autocast(x_BTC.device.type, enabled=False):
            scores_BTE = torch.sigmoid(F.linear(x_BTC.float(), self.weight.float()))
        chosen_BTE = self._choose(scores_BTE.detach())
        if routes_BTK is not None:
            replayed_BTE = torch.zeros_like(chosen_BTE).scatter(-1, routes_BTK.clamp_min(0), 1.0)
            chosen_BTE = torch.where(routes_BTK[..., :1] < 0, chosen_BTE, replayed_BTE)
        gates_BTE = scores_BTE * chosen_BTE
        if self.config.norm_topk_prob:
            gates_BTE = gates_BTE / (gates_BTE.sum(-1, keepdim=True) + 1e-20)
        if self.training:
            counted_BTE = chosen_BTE if is_real_BT is None else chosen_BTE * is_real_BT[..., None]
            self.load_E += counted_BTE.sum((0, 1))
            self.balance_loss = self._sequence_balance(scores_BTE, chosen_BTE)
        return gates_BTE * self.config.routed_scaling_factor

    def _choose(self, scores_BTE: Tensor) -> Tensor:
        config = self.config
        biased = scores_BTE + self.e_score_correction_bias
        if config.n_group > 1:
            grouped = biased.unflatten(-1, (config.n_group, -1))
            group_score = grouped.topk(min(2, grouped.shape[-1]), dim=-1).values.sum(-1)
            kept = torch.zeros_like(group_score).scatter(-1, group_score.topk(config.topk_group, dim=-1).indices, 1.0)
            biased = grouped.masked_fill(kept[..., None] == 0, -torch.inf).flatten(-2)
        ids_BTK = biased.topk(config.num_experts_per_tok, dim=-1).indices
        return torch.zeros_like(scores_BTE).scatter(-1, ids_BTK, 1.0)

    def _sequence_balance(self, scores_BTE: Tensor, chosen_BTE: Tensor) -> Tensor:
        share_BE = chosen_BTE.mean(1) * (self.config.n_routed_experts / self.config.num_experts_per_tok)
        probability_BE = (scores_BTE / scores_BTE.sum(-1, keepdim=True)).mean(1)
        return (share_BE * probability_BE).sum(-1).mean()


class MoE(nn.Module):
    """Routed experts, stored as stacks [E, F, C] and [E, C, F]; each runs on its own rows.

    Source: keys n_routed_experts, num_experts_per_tok, moe_intermediate_size.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        num_experts, width, hidden = config.n_routed_experts, config.moe_intermediate_size, config.hidden_size
        self.gate = Router(config)
        self.gate_proj = nn.Parameter(torch.empty(num_experts, width, hidden))
        self.up_proj = nn.Parameter(torch.empty(num_experts, width, hidden))
        self.down_proj = nn.Parameter(torch.empty(num_experts, hidden, width))

    def forward(self, x_BTC: Tensor, routes_BTK: Tensor | None = None, is_real_BT: Tensor | None = None) -> Tensor:
        """Map float [B, T, C] to float [B, T, C]; the rest as in `Router.forward`."""
        gates_RE = self.gate(x_BTC, routes_BTK, is_real_BT).flatten(0, 1)
        x_RC = x_BTC.flatten(0, 1)
        experts_N, rows_N = (gates_RE.T != 0).nonzero().unbind(-1)  # sorted by expert
        counts = (gates_RE != 0).sum(0).tolist()
        stacks = (self.gate_proj.unbind(), self.up_proj.unbind(), self.down_proj.unbind())
        outputs = [
            on_grid(partial(_expert, gate=gate, up=up, down=down), x)
            for x, gate, up, down in zip(x_RC[rows_N].split(counts), *stacks, strict=True)
        ]
        weighted_NC = torch.cat(outputs).float() * gates_RE[rows_N, experts_N, None]
        out_RC = torch.zeros_like(x_RC, dtype=torch.float32).index_add(0, rows_N, weighted_NC)
        return out_RC.view_as(x_BTC).to(x_BTC.dtype)


def _expert(x_NC: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    return F.linear(F.silu(F.linear(x_NC, gate)) * F.linear(x_NC, up), down)


def on_grid(product: Callable[[Tensor], Tensor], x_RC: Tensor) -> Tensor:
    """Run a product over rows whose number changes from call to call.

    In bfloat16 on a CPU every new shape builds a kernel, which takes twenty times as long as to run it: there the rows
    are padded to a multiple of ROW_GRID.

    Args:
        product: maps each row by itself.
        x_RC: float [R, C].
    Returns:
        float [R, ...], what the product makes of the rows.
    """
    if x_RC.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return product(x_RC)
    return product(F.pad(x_RC, (0, 0, 0, -len(x_RC) % ROW_GRID)))[: len(x_RC)]


@torch.no_grad()
def balance_bias(model: nn.Module, speed: float) -> dict[str, float]:
    """Nudge every router's correction bias towards equal load, and forget the loads.

    Args:
        model: any module with `Router`s that ran in training mode.
        speed: size of the nudge.
    Returns:
        worst and mean over layers of (largest load / mean load).
    Source: auxiliary-loss-free balancing; b_e += speed * sign(mean load - load_e).
    """
    ratios = []
    for router in (module for module in model.modules() if isinstance(module, Router)):
        mean = router.load_E.mean()
        router.e_score_correction_bias.add_(torch.sign(mean - router.load_E), alpha=speed)
        ratios.append((router.load_E.max() / mean.clamp_min(1)).item())
        router.load_E.zero_()
    return {"load_worst": max(ratios, default=1.0), "load_mean": sum(ratios) / len(ratios) if ratios else 1.0}
