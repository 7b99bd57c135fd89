"""Attention of the MiMo family in torch: global or sliding, with sinks, partial rotary and unequal K and V dims.

A batch row is a stem of P tokens followed by R slots of S tokens; a slot holds one or more branches, which all continue
the stem and do not see one another: many requests about one home, or many samples of one prompt, cost the shared part
once. Plain packed sequences are a stem without slots.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openmimo.config import LayerConfig, ModelConfig

__all__ = ["Attention", "Geometry", "Layout", "apply_rotary", "attend"]

BLOCK = 128
"""Queries of a stem that attend together."""
Rotary = tuple[Tensor, Tensor]
HIDDEN = -1e30
"""Added to the logit of a key that must not be seen; finite, so that a row without keys stays free of NaN."""


@dataclass(frozen=True)
class Layout:
    """Where each token of a batch stands.

    Attributes:
        positions_BT: int64 [B, T], position inside the document; every branch goes on from its stem.
        documents_BT: int64 [B, T], document number inside the row; -1 marks padding, which nobody sees.
        branches_BT: int64 [B, T], number of the branch inside the row, from 1; 0 on the stem.
        num_slots: R; the first T - R * S columns are the stem, padded at its start.
        slot_length: S.
    """

    positions_BT: Tensor
    documents_BT: Tensor
    branches_BT: Tensor
    num_slots: int = 0
    slot_length: int = 0

    @property
    def stem_length(self) -> int:
        """P, columns before the first slot."""
        return self.positions_BT.shape[1] - self.num_slots * self.slot_length

    @classmethod
    def of_sequences(cls, ids_BT: Tensor) -> "Layout":
        """One document a row at positions 0, 1, ...; right padding needs no mask because nothing looks ahead."""
        positions = torch.arange(ids_BT.shape[1], device=ids_BT.device).expand_as(ids_BT)
        return cls(positions, torch.zeros_like(ids_BT), torch.zeros_like(ids_BT))

    def to(self, device: torch.device) -> "Layout":
        """The same layout on another device."""
        positions, documents, branches = (
            t.to(device) for t in (self.positions_BT, self.documents_BT, self.branches_BT)
        )
        return Layout(positions, documents, branches, self.num_slots, self.slot_length)


@dataclass(frozen=True)
class Visible:
    """Additive masks of one kind of layer: 0 where a query sees a key, HIDDEN elsewhere.

    Attributes:
        stem_BPP: [B, 1, P, P].
        slot_BRSK: [B, R, 1, S, K] over the stem's last K - S columns and the slot's own S; None without slots.
        tail: how many stem columns the slots can see at all.
    """

    stem_BPP: Tensor
    slot_BRSK: Tensor | None
    tail: int


class Geometry:
    """Masks and rotary tables of one batch, made once for each kind of layer."""

    def __init__(self, layout: Layout, dtype: torch.dtype):
        self.layout, self.dtype = layout, dtype
        self._visible: dict[int | None, Visible] = {}
        self._rotary: dict[tuple[float, int], Rotary] = {}

    def of(self, layer: LayerConfig) -> tuple[Rotary, Visible]:
        """Tables and masks for a layer's theta, rotated dims and window."""
        key = (layer.rope_theta, layer.rotary_dims)
        if layer.window not in self._visible:
            self._visible[layer.window] = self._masks(layer.window)
        if key not in self._rotary:
            self._rotary[key] = _rotary_tables(self.layout.positions_BT, layer)
        return self._rotary[key], self._visible[layer.window]

    def _masks(self, window: int | None) -> Visible:
        layout, stem = self.layout, self.layout.stem_length
        places = torch.stack([layout.positions_BT, layout.documents_BT, layout.branches_BT])
        stem_mask = self._mask(places[..., :stem], places[..., :stem], window)[:, None]
        if not layout.num_slots:
            return Visible(stem_mask, None, 0)
        tail = stem if window is None else min(stem, window)
        queries = places[..., stem:].unflatten(2, (layout.num_slots, -1))
        stem_keys = places[:, :, None, stem - tail : stem].expand(-1, -1, layout.num_slots, -1)
        return Visible(stem_mask, self._mask(queries, torch.cat([stem_keys, queries], -1), window)[:, :, None], tail)

    def _mask(self, queries: Tensor, keys: Tensor, window: int | None) -> Tensor:
        position, document, branch = (
            (q[..., :, None], k[..., None, :]) for q, k in zip(queries.unbind(), keys.unbind(), strict=True)
        )
        distance = position[0] - position[1]
        seen = (distance >= 0) & (document[0] == document[1]) & ((branch[1] == 0) | (branch[0] == branch[1]))
        if window is not None:
            seen &= distance <= window
        return torch.zeros(seen.shape, dtype=self.dtype, device=seen.device).masked_fill(~seen, HIDDEN)


def _rotary_tables(positions_BT: Tensor, layer: LayerConfig) -> Rotary:
    half = layer.rotary_dims // 2
    exponents = torch.arange(half, device=positions_BT.device, dtype=torch.float32) * (-2.0 / layer.rotary_dims)
    angles = positions_BT[:, None, :, None].float() * layer.rope_theta**exponents
    return angles.cos(), angles.sin()


