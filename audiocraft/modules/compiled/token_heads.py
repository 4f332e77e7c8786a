"""What is before and behind the layers of a language model over codes, so that a step is one call of the kernels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ctypes import POINTER, c_void_p, cast
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from audiocraft.kernels import structs
from audiocraft.kernels.bindings import Kernels
from audiocraft.modules.attention import CompiledSteps
from audiocraft.modules.backend import is_watched
from audiocraft.modules.compiled.transformer import CompiledTransformer, norm_of, requests_of
from audiocraft.modules.packed_linear import PackedLinear, matrix_of, supports_weight
from audiocraft.modules.ragged import AnyState


@dataclass(frozen=True, slots=True, eq=False)
class CompiledHeads:
    """This record holds the tables of codes, the last norm and the heads, described for the kernels once per request.

    Args:
        described: their addresses.
        shape: codebooks K, and codes V that a head chooses from.
        transformer: the module between them.
        keeps: the tensors that lie there.
    """

    described: structs.TokenHeads
    shape: tuple[int, int]
    transformer: Any
    keeps: tuple[object, ...]

    @classmethod
    def of(
        cls,
        compiled: CompiledSteps | None,
        tables: Iterable[nn.Module],
        transformer: Any,
        norm: nn.Module | None,
        heads: Iterable[nn.Module],
    ) -> CompiledHeads | None:
        """Return the description of these modules around the layers that `compiled` runs, or None where the kernels
        cannot run them as they are."""
        own: list[Any] = list(heads)
        tables = list(tables)
        if not isinstance(compiled, CompiledTransformer) or not _run(
            compiled.kernels, tables, norm, own, transformer
        ):
            return None
        matrices = (structs.Matrix * len(own))(*(matrix_of(head.weight, head.bias) for head in own))
        weights: list[Any] = [table.weight for table in tables]
        addresses = (c_void_p * len(weights))(*(weight.data_ptr() for weight in weights))
        entries, width = weights[0].shape
        half = torch.arange(width // 2, dtype=torch.float32) / max(width // 2 - 1, 1)
        periods = torch.full([], transformer.max_period, dtype=torch.float32) ** half
        described = structs.TokenHeads(
            codebooks=len(own),
            entries=entries,
            has_sines=transformer.positional_embedding != "rope",
            has_norm=norm is not None,
            sines=float(transformer.positional_scale),
            periods=periods.data_ptr(),
            tables=cast(addresses, c_void_p),
            heads=cast(matrices, POINTER(structs.Matrix)),
        )
        if isinstance(norm, nn.LayerNorm):
            described.norm = norm_of(norm)
        shape = len(own), own[0].weight.shape[0]
        return cls(described, shape, transformer, (matrices, addresses, periods, norm, *weights, *own))

    def logits(self, codes: Tensor, added: Tensor | None, state: AnyState) -> Tensor | None:
        """Turn codes [B, K, S] -> logits [B, S, K, V], or None where the kernels cannot take this step.

        Args:
            added: [B, S, D], conditions of these steps.
        """
        batch, codebooks, steps = codes.shape
        width = self.transformer.layers[0].self_attn.embed_dim
        if codes.device.type != "cpu" or codebooks != self.shape[0]:
            return None
        x = torch.zeros(batch, steps, width) if added is None else added.contiguous()
        parts = requests_of(x, state)
        if not parts or parts[-1][1].stop != batch:
            return None
        positions = state.advance(steps)
        rope = self.transformer.rope
        compiled = parts[0][0].compiled
        assert isinstance(compiled, CompiledTransformer)
        step, keeps = compiled.step_input(
            x, positions, parts, None if rope is None else rope.rotation(positions)
        )
        logits = torch.empty(batch, steps, *self.shape)
        codes = codes.transpose(1, 2).contiguous()
        compiled.kernels.forward(compiled.model, step, self.described, codes, logits)
        del keeps
        return logits


def _run(
    found: Kernels,
    tables: Sequence[Any],
    norm: Any,
    heads: Sequence[Any],
    transformer: Any,
) -> bool:
    """Return whether the kernels know everything that these modules do."""
    kinds = (nn.Linear, PackedLinear)
    norms = [] if norm is None else [norm]
    if not (
        all(isinstance(table, nn.Embedding) for table in tables)
        and all(type(head) in kinds for head in heads)
    ):
        return False  # a wrapper, which need not have a weight
    weights = [table.weight for table in tables] + [head.weight for head in heads]
    first = transformer.layers[0].norm1
    return (
        all(supports_weight(found, weight) for weight in weights)
        and len({tuple(table.weight.shape) for table in tables}) == 1
        and len({tuple(head.weight.shape) for head in heads}) == 1
        and len(tables) == len(heads)
        and all(head.bias is None or head.bias.dtype == torch.float32 for head in heads)
        and all(type(each) is nn.LayerNorm and each.bias is not None for each in norms)
        and all(each.weight.dtype == torch.float32 and each.eps == first.eps for each in norms)
        and not is_watched(transformer)
        and not any(is_watched(module) for each in (*tables, *heads, *norms) for module in each.modules())
    )
