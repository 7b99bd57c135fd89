"""The training loss: weighted cross-entropy of the trunk and of its MTP heads."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from openmimo.model.model import MiMo
from openmimo.model.moe import Router, on_grid
from openmimo.train.data import PackedBatch
from openmimo.train.schedule import Piecewise, Scheduled, value_at

__all__ = ["HeadLosses", "LossWeights", "Losses", "balance_loss", "compute_losses", "head_losses"]


MTP_WEIGHT = Piecewise(((0.0, 0.3), (0.8, 0.1)))


@dataclass(frozen=True)
class LossWeights:
    """What is trained and how much each part counts.

    Attributes:
        trunk: weight of the next-token loss; 0 freezes the trunk and trains the MTP heads on its states.
        mtp: weight of the mean loss of the MTP heads; 0 freezes them.
        balance: weight of the routers' sequence-level auxiliary loss.
    Source: MTP weight 0.3, and 0.1 from 22T of 27T tokens on; auxiliary loss 1e-5 at scale, more for batches of a few
    thousand tokens.
    """

    trunk: float = 1.0
    mtp: Scheduled = MTP_WEIGHT
    balance: float = 1e-3


@dataclass(frozen=True)
class Losses:
    """Scalars of one batch; `total` carries the gradient.

    Attributes:
        trunk: mean cross-entropy over full-weight targets, nats.
        accuracy: share of full-weight targets that are the trunk's first choice.
        agreement_K: for each MTP head, the share of full-weight targets that are its first choice.
        figures: what else to log.
        alarms: what people must be told.
    """

    total: Tensor
    trunk: float
    accuracy: float
    mtp_K: tuple[float, ...]
    agreement_K: tuple[float, ...]
    figures: Mapping[str, Any] = field(default_factory=dict)
    alarms: tuple[str, ...] = ()


@dataclass(frozen=True)
class HeadLosses:
    """Cross-entropy of the MTP heads.

    Attributes:
        mean: over the heads, with gradient.
        mtp_K: of each head over full-weight targets, nats.
        agreement_K: as in `Losses`.
    """

    mean: Tensor
    mtp_K: tuple[float, ...] = ()
    agreement_K: tuple[float, ...] = ()


def compute_losses(model: MiMo, batch: PackedBatch, weights: LossWeights, progress: float = 0.0) -> Losses:
    """Run the model over a batch and weigh its losses.

    Args:
        model: in training mode.
        batch: packed tokens with target weights.
        weights: what counts how much.
        progress: share of the run done, for weights that change.
    Returns:
        the total and what to log.
    Source: training objective of MiMo-V2-Flash (next token plus MTP).
    """
    with torch.set_grad_enabled(weights.trunk > 0):
        hidden_BTC = model(batch.ids_BT, batch.layout)
    total = hidden_BTC.new_zeros(())
    trunk, accuracy = 0.0, 0.0
    if weights.trunk:
        loss, trunk, accuracy = _cross_entropy(model.logits, hidden_BTC, *batch.targets(1))
        total = total + weights.trunk * loss
        total = total + weights.balance * balance_loss(model)
    heads = HeadLosses(total)
    if mtp_weight := value_at(weights.mtp, progress):
        heads = head_losses(model, hidden_BTC, batch)
        total = total + mtp_weight * heads.mean
    return Losses(total, trunk, accuracy, heads.mtp_K, heads.agreement_K)


def head_losses(model: MiMo, hidden_BTC: Tensor, batch: PackedBatch) -> HeadLosses:
    """Run the MTP heads over states of the trunk.

    Args:
        model: at least one head.
        hidden_BTC: what its `forward` returned.
        batch: packed tokens with target weights.
    Returns:
        the losses. Detached states leave the trunk as it is, but not the embedding and output head that both share.
    """
    total, mtp, agreement = hidden_BTC.new_zeros(()), [], []
    for k, state_BTC in enumerate(model.mtp_states(hidden_BTC, batch.ids_BT, batch.layout)):
        loss, plain, share = _cross_entropy(model.lm_head, state_BTC, *batch.targets(2 + k))
        total = total + loss / len(model.heads)
        mtp.append(plain)
        agreement.append(share)
    return HeadLosses(total, tuple(mtp), tuple(agreement))


def _cross_entropy(head, states_BTC: Tensor, ids_BT: Tensor, weights_BT: Tensor) -> tuple[Tensor, float, float]:
    rows = weights_BT.flatten().nonzero().squeeze(-1)
    logits_RV = on_grid(head, states_BTC.flatten(0, 1)[rows]).float()
    ids_R, weights_R = ids_BT.flatten()[rows], weights_BT.flatten()[rows]
    losses_R = F.cross_entropy(logits_RV, ids_R, reduction="none")
    is_full = weights_R == 1
    count = is_full.sum().clamp_min(1)
    plain = (losses_R.detach() * is_full).sum() / count
    share = ((logits_RV.detach().argmax(-1) == ids_R) & is_full).sum() / count
    return (losses_R * weights_R).sum() / weights_R.sum().clamp_min(1), plain.item(), share.item()


def balance_loss(model: MiMo) -> Tensor:
    """Mean over the routers of the auxiliary loss of the last training pass, unweighted; 0 without routers."""
    losses = [module.balance_loss for module in model.modules() if isinstance(module, Router)]
    found = [loss for loss in losses if loss is not None]
    return torch.stack(found).mean() if found else torch.zeros(())
