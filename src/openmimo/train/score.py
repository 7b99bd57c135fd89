"""Cheap scores during training, by teacher forcing: a greedy answer is right if its every token is the argmax."""

import torch
from torch import Tensor

from openmimo.model.model import MiMo
from openmimo.train.data import PackedBatch

__all__ = ["exact_branches", "mtp_agreement"]


@torch.no_grad()
def exact_branches(model: MiMo, batch: PackedBatch) -> Tensor:
    """Which branches the model would have written exactly.

    Args:
        model: any mode; put back as it was.
        batch: packed branches.
    Returns:
        bool [B, R], True where every full-weight target is the trunk's first choice.
    """
    hidden_BTC = _in_eval(model, lambda: model(batch.ids_BT, batch.layout))
    ids_BT, weights_BT = batch.targets(1)
    targets = weights_BT == 1
    wrong_BT = torch.zeros_like(weights_BT)
    wrong_BT[targets] = (model.logits(hidden_BTC[targets]).argmax(-1) != ids_BT[targets]).float()
    # A branch's first target is predicted from its own first columns, so no error falls into the stem (branch 0).
    branches_BT = batch.layout.branches_BT
    errors_BR = torch.zeros(len(branches_BT), int(branches_BT.max()) + 1, device=branches_BT.device)
    return errors_BR.scatter_add(1, branches_BT, wrong_BT)[:, 1:] == 0


@torch.no_grad()
def mtp_agreement(model: MiMo, batch: PackedBatch) -> list[float]:
    """For each MTP head, the share of full-weight targets that it predicts.

    Args: as `exact_branches`.
    Returns: one share for each head.
    """
    if not len(model.heads):
        return []
    states = _in_eval(model, lambda: model.mtp_states(model(batch.ids_BT, batch.layout), batch.ids_BT, batch.layout))
    shares = []
    for k, state_BTC in enumerate(states):
        ids_BT, weights_BT = batch.targets(2 + k)
        rows = weights_BT == 1
        shares.append((model.lm_head(state_BTC[rows]).argmax(-1) == ids_BT[rows]).float().mean().item())
    return shares


def _in_eval(model: MiMo, run):
    was_training = model.training
    model.eval()
    try:
        return run()
    finally:
        model.train(was_training)
