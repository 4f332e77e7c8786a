"""Multi-head attention as a module: projections, norms of queries and keys, masks, the cache of a request."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from audiocraft.errors import InvalidInput
from audiocraft.kernels.huge_pages import Arena
from audiocraft.modules.attention import (
    KVCache,
    LayerState,
    StepContext,
    TransformerState,
    causal_mask,
    mask_from_torch,
    merge_masks,
    sdpa,
)
from audiocraft.modules.backend import kernels_for
from audiocraft.modules.packed_linear import AdaptedWeight, PackedWeight, Weight, linear
from audiocraft.modules.ragged import AnyLayer, RaggedLayer
from audiocraft.modules.rope import RotaryEmbedding
from audiocraft.modules.strands import StrandContext
from audiocraft.modules.streaming import StreamingModule

Device = torch.device | str | None


class Projections(nn.Module):
    """This module has fused input and output projections under the names that torch's attention gives them."""

    def __init__(self, dim: int, fused: int, bias: bool, device: Device, dtype: torch.dtype | None) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.empty(fused, dim, device=device, dtype=dtype))
        self.in_proj_bias = nn.Parameter(torch.zeros(fused, device=device, dtype=dtype)) if bias else None
        self.out_proj = nn.Linear(dim, dim, bias=bias, device=device, dtype=dtype)
        bound = dim**-0.5
        nn.init.uniform_(self.in_proj_weight, -bound, bound)
        if bias:
            nn.init.zeros_(self.out_proj.bias)


