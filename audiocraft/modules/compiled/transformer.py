"""A transformer and the caches of requests, as the kernels see them. What cannot run there runs in torch."""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import POINTER, addressof, c_void_p, cast
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from audiocraft.kernels.bindings import Kernels
from audiocraft.kernels.structs import (
    ADAPTABLE,
    KINDS,
    KV_FIELDS,
    AddedProduct,
    Layer,
    Matrix,
    Model,
    Norm,
    StepInput,
    address,
)
from audiocraft.modules.attention import KVTable, LayerState, Requests, TransformerState
from audiocraft.modules.backend import is_watched, machine_kernels, supports_input
from audiocraft.modules.packed_linear import (
    ACTIVATIONS,
    AdaptedWeight,
    PackedLinear,
    PackedWeight,
    matrix_of,
    supports_weight,
)
from audiocraft.modules.ragged import AnyState, RaggedState
from audiocraft.modules.rope import Rotation

_CACHED_AS = {torch.float32: KINDS["fp32"], torch.float16: KINDS["fp16"], torch.int8: KINDS["int8"]}


@dataclass(frozen=True, slots=True, eq=False)
class CompiledTransformer:
    """This record holds the weights of a transformer, described for the kernels once per request.

    Args:
        kernels: what runs them.
        model: the addresses of the weights.
        keeps: the tensors that lie there.
        adapters: what is added to the products of every layer, `ADAPTABLE` of each; None where nothing is. All else is
            the same for all who adapt one model.
    """

    kernels: Kernels
    model: Model
    keeps: tuple[object, ...]
    adapters: Any = None

    @classmethod
    def of(cls, layers: Sequence[nn.Module]) -> CompiledTransformer | None:
        """Return the description of these layers, or None where the kernels cannot run them as they are."""
        found = machine_kernels()
        if found is None or not all(_runs(layer, found) for layer in layers) or not _alike(layers):
            return None
        described = (Layer * len(layers))(*(_layer(layer) for layer in layers))
        first: Any = layers[0]
        attention = first.self_attn
        width = attention.embed_dim
        model = Model(
            layers=len(layers),
            width=width,
            heads=attention.num_heads,
            kv_heads=attention.num_heads // attention.kv_repeat,
            head_dim=width // attention.num_heads,
            hidden=first.linear1.out_features,
            activation=ACTIVATIONS[first.activation],
            crosses=first.cross_attention is not None,
            past_context=-1 if attention.past_context is None else attention.past_context,
            eps=first.norm1.eps,
            layer=cast(described, POINTER(Layer)),
        )
        weights = [tensor for layer in layers for tensor in [*layer.parameters(), *layer.buffers()]]
        return cls(found, model, (described, *weights), _adapters(layers))

    def takes(self, state: TransformerState) -> bool:
        """Return whether the kernels have all that a step of this request needs. Keys and values of a source that
        comes with every step, because none was there when the state was made, are computed in torch."""
        layer = state.layers[0]
        known = layer.past.keys.dtype in _CACHED_AS  # autocast makes caches of other types
        return known and (not self.model.crosses or layer.source is not None)

    def run(self, x: Tensor, positions: Tensor, parts: Requests, rotation: Rotation | None) -> Tensor:
        """Return steps x [B, S, D] at `positions` [B, S] through all layers, [B, S, D]; caches are written.

        Args:
            parts: the states of the requests, and which rows are theirs; rows of nobody become zeros.
        """
        covered = parts[-1][1].stop
        out = (
            x.new_zeros(x.shape)
            if covered < x.shape[0]
            else torch.empty_like(x, memory_format=torch.contiguous_format)
        )
        out[:covered] = x[:covered]
        step, keeps = self.step_input(out, positions[:covered].contiguous(), parts, rotation)
        self.kernels.forward(self.model, step)
        del keeps
        return out

    def step_input(
        self, x: Tensor, positions: Tensor, parts: Requests, rotation: Rotation | None
    ) -> tuple[StepInput, tuple[object, ...]]:
        """Return the description of a step over x [B, S, D], which changes, at `positions` [B or fewer, S], and what
        lies at the addresses in it."""
        covered, steps = positions.shape
        part, row = _places(parts, steps)
        tables = [_table(state) for state, _ in parts]
        past = tables[0].past if len(tables) == 1 else torch.stack([own.past for own in tables], dim=1)
        source = None
        if self.model.crosses:
            sources = [own.source for own in tables if own.source is not None]
            source = sources[0] if len(sources) == 1 else torch.stack(sources, dim=1)
        rotations = None if rotation is None else _rotations(rotation, x.shape[0], covered)
        adapters = _adapters_of(parts)
        step = StepInput(
            tokens=covered * steps,
            threads=torch.get_num_threads(),
            parts=len(parts),
            part=part.data_ptr(),
            row=row.data_ptr(),
            position=positions.data_ptr(),
            rotate_q=None if rotations is None else rotations[0].data_ptr(),
            rotate_k=None if rotations is None else rotations[1].data_ptr(),
            past=past.data_ptr(),
            source=address(source),
            x=x.data_ptr(),
            adapters=None if adapters is None else addressof(adapters),
        )
        return step, (part, row, positions, rotations, past, source, x, adapters)


