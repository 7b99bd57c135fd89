"""The MiMo model in torch: readable twin of the native engine, and what training trains.

Parameter names are the published ones, except that experts are stacked ([E, F, C]): `published_tensors` and
`load_model` translate.
"""

from collections.abc import Mapping
from itertools import repeat

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import RMSNorm

from openmimo.checkpoint import Checkpoint
from openmimo.config import LayerConfig, ModelConfig
from openmimo.model.attention import Attention, Geometry, Layout
from openmimo.model.moe import MLP, MoE
from openmimo.model.mtp import MtpBlock7B, MtpBlockV2, shift_left

__all__ = ["Block", "Layout", "MiMo", "load_model", "new_model", "published_tensors"]


class Block(nn.Module):
    """x += attention(norm x); x += feed-forward(norm x)."""

    def __init__(self, config: ModelConfig, layer: LayerConfig):
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config, layer)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = MoE(config) if layer.is_sparse else MLP(config.hidden_size, config.intermediate_size)

    def forward(self, x_BTC: Tensor, geometry: Geometry, routes_BTK: Tensor | None = None) -> Tensor:
        """Map float [B, T, C] to float [B, T, C]; geometry as in `Attention.forward`, routes as in `Router.forward`."""
        x_BTC = x_BTC + self.self_attn(self.input_layernorm(x_BTC), geometry)
        normed_BTC = self.post_attention_layernorm(x_BTC)
        if isinstance(self.mlp, MoE):
            return x_BTC + self.mlp(normed_BTC, routes_BTK, geometry.layout.documents_BT >= 0)
        return x_BTC + self.mlp(normed_BTC)


class _Trunk(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config, layer) for layer in config.layers)
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        if config.family == "v2":
            self.mtp = nn.ModuleDict(
                {"layers": nn.ModuleList(MtpBlockV2(config) for _ in range(config.num_mtp_layers))}
            )
        else:
            self.mtp_layers = nn.ModuleList(MtpBlock7B(config) for _ in range(config.num_mtp_layers))


class MiMo(nn.Module):
    """A MiMo language model with its multi-token-prediction heads.

    Source: MiMo-V2-Flash and MiMo-7B; `ModelConfig` says which.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.model = _Trunk(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    @property
    def heads(self) -> nn.ModuleList:
        """The MTP blocks, nearest token first."""
        layers = self.model.mtp["layers"] if self.config.family == "v2" else self.model.mtp_layers
        assert isinstance(layers, nn.ModuleList)
        return layers

    def forward(self, ids_BT: Tensor, layout: Layout | None = None, routes_BTLK: Tensor | None = None) -> Tensor:
        """Run the trunk.

        Args:
            ids_BT: int64 [B, T].
            layout: positions and masks of packed rows; None means one sequence a row.
            routes_BTLK: int64 [B, T, sparse layers, K], the experts that an engine chose, which this pass replays; -1
                for a token that chooses freely. Only the choice is taken over: weights are this model's own.
        Returns:
            float [B, T, C], the state before `model.norm`.
        Source: Rollout Routing Replay (arXiv 2510.11370).
        """
        x_BTC = self.model.embed_tokens(ids_BT)
        geometry = self._geometry(ids_BT, layout)
        assert routes_BTLK is None or routes_BTLK.shape[2] == self.config.num_sparse_layers
        routes = repeat(None) if routes_BTLK is None else iter(routes_BTLK.unbind(2))
        for block in self.model.layers:
            x_BTC = block(x_BTC, geometry, next(routes) if isinstance(block.mlp, MoE) else None)
        return x_BTC

    def _geometry(self, ids_BT: Tensor, layout: Layout | None) -> Geometry:
        device = ids_BT.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else self.lm_head.weight.dtype
        return Geometry(layout or Layout.of_sequences(ids_BT), dtype)

    def logits(self, hidden: Tensor) -> Tensor:
        """Next-token logits [..., V] from trunk states [..., C] before `model.norm`."""
        return self.lm_head(self.model.norm(hidden))

    def mtp_states(
        self, hidden_BTC: Tensor, ids_BT: Tensor, layout: Layout | None = None, heads: int | None = None
    ) -> list[Tensor]:
        """States of the MTP heads; `lm_head` turns slot i of head k into logits of token i + 2 + k.

        Args:
            hidden_BTC: what `forward` returned.
            ids_BT: int64 [B, T], the same tokens as given to `forward`.
            layout: as for `forward`.
            heads: how many heads to run; None runs all.
        Returns:
            one float [B, T, C] for each head; the last k + 1 slots have no token and mean nothing.
        """
        geometry = self._geometry(ids_BT, layout)
        if self.config.mtp_trunk_state == "post_norm":
            hidden_BTC = self.model.norm(hidden_BTC)
        states = []
        for k, head in enumerate(self.heads[:heads]):
            embedding_BTC = self.model.embed_tokens(shift_left(ids_BT, k + 1))
            states.append(head(hidden_BTC, embedding_BTC, geometry))
        return states


def new_model(config: ModelConfig, seed: int) -> MiMo:
    """A model with fresh weights.

    Args:
        config: its shape.
        seed: of the initial weights.
    Returns:
        float32 model; matrices are normal with std 1 / sqrt(inputs) (embeddings 0.02), block outputs start at zero so
        that every block begins as the identity. At widths of a few hundred this trains faster than the papers' 0.006.
    """
    generator = torch.Generator().manual_seed(seed)
    model = MiMo(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj", "down_proj.weight")):
                parameter.zero_()
            elif "embed_tokens" in name or name == "lm_head.weight":
                parameter.normal_(0.0, 0.02, generator=generator)
            elif parameter.ndim >= 2:
                parameter.normal_(0.0, parameter.shape[-1] ** -0.5, generator=generator)
    return model


def load_model(checkpoint: Checkpoint) -> MiMo:
    """The checkpoint as a float32 torch model, quantised weights dequantised.

    Args:
        checkpoint: an open folder.
    Returns:
        the model, in eval mode.
    Raises:
        CheckpointError: a tensor is missing or has the wrong shape.
    """
    model = MiMo(checkpoint.config)
    with torch.no_grad():
        for name, target in _published_views(model).items():
            target.copy_(torch.from_numpy(np.array(checkpoint.load(name), dtype=np.float32)))
    return model.eval()


def published_tensors(model: MiMo) -> Mapping[str, np.ndarray]:
    """The model's weights as float32 arrays under their published names, ready for `save_checkpoint`.

    They are copies: memory of a split model cannot be given back while an array looks at it.
    """
    views = _published_views(model)
    return {name: view.detach().to("cpu", torch.float32, copy=True).numpy() for name, view in views.items()}


def _published_views(model: MiMo) -> dict[str, Tensor]:
    views: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        owner = model.get_submodule(name.rpartition(".")[0])
        if isinstance(owner, MoE):
            prefix, _, kind = name.rpartition(".")
            views.update({f"{prefix}.experts.{e}.{kind}.weight": parameter[e] for e in range(parameter.shape[0])})
        else:
            views[name] = parameter
    return views