def apply_rotary(x_BHTD: Tensor, rotary: Rotary) -> Tensor:
    """Rotate the leading dims of each head, pairing dim i with i + rotary_dims / 2.

    Args:
        x_BHTD: queries or keys, float [B, H, T, D].
        rotary: cosines and sines, float32 [B, 1, T, rotary_dims / 2] each.
    Returns:
        float [B, H, T, D], same dtype as the input.
    Source: half-split rotary pairing, keys partial_rotary_factor, rope_theta, swa_rope_theta.
    """
    cos, sin = (table.to(x_BHTD.dtype) for table in rotary)
    half = cos.shape[-1]
    a, b, rest = x_BHTD.split([half, half, x_BHTD.shape[-1] - 2 * half], dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], dim=-1)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, sink_H: Tensor | None) -> Tensor:
    """Softmax attention with an optional sink.

    The sink is one more key with a zero value whose logit is `sink_H[h]`: it enlarges the denominator only.

    Args:
        q, k, v: float [..., H, T, D], [..., H, S, D], [..., H, S, U]; q already scaled.
        mask: additive, broadcast to [..., H, T, S].
        sink_H: float [H] or None.
    Returns:
        float [..., H, T, U].
    Source: attention sink of MiMo-V2-Flash, report section on hybrid attention.
    """
    lead = q.shape[:-3]
    is_bf16_on_cpu = q.device.type == "cpu" and q.dtype == torch.bfloat16
    if sink_H is None and not is_bf16_on_cpu:  # there, products take half the fused kernel's time, forward and back
        q, k, v, mask = (t.flatten(0, -4) for t in (q, k, v, mask))  # the fused kernel knows one dimension before heads
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0).unflatten(0, lead)
    if sink_H is not None:
        k, v, mask = F.pad(k, (0, 0, 0, 1)), F.pad(v, (0, 0, 0, 1)), F.pad(mask, (0, 1))
    logits = (q @ k.transpose(-1, -2)).add_(mask)
    if sink_H is not None:
        logits[..., -1] += sink_H.to(logits.dtype)[:, None]
    return torch.softmax(logits, dim=-1) @ v


class Attention(nn.Module):
    """One attention layer; parameter names are the published ones."""

    def __init__(self, config: ModelConfig, layer: LayerConfig):
        super().__init__()
        self.layer, self.value_scale = layer, config.attention_value_scale
        heads, groups = layer.num_attention_heads, layer.num_key_value_heads
        bias = config.attention_bias
        self.q_proj = nn.Linear(config.hidden_size, heads * layer.head_dim, bias=bias)
        self.k_proj = nn.Linear(config.hidden_size, groups * layer.head_dim, bias=bias)
        self.v_proj = nn.Linear(config.hidden_size, groups * layer.v_head_dim, bias=bias)
        self.o_proj = nn.Linear(heads * layer.v_head_dim, config.hidden_size, bias=False)
        self.attention_sink_bias = nn.Parameter(torch.zeros(heads)) if layer.has_sink else None

    def forward(self, x_BTC: Tensor, geometry: Geometry) -> Tensor:
        """Attend.

        Args:
            x_BTC: normed activations, float [B, T, C].
            geometry: masks and rotary tables of the batch.
        Returns:
            float [B, T, C].
        Source: attention of MiMo-V2-Flash; keys attention_value_scale, add_swa_attention_sink_bias.
        """
        layer = self.layer
        rotary, visible = geometry.of(layer)
        repeats = layer.num_attention_heads // layer.num_key_value_heads
        q = apply_rotary(_heads(self.q_proj(x_BTC), layer.num_attention_heads), rotary) * layer.head_dim**-0.5
        k = apply_rotary(_heads(self.k_proj(x_BTC), layer.num_key_value_heads), rotary)
        v = _heads(self.v_proj(x_BTC), layer.num_key_value_heads) * self.value_scale
        k, v = (t.repeat_interleave(repeats, dim=1) for t in (k, v))
        # Autocast would run the softmax in float32 tensors; the kernel accumulates in float32 by itself.
        with torch.autocast(x_BTC.device.type, enabled=False):
            out_BHTU = self._stem_and_slots(q, k, v, visible, geometry.layout)
        return self.o_proj(out_BHTU.transpose(1, 2).flatten(2))

    def _stem(self, q: Tensor, k: Tensor, v: Tensor, mask_BPP: Tensor) -> Tensor:
        """Block by block: no query sees a key of a later column, or one before its window."""
        stem, window, outputs = q.shape[2], self.layer.window, []
        for first in range(0, max(stem, 1), BLOCK):
            queries = slice(first, min(first + BLOCK, stem))
            keys = slice(max(0, first - window) if window is not None else 0, queries.stop)
            mask = mask_BPP[:, :, queries, keys]
            outputs.append(attend(q[:, :, queries], k[:, :, keys], v[:, :, keys], mask, self.attention_sink_bias))
        return torch.cat(outputs, dim=2)

    def _stem_and_slots(self, q: Tensor, k: Tensor, v: Tensor, visible: Visible, layout: Layout) -> Tensor:
        stem, slots = layout.stem_length, layout.num_slots
        out = self._stem(q[:, :, :stem], k[:, :, :stem], v[:, :, :stem], visible.stem_BPP)
        if visible.slot_BRSK is None:
            return out

        def fold(t: Tensor) -> Tensor:  # [B, H, R * S, D] -> [B, R, H, S, D]
            return t[:, :, stem:].unflatten(2, (slots, -1)).transpose(1, 2)

        def with_tail(t: Tensor) -> Tensor:
            tail = t[:, None, :, stem - visible.tail : stem].expand(-1, slots, -1, -1, -1)
            return torch.cat([tail, fold(t)], dim=3)

        own = attend(fold(q), with_tail(k), with_tail(v), visible.slot_BRSK, self.attention_sink_bias)
        return torch.cat([out, own.transpose(1, 2).flatten(2, 3)], dim=2)


def _heads(x_BTJ: Tensor, heads: int) -> Tensor:
    return x_BTJ.unflatten(-1, (heads, -1)).transpose(1, 2)
