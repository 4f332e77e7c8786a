"""Where conditions enter a language model. `fuse` sorts them by place; `apply_fused` puts them in.

prepend            P steps in front of the codes
sum                one vector, added to every step
frames             row t is added to the step that predicts frame t (of codebook 0)
input_interpolate  stretched to the length of the codes, and added
cross              the source of cross-attention
ignore             nowhere
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from audiocraft.errors import ConfigError, InvalidInput
from audiocraft.modules.streaming import StreamingModule
from audiocraft.modules.transformer import create_sin_embedding
from audiocraft.types import ConditionType


@dataclass(frozen=True, slots=True)
class Fused:
    """This record holds conditions by the place where they enter; None where there is none.

    Args:
        prepend: [B, P, D], fed before the first step.
        add: [B, 1, D], added to every step of the codes.
        frames: [B, T, D], row t added to step t of the codes; steps past the end get nothing.
        cross: [B, L, D], source of cross-attention.
        interpolate: [B, T', D], stretched to the length of the codes, and added.
    """

    prepend: Tensor | None = None
    add: Tensor | None = None
    frames: Tensor | None = None
    cross: Tensor | None = None
    interpolate: Tensor | None = None

    @property
    def prepended(self) -> int:
        """Return how many steps P stand in front of the codes."""
        return 0 if self.prepend is None else self.prepend.shape[1]

    @classmethod
    def cat(cls, parts: Sequence[Fused]) -> Fused:
        """Return the rows of all parts as one batch, for example [conditional | unconditional]. Frames may differ in
        length; all else must be as long as if it had been embedded together."""
        return cls(
            *(_cat_rows([getattr(part, item.name) for part in parts], item.name) for item in fields(cls))
        )

    def rows(self, index: Tensor | slice) -> Fused:
        """Take some rows of the batch, in the order of `index`."""
        return self._map(lambda tensor: tensor[index])

    def to(self, *args: Any, **kwargs: Any) -> Fused:
        """Move all tensors to another device, or to another precision."""
        return self._map(lambda tensor: tensor.to(*args, **kwargs))

    def _map(self, change: Callable[[Tensor], Tensor]) -> Fused:
        values = (getattr(self, item.name) for item in fields(self))
        return Fused(*(None if value is None else change(value) for value in values))


def _cat_rows(values: Sequence[Tensor | None], name: str) -> Tensor | None:
    present = [value for value in values if value is not None]
    if not present:
        return None
    if len(present) < len(values):
        raise InvalidInput(f"some rows have the condition {name!r} and some have not", field=name)
    lengths = {value.shape[1] for value in present}
    if len(lengths) > 1:
        if name != "frames":
            raise InvalidInput(
                f"conditions {name!r} of lengths {sorted(lengths)} cannot share a batch", field=name
            )
        present = [F.pad(value, (0, 0, 0, max(lengths) - value.shape[1])) for value in present]
    return torch.cat(present)


@dataclass(slots=True)
class FuserState:
    """This record says how many steps [B] have gone through, without the prepended ones."""

    position: Tensor
    started: bool = False


class ConditionFuser(StreamingModule):
    """A fuser knows where each condition enters.

    Args:
        fuse2cond: names of the conditions by method, one of `FUSING_METHODS`.
        cross_attention_pos_emb: add sine positions to the cross-attention source.
        cross_attention_pos_emb_scale: their factor.
    """

    FUSING_METHODS = ("sum", "prepend", "cross", "ignore", "input_interpolate", "frames")

    def __init__(
        self,
        fuse2cond: Mapping[str, Sequence[str]],
        cross_attention_pos_emb: bool = False,
        cross_attention_pos_emb_scale: float = 1.0,
    ) -> None:
        super().__init__()
        unknown = set(fuse2cond) - set(self.FUSING_METHODS)
        if unknown:
            raise ConfigError(
                f"fusing methods {', '.join(sorted(unknown))} are not among {', '.join(self.FUSING_METHODS)}"
            )
        self.fuse2cond = {method: list(names) for method, names in fuse2cond.items()}
        self.cond2fuse = {name: method for method, names in self.fuse2cond.items() for name in names}
        self.cross_attention_pos_emb = cross_attention_pos_emb
        self.cross_attention_pos_emb_scale = cross_attention_pos_emb_scale

    def fuse(self, conditions: Mapping[str, ConditionType]) -> Fused:
        """Put embedded conditions together -> where they enter. As in the original, later prepended ones go in front of
        earlier ones, and a sum reaches what was prepended before it."""
        unknown = set(conditions) - set(self.cond2fuse)
        if unknown:
            raise InvalidInput(
                f"this model does not know the conditions {', '.join(sorted(unknown))}; "
                f"it knows {', '.join(self.cond2fuse) or 'none'}",
                field="conditions",
            )
        places: dict[str, Tensor | None] = dict.fromkeys(item.name for item in fields(Fused))
        for name, (embedding, _) in conditions.items():
            self._place(places, self.cond2fuse[name], embedding)
        cross = places["cross"]
        if cross is not None and self.cross_attention_pos_emb:
            positions = torch.arange(cross.shape[1], device=cross.device).view(1, -1, 1)
            waves = create_sin_embedding(positions, cross.shape[-1]).to(cross.dtype)
            places["cross"] = cross + self.cross_attention_pos_emb_scale * waves
        return Fused(**places)

    def forward(
        self, input: Tensor, conditions: Mapping[str, ConditionType], *, state: FuserState | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Add conditions to steps [B, S, D]: the result is [B, P + S, D], and the source of cross-attention [B, L, D]
        or None.

        With a state, only the first call is given the prepended conditions.
        """
        fused = self.fuse(conditions)
        state = self.current_state(state, input.shape[0])
        if state is None:
            return apply_fused(input, fused, None), fused.cross
        if fused.interpolate is not None:
            raise InvalidInput(
                "stretching a condition needs the whole sequence at once", field="input_interpolate"
            )
        state.position = state.position.to(input.device)
        positions = state.position.unsqueeze(1) + torch.arange(input.shape[1], device=input.device)
        out = apply_fused(input, fused, positions, with_prepend=not state.started)
        state.position = state.position + input.shape[1]
        state.started = True
        return out, fused.cross

    def init_state(self, batch_size: int, **options: Any) -> FuserState:
        return FuserState(torch.zeros(batch_size, dtype=torch.long, device="cpu"))

    @staticmethod
    def _place(places: dict[str, Tensor | None], method: str, embedding: Tensor) -> None:
        def append(place: str, dim: int, first: bool = False) -> None:
            there = places[place]
            if there is None:
                places[place] = embedding
            else:
                places[place] = torch.cat([embedding, there] if first else [there, embedding], dim=dim)

        if method == "sum":
            if embedding.shape[1] != 1:
                raise InvalidInput(
                    f"a condition that is summed has one vector per row, got {embedding.shape[1]}: "
                    "fuse it by 'frames' or 'input_interpolate'",
                    field="sum",
                )
            places["add"] = embedding if places["add"] is None else places["add"] + embedding
            if places["prepend"] is not None:
                places["prepend"] = places["prepend"] + embedding
        elif method == "prepend":
            append("prepend", 1, first=True)
        elif method == "cross":
            append("cross", 1)
        elif method == "frames":
            places["frames"] = _added(places["frames"], embedding)
        elif method == "input_interpolate":
            places["interpolate"] = _only(places["interpolate"], embedding, method)


def _only(there: Tensor | None, embedding: Tensor, method: str) -> Tensor:
    if there is not None:
        raise InvalidInput(f"one condition can be fused by {method!r}, not several", field=method)
    return embedding


def _added(one: Tensor | None, other: Tensor) -> Tensor:
    """Return the sum of two conditions [B, T, D] of each frame; the shorter one has nothing to say behind its end."""
    if one is None:
        return other
    frames = max(one.shape[1], other.shape[1])
    return F.pad(one, (0, 0, 0, frames - one.shape[1])) + F.pad(other, (0, 0, 0, frames - other.shape[1]))


def apply_fused(
    x: Tensor,
    fused: Fused,
    positions: Tensor | None,
    *,
    length: int | None = None,
    with_prepend: bool = True,
    first_frame: int = 0,
) -> Tensor:
    """Put the conditions into steps x [B, S, D].

    Args:
        positions: [B, S], which step of the codes each is; None where x is the whole sequence.
        length: number of steps of the whole sequence, where x is a part of it.
        with_prepend: x is the beginning of the sequence.
        first_frame: the step that predicts frame 0.
    """
    batch, steps = x.shape[:2]
    if fused.interpolate is not None:
        places = torch.arange(steps, device=x.device).expand(batch, -1) if positions is None else positions
        stretched = (places * fused.interpolate.shape[1]).div(length or steps, rounding_mode="floor")
        x = x + _rows_at(fused.interpolate, stretched).to(x.dtype)
    if fused.frames is not None:
        if positions is None:
            rows = fused.frames[:, : max(0, steps - first_frame)]
            rows = F.pad(rows, (0, 0, first_frame, steps - first_frame - rows.shape[1]))
        else:
            rows = _rows_at(fused.frames, positions - first_frame)
        x = x + rows.to(x.dtype)
    if fused.add is not None:
        x = x + fused.add.to(x.dtype)
    if with_prepend and fused.prepend is not None:
        x = torch.cat([fused.prepend.to(x.dtype), x], dim=1)
    return x


def added_to(
    positions: Tensor, width: int, fused: Fused, *, length: int | None, first_frame: int
) -> Tensor | None:
    """Return what conditions add to the steps at `positions` [B, S] of the codes, [B, S, D]; None where that is
    nothing."""
    if fused.add is None and fused.frames is None and fused.interpolate is None:
        return None
    nothing = torch.zeros(*positions.shape, width, device=positions.device)
    return apply_fused(nothing, fused, positions, length=length, with_prepend=False, first_frame=first_frame)


def _rows_at(condition: Tensor, index: Tensor) -> Tensor:
    """Read condition [B, T, D] at index [B, S] -> [B, S, D]; zeros before the start and past the end."""
    length, width = condition.shape[1:]
    inside = (index >= 0) & (index < length)
    places = index.clamp(0, length - 1).unsqueeze(-1).expand(-1, -1, width)
    return condition.gather(1, places) * inside.unsqueeze(-1)
