"""A transformer shaped like a U-Net, of flows.

Each layer of the second half also sees what the matching layer of the first half gave.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from audiocraft.errors import InvalidInput
from audiocraft.modules.attention import StepContext
from audiocraft.modules.ragged import AnyState
from audiocraft.modules.transformer import StreamingTransformer


class UnetTransformer(StreamingTransformer):
    """Layers 0 ... n/2 - 1 hand their output over to layers n - 1 ... n/2, where skip connections are on.

    Args:
        skip_connections: join the halves, each pair through a projection [D + D -> D].
        layer_dropout_p: in training, the chance that a layer is left out.
        kwargs: of `StreamingTransformer`.
    """

    def __init__(
        self,
        d_model: int,
        num_layers: int,
        skip_connections: bool = False,
        layer_dropout_p: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(d_model=d_model, num_layers=num_layers, **kwargs)
        if skip_connections and num_layers % 2:
            raise InvalidInput(
                f"skip connections pair the layers, and {num_layers} is odd", field="num_layers"
            )
        if layer_dropout_p is not None and not 0 <= layer_dropout_p < 1:
            raise InvalidInput(
                f"layer_dropout_p must be in [0, 1), got {layer_dropout_p}", field="layer_dropout_p"
            )
        self.layer_drop_p = layer_dropout_p
        self.skip_projections: nn.ModuleList | None = None
        if skip_connections:
            place: dict[str, Any] = {"device": kwargs.get("device"), "dtype": kwargs.get("dtype")}
            self.skip_projections = nn.ModuleList(
                nn.Linear(2 * d_model, d_model, **place) for _ in range(num_layers // 2)
            )

    def _run_layers(
        self, x: Tensor, source: Tensor | None, context: StepContext, state: AnyState | None
    ) -> Tensor:
        middle = len(self.layers) // 2
        skipped: list[Tensor] = []
        for index in range(len(self.layers)):
            if self.skip_projections is not None and index >= middle:
                projection = self.skip_projections[index - middle]
                x = projection(torch.cat([x, skipped.pop()], dim=-1))
            if not self._drops_layer():
                x = self._run_layer(index, x, source, context, state)
            if self.skip_projections is not None and index < middle:
                skipped.append(x)
        return x

    def _drops_layer(self) -> bool:
        return (
            self.training
            and bool(self.layer_drop_p)
            and torch.rand((), device="cpu").item() < (self.layer_drop_p or 0)
        )
