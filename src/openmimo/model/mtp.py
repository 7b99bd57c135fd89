"""Multi-token-prediction blocks in torch: each guesses one token further ahead from the trunk's own state."""

import torch
from torch import Tensor, nn
from torch.nn import RMSNorm

from openmimo.config import ModelConfig
from openmimo.model.attention import Attention, Geometry
from openmimo.model.moe import MLP

__all__ = ["MtpBlock7B", "MtpBlockV2", "shift_left"]


def shift_left(ids_BT: Tensor, places: int, fill: int = 0) -> Tensor:
    """Move every row left: column i takes the value of column i + places, the end is filled.

    Args:
        ids_BT: any [B, T].
        places: how far, from 0 to T.
        fill: value for the last `places` columns.
    Returns:
        same shape and dtype; [a, b, c] shifted by 1 is [b, c, fill].
    """
    return torch.cat([ids_BT[:, places:], torch.full_like(ids_BT[:, :places], fill)], dim=1)


class MtpBlockV2(nn.Module):
    """MTP block of MiMo-V2: window attention and a dense MLP over [embedding, trunk state].

    Source: model.mtp.layers.k of MiMo-V2-Flash.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        hidden, eps = config.hidden_size, config.rms_norm_eps
        self.enorm, self.hnorm = RMSNorm(hidden, eps), RMSNorm(hidden, eps)
        self.eh_proj = nn.Linear(2 * hidden, hidden, bias=False)
        self.input_layernorm = RMSNorm(hidden, eps)
        self.self_attn = Attention(config, config.mtp_layer)
        self.pre_mlp_layernorm = RMSNorm(hidden, eps)
        self.mlp = MLP(hidden, config.intermediate_size)
        self.final_layernorm = RMSNorm(hidden, eps)

    def forward(self, hidden_BTC: Tensor, embedding_BTC: Tensor, geometry: Geometry) -> Tensor:
        """State to feed to `lm_head`.

        Args:
            hidden_BTC: trunk state of slot i, float [B, T, C].
            embedding_BTC: embedding of token i + 1 + k, float [B, T, C].
            geometry: masks and rotary tables of the batch; a slot's position is the trunk's.
        Returns:
            float [B, T, C], already through final_layernorm.
        """
        x_BTC = self.eh_proj(torch.cat([self.enorm(embedding_BTC), self.hnorm(hidden_BTC)], dim=-1))
        x_BTC = x_BTC.to(hidden_BTC.dtype)  # autocast gives bfloat16; the residual stream keeps the trunk's precision
        x_BTC = x_BTC + self.self_attn(self.input_layernorm(x_BTC), geometry)
        x_BTC = x_BTC + self.mlp(self.pre_mlp_layernorm(x_BTC))
        return self.final_layernorm(x_BTC)


class MtpBlock7B(nn.Module):
    """MTP block of MiMo-7B: a full Qwen2 block over [trunk state, embedding], the reverse order of V2.

    Source: model.mtp_layers.k of MiMo-7B; the embedding is zero at position 0.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        hidden, eps = config.hidden_size, config.rms_norm_eps
        self.token_layernorm, self.hidden_layernorm = RMSNorm(hidden, eps), RMSNorm(hidden, eps)
        self.input_proj = nn.Linear(2 * hidden, hidden, bias=False)
        self.input_layernorm = RMSNorm(hidden, eps)
        self.self_attn = Attention(config, config.mtp_layer)
        self.post_attention_layernorm = RMSNorm(hidden, eps)
        self.mlp = MLP(hidden, config.intermediate_size)
        self.final_layernorm = RMSNorm(hidden, eps)

    def forward(self, hidden_BTC: Tensor, embedding_BTC: Tensor, geometry: Geometry) -> Tensor:
        """State to feed to `lm_head`; arguments and result as in `MtpBlockV2.forward`."""
        embedding_BTC = embedding_BTC * (geometry.layout.positions_BT != 0)[..., None]
        x_BTC = self.input_proj(
            torch.cat([self.hidden_layernorm(hidden_BTC), self.token_layernorm(embedding_BTC)], dim=-1)
        )
        x_BTC = x_BTC + self.self_attn(self.input_layernorm(x_BTC), geometry)
        x_BTC = x_BTC + self.mlp(self.post_attention_layernorm(x_BTC))
        return self.final_layernorm(x_BTC)
