"""Rotary position embedding (RoPE), with the decay of XPos: positions as rotations of queries and keys."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from audiocraft.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Rotation:
    """A rotation holds complex factors [B or 1, 1, S, D / 2H], ready for queries and keys [B, H, S, D / H]."""

    query: Tensor
    key: Tensor

    def apply(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        return _rotate(query, self.query), _rotate(key, self.key)


class XPos(nn.Module):
    """This module is a decay per position and frequency (Sun et al. 2022): far pairs of query and key count less.

    Args:
        dim: width of a head.
        smoothing: from 0 (low frequencies vanish fastest) up, flattens the decay over frequencies.
        base_scale: positions after which the decay has fully acted.
        dtype: of the decay rates.
    """

    decay_rates: Tensor

    def __init__(
        self,
        dim: int,
        smoothing: float = 0.4,
        base_scale: int = 512,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        if dim % 2:
            raise InvalidInput(f"the width of a head must be even, got {dim}", field="dim")
        self.base_scale = base_scale
        half = dim // 2
        places = torch.arange(half, device=device, dtype=dtype) / half
        self.register_buffer("decay_rates", (places + smoothing) / (1.0 + smoothing))

    def decay(self, positions: Tensor) -> Tensor:
        """Compute the factors [..., dim / 2] of positions [...]."""
        power = positions.to(self.decay_rates.dtype).unsqueeze(-1) / self.base_scale
        return self.decay_rates**power

    def get_decay(self, start: int, end: int) -> Tensor:
        """Return the factors of positions start ... end - 1, [T, 1, dim / 2]."""
        return self.decay(torch.arange(start, end, device=self.decay_rates.device)).unsqueeze(1)


class RotaryEmbedding(nn.Module):
    """This embedding rotates pairs of neighbouring channels by an angle proportional to the position (Su et al. 2021).

    Args:
        dim: width of a head.
        max_period: of the slowest rotation, in positions.
        xpos: let far pairs decay too.
        scale: 1 rotates, 0 does nothing, between is a mixture.
        dtype: of the frequencies.
    """

    frequencies: Tensor

    def __init__(
        self,
        dim: int,
        max_period: float = 10000.0,
        xpos: bool = False,
        scale: float = 1.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        if dim % 2:
            raise InvalidInput(f"the width of a head must be even, got {dim}", field="dim")
        self.scale = scale
        places = torch.arange(0, dim, 2, device=device, dtype=dtype) / dim
        self.register_buffer("frequencies", 1.0 / (max_period**places))
        self.xpos = XPos(dim, device=device, dtype=dtype) if xpos else None

    def rotations(self, positions: Tensor, decay: Tensor | None = None) -> Tensor:
        """Compute the complex rotations [..., dim / 2] of positions [...], with a factor [..., dim / 2] on each."""
        # A model that was cast to half precision has frequencies in it; complex numbers need more.
        frequencies = self.frequencies.to(torch.promote_types(self.frequencies.dtype, torch.float32))
        angles = positions.to(frequencies.dtype).unsqueeze(-1) * frequencies
        rotation = torch.polar(torch.ones_like(angles), angles)
        rotation = rotation if decay is None else rotation * decay
        return rotation if self.scale == 1 else rotation * self.scale + (1.0 - self.scale)

    def rotation(self, positions: Tensor) -> Rotation:
        """Compute the rotation of queries and keys at `positions` [B or 1, S]; it is made once per pass and
        shared by all layers."""
        if self.xpos is None:
            rotations = self.rotations(positions).unsqueeze(1)
            return Rotation(rotations, rotations)
        decay = self.xpos.decay(positions)
        query, key = self.rotations(positions, decay), self.rotations(positions, 1 / decay)
        return Rotation(query.unsqueeze(1), key.unsqueeze(1))

    def get_rotation(self, start: int, end: int) -> Tensor:
        """Return the complex rotation of positions start ... end - 1, [T, dim / 2]."""
        return self.rotations(torch.arange(start, end, device=self.frequencies.device))

    def rotate(self, x: Tensor, start: int = 0, time_dim: int = 1, invert_decay: bool = False) -> Tensor:
        """Return x, such as [B, T, H, dim], rotated as positions start, start + 1, ... along `time_dim`."""
        length = x.shape[time_dim]
        positions = torch.arange(start, start + length, device=self.frequencies.device)
        decay = None if self.xpos is None else self.xpos.decay(positions)
        rotation = self.rotations(positions, 1 / decay if decay is not None and invert_decay else decay)
        shape = [1] * x.dim()
        shape[time_dim], shape[-1] = length, rotation.shape[-1]
        return _rotate(x, rotation.view(shape))

    def rotate_qk(
        self, query: Tensor, key: Tensor, start: int = 0, time_dim: int = 1
    ) -> tuple[Tensor, Tensor]:
        """Return the query and the key, both rotated; a shorter query (streaming) is taken to be the end of the key."""
        ahead = key.shape[time_dim] - query.shape[time_dim]
        return (
            self.rotate(query, start + ahead, time_dim),
            self.rotate(key, start, time_dim, invert_decay=True),
        )


def _rotate(x: Tensor, rotation: Tensor) -> Tensor:
    pairs = torch.view_as_complex(x.to(rotation.real.dtype).unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * rotation).flatten(-2).type_as(x)
