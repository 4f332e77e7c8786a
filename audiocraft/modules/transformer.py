"""The transformer of the language models: pre- or post-norm layers with causal, cross and rotary attention.

What a request has cached is an argument (`state`), never an attribute: one model serves many at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from audiocraft.errors import InvalidInput
from audiocraft.kernels.huge_pages import Arena
from audiocraft.modules.attention import LayerState, Requests, StepContext, TransformerState
from audiocraft.modules.compiled.transformer import CompiledTransformer, requests_of
from audiocraft.modules.multihead import StreamingMultiheadAttention
from audiocraft.modules.packed_linear import feed_forward
from audiocraft.modules.ragged import AnyLayer, AnyState, RaggedState
from audiocraft.modules.rope import RotaryEmbedding
from audiocraft.modules.strands import Strand, StrandContext, apart_again, in_a_row
from audiocraft.modules.streaming import StreamingModule
from audiocraft.utils.pauses import pause

Device = torch.device | str | None
Activation = str | Callable[[Tensor], Tensor]

_BACKENDS = ("torch", "xformers")
_POSITIONAL = ("sin", "rope", "sin_rope")
_CHECKPOINTING = ("none", "torch", "xformers_default", "xformers_mm")


def set_efficient_attention_backend(backend: str = "torch") -> None:
    """Accept upstream's names; all of them run torch's fused kernels here, so there is nothing to set."""
    _check_choice("backend", backend, _BACKENDS)


def create_norm_fn(norm_type: str, dim: int, **kwargs: Any) -> nn.Module:
    """Build the norm called `norm_type`, over the last `dim` channels."""
    if norm_type != "layer_norm":
        raise InvalidInput(f"norm {norm_type!r} is unknown: the one there is is layer_norm", field="norm")
    return nn.LayerNorm(dim, eps=1e-5, **kwargs)


def create_sin_embedding(
    positions: Tensor, dim: int, max_period: float = 10000, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Embed positions [B, S, 1] as [B, S, dim]: cosines, then sines, of dim / 2 periods up to `max_period`."""
    if dim % 2:
        raise InvalidInput(f"the width of a sine embedding must be even, got {dim}", field="dim")
    half = dim // 2
    exponents = torch.arange(half, device=positions.device, dtype=dtype).view(1, 1, -1) / max(half - 1, 1)
    period = torch.full([], max_period, device=positions.device, dtype=dtype)
    phase = positions.to(dtype) / period**exponents
    return torch.cat([torch.cos(phase), torch.sin(phase)], dim=-1)


def expand_repeated_kv(x: Tensor, n_rep: int, memory_efficient: bool) -> Tensor:
    """Repeat each key head `n_rep` times; heads are dimension 1 with `memory_efficient`, else 2."""
    return x if n_rep == 1 else x.repeat_interleave(n_rep, dim=1 if memory_efficient else 2)


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InvalidInput(f"{name} {value!r} is not one of {', '.join(choices)}", field=name)