def requests_of(x: Tensor, state: AnyState) -> Requests:
    """Return the requests of a step, with their rows, if the kernels run it; else nothing."""
    if not supports_input(x):
        return []
    if isinstance(state, RaggedState):
        parts = list(zip(state.parts, state.rows, strict=True))
    else:
        parts = [(state, slice(0, x.shape[0]))]
    if all(part.compiled is not None and part.compiled.takes(part) for part, _ in parts):
        return parts
    own = [getattr(part.compiled, "adapters", None) for part, _ in parts]
    assert all(each is own[0] for each in own), "only the kernels tell the adapters of rows apart"
    return []


def _adapters_of(parts: Requests) -> Any:
    """Return the adapters of each request, None for those that use the model as it is; None where all do."""
    own = [getattr(state.compiled, "adapters", None) for state, _ in parts]
    if not any(own):
        return None
    return (c_void_p * len(own))(*(None if each is None else addressof(each) for each in own))


def _table(state: TransformerState) -> KVTable:
    """Return the table of a request; made anew when its caches have moved."""
    own = [tensor for layer in state.layers for tensor in _tensors(layer)]
    table = state.table
    if table is not None and len(own) == len(table.tensors):
        if all(new is old for new, old in zip(own, table.tensors, strict=True)):
            return table
    past = torch.tensor([_kv_view(layer.past.keys, layer.past.values) for layer in state.layers])
    source = None
    if state.layers[0].source is not None:
        for layer in state.layers:
            layer.source = _regular(layer.source, _source_dtype(layer.past.keys.dtype))
        source = torch.tensor([_kv_view(*layer.source) for layer in state.layers if layer.source is not None])
        own = [tensor for layer in state.layers for tensor in _tensors(layer)]
    state.table = table = KVTable(past, source, tuple(own))
    return table


def _tensors(layer: LayerState) -> tuple[Tensor, ...]:
    return layer.past.keys, layer.past.values, *(layer.source or ())


def _source_dtype(past: torch.dtype) -> torch.dtype:
    """Return the type of a source: it has as many bits as the past, at least 16, because it is short, and every step
    hangs on it."""
    return torch.float32 if past == torch.float32 else torch.float16


