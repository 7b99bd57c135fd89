"""From one MTP head of pre-training to the three of post-training."""

import torch

from openmimo.config import parse_config
from openmimo.errors import ConfigError
from openmimo.model.model import MiMo

__all__ = ["copy_mtp_head"]


@torch.no_grad()
def copy_mtp_head(model: MiMo, num_heads: int = 3) -> MiMo:
    """Make a model whose MTP heads all begin as copies of this one's only head; all of them are then trained jointly.

    Args:
        model: with one head; unchanged.
        num_heads: heads of the new model.
    Returns:
        a new model; its trunk has the same weights.
    Raises:
        ConfigError: the model has not exactly one head.
    Source: post-training of MiMo-V2-Flash, where one pre-trained head is copied K = 3 times.
    """
    if len(model.heads) != 1:
        raise ConfigError(f"the model has {len(model.heads)} MTP heads: only a single one can be copied")
    published = {**model.config.published, "num_nextn_predict_layers": num_heads}
    grown = MiMo(parse_config(published, num_heads))
    state = model.state_dict()
    for name in grown.state_dict():
        if ".mtp" in name and name not in state:
            prefix, _, rest = name.partition("layers.")
            state[name] = state[f"{prefix}layers.0.{rest.partition('.')[2]}"]
    grown.load_state_dict(state)
    return grown.train(model.training)
