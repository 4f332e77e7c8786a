"""The bundled codec's networks in operations that ONNX has: spectra and their inverses as convolutions and products
with real numbers, where the networks themselves use complex ones."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiocraft.modules.harmonic import bounds
from audiocraft.modules.harmonic.decoder import HarmonicNoiseDecoder, amplitude
from audiocraft.modules.harmonic.encoder import (
    NOISES_PER_FRAME,
    TONES_PER_FRAME,
    SpectralEncoder,
    farthest_move,
    gathered,
    heard_places,
)

_KERNEL = 7
_LEAST_SHARE = 1e-7


class PortableEncoder(nn.Module):
    """This network is `SpectralEncoder` for audio [B, 1, N] of whole frames."""

    basis: Tensor
    kernels: Tensor

    def __init__(self, encoder: SpectralEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        size = encoder.window.shape[0]
        times = torch.arange(size, dtype=torch.float64)
        bins = torch.arange(size // 2 + 1, dtype=torch.float64)[:, None]
        angles = 2 * math.pi / size * bins * times
        window = encoder.window / math.sqrt(size)
        basis = torch.cat([angles.cos() * window, -angles.sin() * window])
        scale = encoder.scale
        self.register_buffer("basis", _by_hops(basis.t(), scale.noise_hop))
        # Values of single precision, which take half the bytes in a file.
        self.register_buffer("kernels", _by_hops(encoder.tones, scale.tone_hop).float())

    def forward(self, x: Tensor) -> Tensor:
        """Encode x [B, 1, N] -> [B, D, T]."""
        x, scale = x.double(), self.encoder.scale
        parts = self._parts(x, self.kernels.double(), self.encoder.tones.shape[0])
        tones = torch.log10((self._moved(parts) if scale.reassign else _magnitudes(parts)) + scale.floor)
        power = _magnitudes(self._parts(x, self.basis, self.encoder.window.shape[0])).square()
        bands = torch.log10((power @ self.encoder.filters.t()).sqrt() + scale.floor)
        features = torch.cat(
            [
                tones.reshape(x.shape[0], -1, TONES_PER_FRAME * tones.shape[-1]),
                bands.reshape(x.shape[0], -1, NOISES_PER_FRAME * bands.shape[-1]) * scale.noise_weight,
            ],
            dim=-1,
        )
        return self.encoder.projected(features).transpose(1, 2)

    def _parts(self, x: Tensor, kernels: Tensor, size: int) -> Tensor:
        """Return what kernels [hops, hop, n] of `size` samples hear, [B, steps, n]: products, since onnxruntime has no
        convolutions in double precision."""
        count, hop, _ = kernels.shape
        before = size // 2 - hop
        hops = F.pad(x[:, 0], (before, (count - 1) * hop - before)).reshape(x.shape[0], -1, hop)
        steps = x.shape[-1] // hop
        return torch.stack([hops[:, j : j + steps] @ kernels[j] for j in range(count)]).sum(dim=0)

    def _moved(self, parts: Tensor) -> Tensor:
        """Do what `reassigned` does by comparisons, because older operators cannot keep the largest of what they
        scatter."""
        scale = self.encoder.scale
        amplitudes, places = heard_places(scale, parts)
        moves = places - torch.arange(scale.num_tones, device=parts.device)
        moved = torch.zeros_like(amplitudes)
        for move in range(-farthest_move(scale), farthest_move(scale) + 1):
            kept = torch.where(moves == move, amplitudes, torch.zeros_like(amplitudes))
            shifted = (
                F.pad(kept, (move, 0))[..., : scale.num_tones]
                if move >= 0
                else F.pad(kept, (0, -move))[..., -move:]
            )
            moved = torch.maximum(moved, shifted)
        return gathered(moved)


def _by_hops(kernels: Tensor, hop: int) -> Tensor:
    """Cut kernels [size, n] in pieces of a hop [hops, hop, n], zeros behind their end."""
    return F.pad(kernels, (0, 0, 0, -kernels.shape[0] % hop)).unflatten(0, (-1, hop)).contiguous()


def _magnitudes(parts: Tensor) -> Tensor:
    """Map real and imaginary parts [..., 2 n] to [..., n]."""
    real, imaginary = parts.chunk(2, dim=-1)
    return (real.square() + imaginary.square()).sqrt()


class PortableDecoder(nn.Module):
    """This network is `HarmonicNoiseDecoder` with its state as tensors that come and go."""

    real: Tensor
    imaginary: Tensor
    turn_cos: Tensor
    turn_sin: Tensor
    shares: Tensor

    def __init__(self, decoder: HarmonicNoiseDecoder) -> None:
        super().__init__()
        self.decoder = decoder
        size = decoder.window.shape[0]
        spectra = torch.eye(size // 2 + 1, dtype=torch.float64)
        real = torch.fft.irfft(spectra.to(torch.complex128), n=size, norm="ortho") * decoder.window.double()
        imaginary = torch.fft.irfft(1j * spectra, n=size, norm="ortho") * decoder.window.double()
        self.register_buffer("real", real.float())
        self.register_buffer("imaginary", imaginary.float())
        self.register_buffer("turn_cos", decoder.turns.real.contiguous())
        self.register_buffer("turn_sin", decoder.turns.imag.contiguous())
        reach = math.ceil(math.log(_LEAST_SHARE, decoder.prediction)) if decoder.prediction else 1
        shares = decoder.prediction ** torch.arange(reach - 1, -1, -1, dtype=torch.float64)
        self.register_buffer("shares", shares.float().expand(decoder.dimension, 1, reach).contiguous())

    def first_state(self, batch_size: int) -> tuple[Tensor, ...]:
        """Return position [], tone tail, noise tail, the frames that each block still hears, the powers that bound what
        comes, and with prediction the last frame."""
        state = self.decoder.init_state(batch_size)
        like = self.decoder.output.weight
        position = torch.zeros((), dtype=torch.long, device=like.device)
        heard = () if state.heard is None else (state.heard,)
        held = (like.new_zeros(batch_size, self.decoder.dimension),) if self.decoder.prediction else ()
        return position, state.tone_tail, state.noise_tail, *state.past, *heard, *held

    def forward(self, z: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Decode z [B, D, T] -> audio [B, 1, T * hop], and the state after it."""
        decoder = self.decoder
        position, tone_tail, noise_tail, *rest = state
        pasts, rest = rest[: len(decoder.blocks)], rest[len(decoder.blocks) :]
        frames = z.shape[-1]
        held: tuple[Tensor, ...] = ()
        if decoder.prediction:
            z = self._summed(z, rest[-1])
            held = (z[..., -1],)
        hidden, after = decoder.norm(decoder.input(z).transpose(1, 2)).transpose(1, 2), []
        for block, past in zip(decoder.blocks, pasts, strict=True):
            after.append(torch.cat([past, hidden], dim=-1)[..., 1 - _KERNEL :])
            hidden = block(hidden, past)
        levels = decoder.direct(z.transpose(1, 2)) + decoder.output(
            decoder.final_norm(hidden.transpose(1, 2))
        )
        tones, noise = levels.split(decoder.scale.widths, dim=-1)
        count, bands = decoder.scale.num_tones, decoder.scale.bands
        tones = decoder.sharpen(tones.reshape(z.shape[0], -1, count))
        noise = noise.reshape(z.shape[0], -1, bands) / decoder.scale.noise_weight
        tones, noise = amplitude(tones, decoder.scale.floor), amplitude(noise, decoder.scale.floor)
        heard: tuple[Tensor, ...] = ()
        if decoder.bounded:
            tones, noise, powers = bounds.bounded(tones, noise, rest[0], pooled=True)
            heard = (powers,)
        sung, tone_tail = self._sung(tones, position, tone_tail)
        hissed, noise_tail = self._hissed(noise, position, noise_tail)
        audio = (sung + hissed).unsqueeze(1)
        return audio, (position + frames, tone_tail, noise_tail, *after, *heard, *held)

    def _summed(self, z: Tensor, held: Tensor) -> Tensor:
        """Do what `leaky_sum` does as a convolution: shares too small to matter are left out."""
        first = z[..., :1] + self.decoder.prediction * held.unsqueeze(-1)
        padding = z.new_zeros(z.shape[0], z.shape[1], self.shares.shape[-1] - 1)
        return F.conv1d(
            torch.cat([padding, first, z[..., 1:]], dim=-1), self.shares, groups=self.shares.shape[0]
        )

    def _sung(self, tones: Tensor, position: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
        decoder = self.decoder
        steps = position * TONES_PER_FRAME + torch.arange(tones.shape[1], device=tones.device)
        turns = decoder.phases + steps.double()[:, None] * (decoder.frequencies * decoder.scale.tone_hop)
        angles = (2 * math.pi * (turns - turns.floor())).float()
        rotated = torch.cat([tones * angles.cos(), tones * angles.sin()], dim=-1)
        return _overlapped(rotated @ decoder.tones, tail, decoder.scale.tone_hop)

    def _hissed(self, noise: Tensor, position: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
        decoder = self.decoder
        steps = position * NOISES_PER_FRAME + torch.arange(noise.shape[1], device=noise.device)
        steps = torch.remainder(steps, decoder.turns.shape[0])
        level = (noise.square() @ decoder.spread).add(1e-12).sqrt()
        pieces = (level * self.turn_cos[steps]) @ self.real + (level * self.turn_sin[steps]) @ self.imaginary
        return _overlapped(pieces, tail, decoder.scale.noise_hop)


def _overlapped(pieces: Tensor, tail: Tensor, hop: int) -> tuple[Tensor, Tensor]:
    rising, falling = pieces[..., :hop], pieces[..., hop:]
    audio = rising + torch.cat([tail.unsqueeze(1), falling[:, :-1]], dim=1)
    return audio.reshape(pieces.shape[0], -1), falling[:, -1]