class LayerScale(nn.Module):
    """This layer has a learned factor per channel, near zero at first, on a residual branch (Touvron et al. 2021)."""

    def __init__(
        self,
        channels: int,
        init: float = 1e-4,
        channel_last: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.channel_last = channel_last
        self.scale = nn.Parameter(torch.full((channels,), init, device=device, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x if self.channel_last else self.scale[:, None] * x


class StreamingTransformerLayer(nn.Module):
    """This layer has self-attention, cross-attention where there is any, and two linear layers, each on a residual
    branch.

    Args:
        attention_dropout: of the self-attention weights; `dropout` by default.
        norm_first: normalise what enters a branch (pre-norm) instead of what leaves the sum (post-norm).
        activation: between the linear layers.
        The others are those of `StreamingMultiheadAttention` and `StreamingTransformer`.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        bias_ff: bool = True,
        bias_attn: bool = True,
        causal: bool = False,
        past_context: int | None = None,
        custom: bool = False,
        memory_efficient: bool = False,
        attention_as_float32: bool = False,
        qk_layer_norm: bool = False,
        qk_layer_norm_cross: bool = False,
        cross_attention: bool = False,
        layer_scale: float | None = None,
        rope: RotaryEmbedding | None = None,
        attention_dropout: float | None = None,
        kv_repeat: int = 1,
        norm: str = "layer_norm",
        device: Device = None,
        dtype: torch.dtype | None = None,
        norm_first: bool = False,
        activation: Activation = F.relu,
    ) -> None:
        super().__init__()
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        shared: dict[str, Any] = {
            "embed_dim": d_model,
            "num_heads": num_heads,
            "dropout": dropout if attention_dropout is None else attention_dropout,
            "bias": bias_attn,
            "custom": custom or memory_efficient,
            "attention_as_float32": attention_as_float32,
            **place,
        }
        self.norm_first = norm_first
        self.self_attn = StreamingMultiheadAttention(
            causal=causal,
            past_context=past_context,
            rope=rope,
            qk_layer_norm=qk_layer_norm,
            kv_repeat=kv_repeat,
            **shared,
        )
        self.linear1 = nn.Linear(d_model, dim_feedforward, bias=bias_ff, **place)
        self.linear2 = nn.Linear(dim_feedforward, d_model, bias=bias_ff, **place)
        self.norm1, self.norm2 = (create_norm_fn(norm, d_model, **place) for _ in range(2))
        self.layer_scale_1 = _layer_scale(d_model, layer_scale, place)
        self.layer_scale_2 = _layer_scale(d_model, layer_scale, place)
        self.cross_attention: StreamingMultiheadAttention | None = None
        if cross_attention:
            self.cross_attention = StreamingMultiheadAttention(
                cross_attention=True, qk_layer_norm=qk_layer_norm_cross, **shared
            )
            self.norm_cross = create_norm_fn(norm, d_model, **place)
            self.layer_scale_cross = _layer_scale(d_model, layer_scale, place)
        self.dropout = nn.Dropout(dropout)
        self.activation = getattr(F, activation) if isinstance(activation, str) else activation

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        cross_attention_src: Tensor | None = None,
        *,
        context: StepContext | None = None,
        state: AnyLayer | None = None,
    ) -> Tensor:
        """Run src [B, S, D] through the layer, which may look at cross_attention_src [B, L, D]; the result is [B, S,
        D]."""
        if (cross_attention_src is None) == (self.cross_attention is not None) and (
            state is None or state.source is None
        ):
            needs = "needs" if self.cross_attention is not None else "has no use for"
            raise InvalidInput(f"this transformer {needs} a cross_attention_src", field="cross_attention_src")
        if context is None:
            context = self.self_attn.make_context(
                src, attn_mask=src_mask, key_padding_mask=src_key_padding_mask
            )
        if self.norm_first:
            x = src + self._attend(self.norm1(src), context, state)
            if self.cross_attention is not None:
                x = x + self._attend_across(self.norm_cross(x), cross_attention_src, context, state)
            return x + self._feed_forward(self.norm2(x), context)
        x = self.norm1(src + self._attend(src, context, state))
        if self.cross_attention is not None:
            # The queries are the layer's input, not x: released post-norm models were trained so.
            x = self.norm_cross(x + self._attend_across(src, cross_attention_src, context, state))
        return self.norm2(x + self._feed_forward(x, context))

    def init_layer_state(
        self, batch_size: int, capacity: int, cross_attention_src: Tensor | None, arena: Arena
    ) -> LayerState:
        state = self.self_attn.init_layer_state(batch_size, capacity, arena)
        if self.cross_attention is not None and cross_attention_src is not None:
            state.source = self.cross_attention.source(cross_attention_src, cross_attention_src)
        return state

    def _attend(self, x: Tensor, context: StepContext, state: AnyLayer | None) -> Tensor:
        return self.layer_scale_1(self.dropout(self.self_attn(x, x, x, context=context, state=state)[0]))

    def _attend_across(
        self, x: Tensor, source: Tensor | None, context: StepContext, state: AnyLayer | None
    ) -> Tensor:
        assert self.cross_attention is not None
        seen = context if isinstance(context, StrandContext) else StepContext()
        out = self.cross_attention(x, source, source, context=seen, state=state)[0]
        return self.layer_scale_cross(self.dropout(out))

    def _feed_forward(self, x: Tensor, context: StepContext) -> Tensor:
        if isinstance(context, StrandContext):
            made = None if self.training else feed_forward(x, self.linear1, self.linear2, self.activation)
            if made is not None:
                return self.layer_scale_2(made)
            wide = context.apart(self.activation, self.linear1(x))
        else:
            wide = self.activation(self.linear1(x))
        hidden = self.dropout(wide)
        return self.layer_scale_2(self.dropout(self.linear2(hidden)))


def _is_plain(layer: nn.Module) -> bool:
    """Return whether a layer is exactly what this module defines, and not a subclass that does something else."""
    return type(layer) is StreamingTransformerLayer and all(
        type(attention) is StreamingMultiheadAttention
        for attention in (layer.self_attn, layer.cross_attention)
        if attention is not None
    )


def _layer_scale(dim: int, init: float | None, place: dict[str, Any]) -> nn.Module:
    return nn.Identity() if init is None else LayerScale(dim, init, **place)


class StreamingTransformer(StreamingModule):
    """This network is a stack of layers over [B, S, D], with positions.

    Args:
        positional_embedding: "sin" is added to the input, "rope" turns queries and keys, "sin_rope" is both.
        max_period: of the slowest position wave.
        positional_scale: factor on the position information; 0 takes it away.
        xpos: let rotary attention decay with distance.
        lr, weight_decay: of the optimizer group of this transformer.
        layer_class: makes the layers; called with the arguments of `StreamingTransformerLayer`.
        checkpointing: "none", or recompute each layer in the backward pass ("torch", and xformers' names).
        kwargs: further arguments of the layers.
        The others are those of the layers and of `StreamingMultiheadAttention`.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        num_layers: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        bias_ff: bool = True,
        bias_attn: bool = True,
        causal: bool = False,
        past_context: int | None = None,
        custom: bool = False,
        memory_efficient: bool = False,
        attention_as_float32: bool = False,
        cross_attention: bool = False,
        layer_scale: float | None = None,
        positional_embedding: str = "sin",
        max_period: float = 10_000,
        positional_scale: float = 1.0,
        xpos: bool = False,
        lr: float | None = None,
        weight_decay: float | None = None,
        layer_class: type[nn.Module] = StreamingTransformerLayer,
        checkpointing: str = "none",
        device: Device = None,
        dtype: torch.dtype | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        _check_choice("positional_embedding", positional_embedding, _POSITIONAL)
        _check_choice("checkpointing", checkpointing, _CHECKPOINTING)
        self.d_model, self.causal = d_model, causal
        self.positional_embedding, self.max_period = positional_embedding, max_period
        self.positional_scale = positional_scale
        self.lr, self.weight_decay = lr, weight_decay
        self.checkpointing = checkpointing
        head_dim, rotates = d_model // num_heads, positional_embedding != "sin"
        self.rope = RotaryEmbedding(head_dim, max_period, xpos, positional_scale, device) if rotates else None
        self.layers = nn.ModuleList(
            layer_class(
                d_model=d_model,
                num_heads=num_heads,
                dim_feedforward=dim_feedforward,
                dropout=dropout,
                bias_ff=bias_ff,
                bias_attn=bias_attn,
                causal=causal,
                past_context=past_context,
                custom=custom,
                memory_efficient=memory_efficient,
                attention_as_float32=attention_as_float32,
                cross_attention=cross_attention,
                layer_scale=layer_scale,
                rope=self.rope,
                device=device,
                dtype=dtype,
                **kwargs,
            )
            for _ in range(num_layers)
        )

    def init_state(
        self, batch_size: int, capacity: int = 64, cross_attention_src: Tensor | None = None
    ) -> TransformerState:
        """Return an empty state for `capacity` positions, or more; keys and values of the cross-attention source
        [B, L, D] are computed here."""
        if not self.causal:
            raise InvalidInput("only a causal transformer can go step by step", field="causal")
        own = cast(list[StreamingTransformerLayer], self.layers)
        arena = Arena(2 * len(own))
        layers = [layer.init_layer_state(batch_size, capacity, cross_attention_src, arena) for layer in own]
        device = layers[0].past.keys.device
        position = torch.zeros(batch_size, dtype=torch.long, device=device)
        return TransformerState(layers, position, compiled=self._compiled())

    def forward(self, x: Tensor, *args: Any, state: AnyState | None = None, **kwargs: Any) -> Tensor:
        """Map x [B, S, D] to [B, S, D]; further arguments are the layers'. With a state, x is what comes next."""
        state = self.current_state(state, x.shape[0])
        if state is not None and not args and set(kwargs) <= {"cross_attention_src"}:
            parts = requests_of(x, state)
            if parts:
                return self._run_compiled(x, state, parts)
        context = self._context(x, state, *args, **kwargs)
        if self.positional_embedding != "rope":
            x = x + self.positional_scale * self._sines(x, context.positions)
        source = kwargs.get("cross_attention_src", args[2] if len(args) > 2 else None)
        return self._run_layers(x, source, context, state)

    def run_strands(self, strands: Sequence[Strand]) -> list[Tensor]:
        """Return [B, S, D] of each strand, in one pass without a past; the strands see nothing of each other. To the
        bit what each is alone where `packing.is_batch_invariant`."""
        attention = cast(StreamingMultiheadAttention, self.layers[0].self_attn)
        contexts = [
            replace(attention.make_context(strand.x, attn_mask=strand.hidden), near=strand.near)
            for strand in strands
        ]
        inputs = [strand.x for strand in strands]
        if self.positional_embedding != "rope":
            inputs = [x + self.positional_scale * self._sines(x, None) for x in inputs]
        sources = [strand.source for strand in strands if strand.source is not None]
        assert len(sources) in (0, len(strands)), "all strands have a source, or none has"
        shared = StrandContext(
            parts=contexts,
            steps=[(x.shape[0], x.shape[1]) for x in inputs],
            sources=[(source.shape[0], source.shape[1]) for source in sources],
        )
        made = self._run_layers(in_a_row(inputs), in_a_row(sources) if sources else None, shared, None)
        return apart_again(made, strands)

    @property
    def has_cross_attention(self) -> bool:
        return any(isinstance(layer.cross_attention, nn.Module) for layer in self.layers)

    def make_optim_group(self) -> dict[str, Any]:
        group: dict[str, Any] = {"params": list(self.parameters())}
        if self.lr is not None:
            group["lr"] = self.lr
        if self.weight_decay is not None:
            group["weight_decay"] = self.weight_decay
        return group

    def _context(
        self,
        x: Tensor,
        state: AnyState | None,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        cross_attention_src: Tensor | None = None,
    ) -> StepContext:
        attention = cast(StreamingMultiheadAttention, self.layers[0].self_attn)
        if isinstance(state, RaggedState):
            return state.context(
                x,
                lambda part, positions, kv_length: attention.make_context(
                    part, positions=positions, kv_length=kv_length
                ),
            )
        positions = None if state is None else state.advance(x.shape[1])
        return attention.make_context(
            x,
            attn_mask=src_mask,
            key_padding_mask=src_key_padding_mask,
            positions=positions,
            kv_length=0 if state is None else state.kv_length,
        )

    @property
    def runs_natively(self) -> bool:
        """Return whether steps run in the CPU kernels, where a row's result does not depend on the other rows."""
        return self._compiled() is not None

    def _compiled(self) -> CompiledTransformer | None:
        if type(self) is not StreamingTransformer or self.training or self.checkpointing != "none":
            return None
        return (
            CompiledTransformer.of(list(self.layers))
            if all(_is_plain(layer) for layer in self.layers)
            else None
        )

    def _run_compiled(self, x: Tensor, state: AnyState, parts: Requests) -> Tensor:
        positions = state.advance(x.shape[1])
        if self.positional_embedding != "rope":
            x = x + self.positional_scale * self._sines(x, positions)
        rotation = None if self.rope is None else self.rope.rotation(positions)
        compiled = parts[0][0].compiled
        assert compiled is not None
        return compiled.run(x, positions, parts, rotation)

    def _sines(self, x: Tensor, positions: Tensor | None) -> Tensor:
        if positions is None:
            positions = torch.arange(x.shape[1], device=x.device).unsqueeze(0)
        return create_sin_embedding(positions.unsqueeze(-1), x.shape[-1], self.max_period).to(x.dtype)

    def _run_layers(
        self, x: Tensor, source: Tensor | None, context: StepContext, state: AnyState | None
    ) -> Tensor:
        for index in range(len(self.layers)):
            x = self._run_layer(index, x, source, context, state)
        return x

    def _run_layer(
        self, index: int, x: Tensor, source: Tensor | None, context: StepContext, state: AnyState | None
    ) -> Tensor:
        pause()
        own = None if state is None else state.layers[index]
        run = partial(self.layers[index], cross_attention_src=source, context=context, state=own)
        recompute = self.checkpointing != "none" and self.training and torch.is_grad_enabled()
        return checkpoint(run, x, use_reentrant=False) if recompute else run(x)