def _regular(source: tuple[Tensor, Tensor] | None, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return keys and values of a source with the same layout."""
    assert source is not None
    keys, values = (part.to(dtype) for part in source)
    if keys.stride() != values.stride() or keys.stride(-1) != 1:
        keys, values = keys.contiguous(), values.contiguous()
    return keys, values


def _kv_view(keys: Tensor, values: Tensor) -> list[int]:
    kind = _CACHED_AS[keys.dtype]
    found = [keys.data_ptr(), values.data_ptr(), *keys.stride()[:3], keys.shape[0], keys.shape[2], kind]
    assert len(found) == len(KV_FIELDS) and keys.stride() == values.stride()
    return found


def _places(parts: Requests, steps: int) -> tuple[Tensor, Tensor]:
    """Return, for each token, which part it belongs to, and which row of that part."""
    counts = [(rows.stop - rows.start) * steps for _, rows in parts]
    if len(parts) == 1:
        row = torch.arange(counts[0])
        return torch.zeros_like(row), row if steps == 1 else row.div_(steps, rounding_mode="floor")
    part = torch.arange(len(parts)).repeat_interleave(torch.tensor(counts))
    row = torch.cat([torch.arange(rows.stop - rows.start) for _, rows in parts])
    return part, row if steps == 1 else row.repeat_interleave(steps)


def _rotations(rotation: Rotation, batch: int, covered: int) -> tuple[Tensor, Tensor]:
    """Return rotations [tokens, D / H] as pairs of real and imaginary parts, of queries and of keys."""

    def flat(rotations: Tensor) -> Tensor:
        rows = rotations.expand(batch, -1, -1, -1)[:covered]
        return torch.view_as_real(rows).float().contiguous()

    return flat(rotation.query), flat(rotation.key)


def _runs(layer: nn.Module, found: Kernels) -> bool:
    """Return whether the kernels know everything that this layer does."""
    own: Any = layer
    attentions = [own.self_attn, *([] if own.cross_attention is None else [own.cross_attention])]
    norms = [own.norm1, own.norm2, *([] if own.cross_attention is None else [own.norm_cross])]
    scales = [own.layer_scale_1, own.layer_scale_2]
    scales += [] if own.cross_attention is None else [own.layer_scale_cross]
    linears = [own.linear1, own.linear2, *(attention._projections.out_proj for attention in attentions)]
    if not all(type(linear) in (nn.Linear, PackedLinear) for linear in linears):
        return False  # a wrapper, which need not have a weight
    weights = [linear.weight for linear in linears] + [attention.in_proj for attention in attentions]
    width = own.self_attn.embed_dim
    return (
        own.norm_first
        and not own.training
        and own.activation in ACTIVATIONS
        and all(type(scale) is nn.Identity for scale in scales)
        and all(type(norm) is nn.LayerNorm and norm.bias is not None for norm in norms)
        and all(norm.weight.dtype == torch.float32 for norm in norms)
        and not any(attention._has_norms for attention in attentions)
        and all(supports_weight(found, weight) for weight in weights)
        and width % 16 == 0
        and width // own.self_attn.num_heads % found.lanes == 0
        and not any(is_watched(module) for module in layer.modules())
    )


def _alike(layers: Sequence[nn.Module]) -> bool:
    """Return whether one description fits all layers."""

    def traits(layer: Any) -> tuple[object, ...]:
        attention = layer.self_attn
        return (
            attention.past_context,
            attention.kv_repeat,
            layer.activation,
            layer.cross_attention is None,
            layer.linear1.out_features,
            *(norm.eps for norm in layer.modules() if isinstance(norm, nn.LayerNorm)),
        )

    epsilons = {norm.eps for layer in layers for norm in layer.modules() if isinstance(norm, nn.LayerNorm)}
    return len({traits(layer) for layer in layers}) == 1 and len(epsilons) == 1


def _layer(layer: nn.Module) -> Layer:
    own: Any = layer
    attention, across = own.self_attn, own.cross_attention
    described = Layer(
        norm1=norm_of(own.norm1),
        norm2=norm_of(own.norm2),
        qkv=matrix_of(attention.in_proj, attention._projections.in_proj_bias),
        out=_matrix(attention._projections.out_proj),
        up=_matrix(own.linear1),
        down=_matrix(own.linear2),
    )
    if across is not None:
        bias = across._projections.in_proj_bias
        described.norm_cross = norm_of(own.norm_cross)
        # Keys and values of the source were made when the request began; the bias of the queries comes first.
        described.cross_q = matrix_of(across.in_proj, bias, slice(0, across.embed_dim))
        described.cross_out = _matrix(across._projections.out_proj)
    return described


def _matrix(linear: Any) -> Matrix:
    weight: Tensor | PackedWeight = linear.weight
    return matrix_of(weight, linear.bias)


def _adapters(layers: Sequence[nn.Module]) -> Any:
    """Return what is added to the matrices of these layers; None where nothing is."""
    weights = [weight for layer in layers for weight in _adaptable(layer)]
    if not any(isinstance(weight, AdaptedWeight) for weight in weights):
        return None
    return (AddedProduct * len(weights))(
        *(
            AddedProduct(weight.a.shape[0], weight.a.data_ptr(), weight.b.data_ptr())
            if isinstance(weight, AdaptedWeight)
            else AddedProduct()
            for weight in weights
        )
    )


def _adaptable(layer: nn.Module) -> list[Any]:
    """Return the weights of a layer in the order of `ADAPTABLE`. Of the fused projections of cross-attention, the
    queries come first."""
    own: Any = layer
    attention, across = own.self_attn, own.cross_attention
    crossing = [None, None] if across is None else [across.in_proj, across._projections.out_proj.weight]
    found = [attention.in_proj, attention._projections.out_proj.weight, *crossing]
    found += [own.linear1.weight, own.linear2.weight]
    assert len(found) == len(ADAPTABLE)
    return found


def norm_of(norm: nn.LayerNorm) -> Norm:
    """Return a layer norm as the kernels see it. The caller keeps the module alive."""
    return Norm(norm.weight.data_ptr(), norm.bias.data_ptr())