class StreamingMultiheadAttention(StreamingModule):
    """This module is multi-head attention, which takes and returns [B, S, D].

    Args:
        embed_dim: width D.
        dropout: on the attention weights, in training.
        bias: in the projections.
        causal: a step sees no later step.
        past_context: how many earlier steps it sees; all by default.
        custom, memory_efficient: upstream's kernels; here they only say where a state dict has the weights
            (under `mha.` with neither).
        attention_as_float32: attend in float32 where the model is in half precision.
        rope: rotary embedding, shared by the layers of a model.
        cross_attention: keys and values come from another sequence.
        safe_streaming: accepted for upstream's callers; streaming is always safe.
        qk_layer_norm: normalise queries and keys.
        kv_repeat: query heads per key head.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        causal: bool = False,
        past_context: int | None = None,
        custom: bool = False,
        memory_efficient: bool = False,
        attention_as_float32: bool = False,
        rope: RotaryEmbedding | None = None,
        cross_attention: bool = False,
        safe_streaming: bool = True,
        qk_layer_norm: bool = False,
        kv_repeat: int = 1,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if embed_dim % num_heads or num_heads % kv_repeat:
            raise InvalidInput(
                f"width {embed_dim}, {num_heads} heads and kv_repeat {kv_repeat} must divide each other",
                field="num_heads",
            )
        if cross_attention and (causal or rope is not None or kv_repeat > 1):
            raise InvalidInput(
                "cross attention is not causal, has no rope and no kv_repeat", field="cross_attention"
            )
        if qk_layer_norm and kv_repeat > 1:
            raise InvalidInput("qk_layer_norm needs kv_repeat 1", field="qk_layer_norm")
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.dropout = dropout
        self.causal = causal
        self.past_context = past_context
        self.attention_as_float32 = attention_as_float32
        self.cross_attention = cross_attention
        self.safe_streaming = safe_streaming
        self.kv_repeat = kv_repeat
        self.kv_dim = embed_dim // kv_repeat
        self.rope = rope
        projections = Projections(embed_dim, embed_dim + 2 * self.kv_dim, bias, device, dtype)
        if custom or memory_efficient:
            self.in_proj_weight, self.in_proj_bias = projections.in_proj_weight, projections.in_proj_bias
            self.out_proj = projections.out_proj
        else:
            self.mha = projections
        if qk_layer_norm:
            self.q_layer_norm = nn.LayerNorm(embed_dim, device=device, dtype=dtype)
            self.k_layer_norm = nn.LayerNorm(embed_dim, device=device, dtype=dtype)
        self._is_custom = custom or memory_efficient
        self._has_norms = qk_layer_norm
        self.register_load_state_dict_pre_hook(_rename_projections)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = False,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
        *,
        context: StepContext | None = None,
        state: AnyLayer | None = None,
    ) -> tuple[Tensor, None]:
        """Attend with query [B, S, D] to key and value [B, L, D]; the result is ([B, S, D], None).

        Args:
            key_padding_mask: [B, L], True where there is no key.
            need_weights, average_attn_weights: not supported beyond their defaults; weights are never formed.
            attn_mask: see `attention.mask_from_torch`; a causal module stays causal.
            context: the masks and positions of this pass, where the caller made them for all layers.
            state: what earlier passes left.
        """
        if need_weights or not average_attn_weights:
            raise InvalidInput(
                "attention weights are never formed, so they cannot be returned", field="need_weights"
            )
        if context is None:
            context, state = self._own_context(query, key_padding_mask, attn_mask, is_causal, state)
        if self.cross_attention:
            out = self._attend_across(self._heads(self._query(query)), key, value, context, state)
        else:
            q, k, v = (self._heads(part) for part in self._query_key_value(query, key, value))
            out = self._attend_to_past(q, k, v, context, state)
        return self._projections.out_proj(out.transpose(1, 2).flatten(2)), None

    def make_context(
        self,
        query: Tensor,
        *,
        attn_mask: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        causal: bool = False,
        positions: Tensor | None = None,
        kv_length: int = 0,
    ) -> StepContext:
        """Make the masks and rotation of a pass over `query` [B, S, D]; with `positions`, of one over the cache."""
        batch, steps = query.shape[:2]
        causal = causal or self.causal
        mask = None if attn_mask is None else mask_from_torch(attn_mask, batch)
        if key_padding_mask is not None:
            mask = merge_masks(mask, mask_from_torch(key_padding_mask[:, None, None], batch))
        ordered = causal or self.past_context is not None
        if positions is not None:
            mask = merge_masks(mask, causal_mask(positions, kv_length, self.past_context))
        elif ordered and (mask is not None or self.past_context is not None):
            places = torch.arange(steps, device=query.device).unsqueeze(0)
            mask = merge_masks(mask, causal_mask(places, steps, self.past_context))
        rotation = None
        if self.rope is not None:
            places = torch.arange(steps, device=query.device).unsqueeze(0) if positions is None else positions
            rotation = self.rope.rotation(places)
        return StepContext(positions, kv_length, mask, ordered and mask is None, rotation)

    def _own_context(
        self,
        query: Tensor,
        key_padding_mask: Tensor | None,
        attn_mask: Tensor | None,
        causal: bool,
        state: AnyLayer | None,
    ) -> tuple[StepContext, AnyLayer | None]:
        """Return the context for calls outside a transformer, which may be in a `streaming()` block of this module."""
        request: TransformerState | None = None
        if state is None and self.causal:
            request = self.current_state(None, query.shape[0])
        context = self.make_context(
            query,
            attn_mask=attn_mask,
            key_padding_mask=key_padding_mask,
            causal=causal,
            positions=None if request is None else request.advance(query.shape[1]),
            kv_length=0 if request is None else request.kv_length,
        )
        return context, state if request is None else request.layers[0]

    def source(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Project a cross-attention source [B, L, D] into keys and values [B, H, L, D / H], the same for every step."""
        keys, values = self._key_value(key, value)
        return self._heads(keys), self._heads(values)

    def init_state(self, batch_size: int, capacity: int = 64) -> TransformerState:
        """Make the state of requests that use this attention by itself."""
        layer = self.init_layer_state(batch_size, capacity)
        return TransformerState([layer], torch.zeros_like(layer.past.keys[:, 0, 0, 0], dtype=torch.long))

    def init_layer_state(self, batch_size: int, capacity: int, arena: Arena | None = None) -> LayerState:
        """Return an empty cache for `capacity` positions, which may lie in a room with others."""
        weight = self.in_proj
        weight = weight.base if isinstance(weight, AdaptedWeight) else weight
        shape = (batch_size, self.num_heads // self.kv_repeat, capacity, self.embed_dim // self.num_heads)
        if isinstance(weight, PackedWeight):
            dtype, device = weight.cache_dtype, weight.data.device
        else:
            dtype, device = weight.dtype, weight.device
        return LayerState(KVCache.empty(shape, dtype, device, arena or Arena(2)))

    def _attend_across(
        self, q: Tensor, key: Tensor, value: Tensor, context: StepContext, state: AnyLayer | None
    ) -> Tensor:
        """Attend with queries [B, H, S, D / H] to the source [B, L, D], which is needed where no state has its keys and
        values."""
        if isinstance(state, RaggedLayer):
            return state.each(
                lambda rows, own, part: self._attend_across(q[rows], key[rows], value[rows], own, part),
                context,
                len(q),
            )
        source = self.source(key, value) if state is None or state.source is None else state.source
        if isinstance(context, StrandContext):
            return context.each(self._attend_whole, q, *source, across=True)
        if state is not None:
            state.source = source
        return self._attend(q, *source, context)

    def _attend_to_past(
        self, q: Tensor, k: Tensor, v: Tensor, context: StepContext, state: AnyLayer | None
    ) -> Tensor:
        """Attend with queries, keys and values of new steps, [B, H, S, D / H]."""
        if isinstance(state, RaggedLayer):
            return state.each(
                lambda rows, own, part: self._attend_to_past(q[rows], k[rows], v[rows], own, part),
                context,
                len(q),
            )
        if isinstance(context, StrandContext):
            return context.each(
                lambda q, k, v, own: self._attend_whole(*_turned(q, k, own), v, own), q, k, v, across=False
            )
        q, k = _turned(q, k, context)
        if state is not None:
            assert context.positions is not None
            state.past.write(context.positions, k, v)
            k, v = state.past.read(context.kv_length)
        return self._attend(q, k, v, context)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, context: StepContext) -> Tensor:
        return sdpa(
            query,
            key.to(query.dtype),
            value.to(query.dtype),
            context.mask,
            causal=context.causal,
            dropout=self.dropout if self.training else 0.0,
            as_float32=self.attention_as_float32,
        )

    def _attend_whole(self, query: Tensor, key: Tensor, value: Tensor, context: StepContext) -> Tensor:
        """Attend over whole sequences: in the kernels, where they know the mask."""
        found, heads = kernels_for(query), (query, key, value)
        known = (
            (context.mask is None or context.near is not None) and not context.causal and not self.training
        )
        if found is None or not known or query.shape[-1] % found.lanes:
            return self._attend(query, key, value, context)
        if any(part.dtype != torch.float32 or part.stride(-1) != 1 for part in heads):
            return self._attend(query, key, value, context)
        return found.attend(query, key, value, *(context.near or ()))

    @property
    def _projections(self) -> Any:
        return self if self._is_custom else self.mha

    @property
    def in_proj(self) -> Weight:
        """Return the projections of queries, keys and values, one below the other."""
        weight: Weight = self._projections.in_proj_weight
        return weight

    def _heads(self, x: Tensor) -> Tensor:
        """Map [B, S, H x D / H] to [B, H, S, D / H]."""
        return x.unflatten(-1, (-1, self.embed_dim // self.num_heads)).transpose(1, 2)

    def _query_key_value(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if key is not query or value is not query:
            return self._query(query), *self._key_value(key, value)
        fused = linear(query, self.in_proj, self._projections.in_proj_bias)
        q, k, v = fused.split([self.embed_dim, self.kv_dim, self.kv_dim], dim=-1)
        return (self.q_layer_norm(q), self.k_layer_norm(k), v) if self._has_norms else (q, k, v)

    def _query(self, query: Tensor) -> Tensor:
        q = self._project(query, 0, self.embed_dim)
        return self.q_layer_norm(q) if self._has_norms else q

    def _key_value(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        middle = self.embed_dim + self.kv_dim
        if key is value:
            k, v = self._project(key, self.embed_dim, middle + self.kv_dim).chunk(2, dim=-1)
        else:
            k = self._project(key, self.embed_dim, middle)
            v = self._project(value, middle, middle + self.kv_dim)
        return (self.k_layer_norm(k), v) if self._has_norms else (k, v)

    def _project(self, x: Tensor, start: int, end: int) -> Tensor:
        """Multiply x [B, S, D] by the rows start ... end - 1 of the projections."""
        bias = self._projections.in_proj_bias
        part = None if bias is None else bias[start:end]
        return linear(x, self.in_proj, part, rows=slice(start, end), batch_invariant=True)


def _turned(q: Tensor, k: Tensor, context: StepContext) -> tuple[Tensor, Tensor]:
    """Turn queries and keys [B, H, S, D / H] by their positions, with rotary embeddings."""
    return (q, k) if context.rotation is None else context.rotation.apply(q, k)


def _rename_projections(module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    """Rename weights, so that they are found where either form of this module, or torch's own attention, keeps them."""
    assert isinstance(module, StreamingMultiheadAttention)
    here, there = ("", "mha.") if module._is_custom else ("mha.", "")
    for name in ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"):
        if prefix + there + name in state and prefix + here + name not in state:
            state[prefix + here + name] = state.pop(prefix + there + name)
