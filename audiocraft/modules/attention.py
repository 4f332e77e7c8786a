"""Attention over what a request has cached: one function, one cache. It knows nothing of layers or norms.

The cache has a slot per position. Each row of a batch has its own position, so rows that joined at different
times share a step:

    slot      0  1  2  3  4  5          row 0 is at position 4: it writes slot 4 and sees slots 0 ... 4
    row 0     k  k  k  k  K  -          row 1 is at position 2: it writes slot 2 and sees slots 0 ... 2
    row 1     k  k  K  -  -  -          with past_context 2, row 0 would see slots 2 ... 4
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from audiocraft.errors import InvalidInput
from audiocraft.kernels.huge_pages import Arena
from audiocraft.modules.rope import Rotation

SCALE_BYTES = 4
"""The size of the float32 scale behind each vector of an 8-bit cache."""


@dataclass(slots=True)
class KVCache:
    """This record holds the keys and values of one layer, [B, H, S_max, D / H], which are allocated once and written in
    place.

    In 8 bits each vector has a scale of its own, so that the largest of its numbers is 127: int8, D / H + 4 of them.
    """

    keys: Tensor
    values: Tensor

    @classmethod
    def empty(
        cls, shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device, arena: Arena
    ) -> KVCache:
        """Make an empty cache of `shape` [B, H, S_max, D / H] in `arena`."""
        *outer, head_dim = shape
        width = head_dim + SCALE_BYTES if dtype == torch.int8 else head_dim
        keys, values = (arena.zeros((*outer, width), dtype, device) for _ in range(2))
        return cls(keys, values)

    def write(self, positions: Tensor, key: Tensor, value: Tensor) -> None:
        """Put key and value [B, H, S, D / H] at positions [B, S]. The cache takes on their precision where that is
        lower, which under autocast is known only now, so that later steps need no conversion."""
        if self.keys.dtype == torch.int8:
            key, value = in_8_bits(key), in_8_bits(value)
        slots = positions[:, None, :, None].expand_as(key)
        dtype = key.dtype if key.element_size() <= self.keys.element_size() else self.keys.dtype
        self.keys = self.keys.to(dtype).scatter_(2, slots, key.to(dtype))
        self.values = self.values.to(dtype).scatter_(2, slots, value.to(dtype))

    def read(self, kv_length: int) -> tuple[Tensor, Tensor]:
        """Return keys and values [B, H, kv_length, D / H] of the first positions, as numbers to compute with."""
        keys, values = self.keys[:, :, :kv_length], self.values[:, :, :kv_length]
        return (from_8_bits(keys), from_8_bits(values)) if keys.dtype == torch.int8 else (keys, values)

    def grow(self, capacity: int) -> None:
        """Make room for `capacity` positions; what is cached stays."""
        missing = capacity - self.keys.shape[2]
        if missing > 0:
            self.keys = F.pad(self.keys, (0, 0, 0, missing))
            self.values = F.pad(self.values, (0, 0, 0, missing))


def in_8_bits(x: Tensor) -> Tensor:
    """Round vectors [..., D] to int8 [..., D + 4]: whole numbers up to 127, and the bytes of their scale."""
    scale = x.float().abs().amax(dim=-1, keepdim=True) / 127
    whole = torch.where(scale > 0, x.float() / scale, 0.0).round().to(torch.int8)
    return torch.cat([whole, scale.view(torch.int8)], dim=-1)


def from_8_bits(packed: Tensor) -> Tensor:
    """Read what `in_8_bits` made, int8 [..., D + 4], as float32 [..., D]."""
    scale = packed[..., -SCALE_BYTES:].contiguous().view(torch.float32)
    return packed[..., :-SCALE_BYTES].float() * scale


@dataclass(slots=True)
class LayerState:
    """This record holds what one layer remembers of a request: its past, and the keys and values of the cross-attention
    source, which are projected once."""

    past: KVCache
    source: tuple[Tensor, Tensor] | None = None


@dataclass(slots=True)
class StepContext:
    """This record says what all layers of one pass share: where its steps are and what they may see.

    Args:
        positions: [B, S]; None without a cache, where step s is at position s.
        kv_length: slots of the cache that may hold something; the rest is not read.
        mask: bool (True is visible) or additive, broadcastable to [B, H, S, keys]; None is everything.
        causal: no mask but the causal one, so that the kernel needs none at all.
        rotation: of the positions, with rotary embeddings.
        near: what the mask says, where it says no more: how far to either side a step sees, and how many first steps
            see all and are seen by all.
    """

    positions: Tensor | None = None
    kv_length: int = 0
    mask: Tensor | None = None
    causal: bool = False
    rotation: Rotation | None = None
    near: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class KVTable:
    """This record holds the addresses of one request's caches, [layers, fields of a view], and the tensors that they
    were read from."""

    past: Tensor
    source: Tensor | None
    tensors: tuple[Tensor, ...]


class CompiledSteps(Protocol):
    """This protocol describes a transformer in the kernels, as `modules.compiled.transformer` makes it for a
    request."""

    def takes(self, state: TransformerState) -> bool:
        """Return whether the kernels have all that a step of this request needs."""

    def run(self, x: Tensor, positions: Tensor, parts: Requests, rotation: Rotation | None) -> Tensor:
        """Return steps x [B, S, D] at `positions` [B, S] through all layers, [B, S, D]; caches are written."""


@dataclass(slots=True)
class TransformerState:
    """This record holds what one request has in a transformer. The caller owns it; each pass appends its steps in
    place.

    Args:
        layers: one each.
        position: [B], the position that the next step of each row has.
        kv_length: a bound on `position` that is known without reading the device.
        compiled: the transformer in the kernels; None where the steps of this request run in torch.
        table: where the kernels find the caches; they look after it.
    """

    layers: list[LayerState]
    position: Tensor
    kv_length: int = 0
    compiled: CompiledSteps | None = None
    table: KVTable | None = None

    def advance(self, steps: int) -> Tensor:
        """Take positions [B, S] for the next `steps` of every row, making room where there is none."""
        positions = self.position.unsqueeze(1) + torch.arange(steps, device=self.position.device)
        self.position += steps
        self.make_room(steps)
        return positions

    def make_room(self, steps: int) -> None:
        """Let every layer hold `steps` more."""
        self.kv_length += steps
        for layer in self.layers:
            capacity = layer.past.keys.shape[2]
            if self.kv_length > capacity:
                layer.past.grow(max(self.kv_length, 2 * capacity))


Requests = Sequence[tuple[TransformerState, slice]]
"""The states that take part in a step, and the rows that are theirs."""


def causal_mask(positions: Tensor, kv_length: int, past_context: int | None = None) -> Tensor:
    """Make the mask, bool [B, 1, S, kv_length], that lets queries at positions [B, S] see keys not after them nor too
    far before."""
    distance = positions.unsqueeze(-1) - torch.arange(kv_length, device=positions.device)
    mask = distance >= 0
    if past_context is not None:
        mask &= distance <= past_context
    return mask.unsqueeze(1)


def mask_from_torch(mask: Tensor, batch: int) -> Tensor:
    """Map a mask in torch's convention, bool (True is hidden) or additive, [S, L], [B, S, L], [B x H, S, L] or [B, H,
    S, L], to bool (True is visible) or additive, broadcastable to [B, H, S, L]."""
    if mask.dim() == 3:
        mask = mask.unsqueeze(1) if mask.shape[0] in (1, batch) else mask.unflatten(0, (batch, -1))
    elif mask.dim() not in (2, 4):
        raise InvalidInput(
            f"an attention mask has 2, 3 or 4 dimensions, got {list(mask.shape)}", field="attn_mask"
        )
    return ~mask if mask.dtype == torch.bool else mask


def merge_masks(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    """Return what both masks let through; each is bool (True is visible) or additive float."""
    if first is None or second is None:
        return second if first is None else first
    if first.dtype == torch.bool and second.dtype == torch.bool:
        return first & second
    return _additive(first) + _additive(second)


def _additive(mask: Tensor) -> Tensor:
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros(mask.shape, device=mask.device).masked_fill_(~mask, float("-inf"))


def sdpa(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    *,
    causal: bool = False,
    dropout: float = 0.0,
    as_float32: bool = False,
) -> Tensor:
    """Attend with query [B, H, S, D / H] to key and value [B, H or fewer, L, D / H]; the result is [B, H, S, D / H].

    Fewer key heads than query heads are repeated, each for as many neighbouring query heads.
    """
    dtype = query.dtype
    if as_float32:
        query, key, value = query.float(), key.float(), value.float()
    if mask is not None and mask.dtype != torch.bool:
        mask = mask.to(query.dtype)
    grouped = key.shape[1] != query.shape[1]
    if grouped and query.shape[1] % key.shape[1]:
        raise InvalidInput(
            f"{query.shape[1]} query heads cannot share {key.shape[1]} key heads", field="kv_repeat"
        )
    out = F.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, dropout_p=dropout, is_causal=causal, enable_gqa=grouped
    )
    return out.to(dtype)
