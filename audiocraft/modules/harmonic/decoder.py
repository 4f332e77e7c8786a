"""The decoder of the bundled codec: a network that says what sounds, and oscillators that make the sound.

A convolutional decoder fed with 25 equal frames a second repeats itself 25 times a second: it can only make multiples
of 25 Hz, and chords lose their key. Here the network says how loud each tone of a quarter-tone scale and each band of
noise is, and oscillators that know the time make the sound, as in harmonic-plus-noise synthesis (Serra and Smith
1990) and DDSP (Engel et al. 2020, arXiv 2001.04643). The encoder (`encoder.py`) listens on the same scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiocraft.audio.mel import mel_filters
from audiocraft.modules.backend import is_watched, kernels_for
from audiocraft.modules.compiled.codec import Chain
from audiocraft.modules.compiled.codec_weights import Unsupported
from audiocraft.modules.derived import Derived
from audiocraft.modules.harmonic import bounds
from audiocraft.modules.harmonic.encoder import (
    FLOOR,
    NOISES_PER_FRAME,
    TONES_PER_FRAME,
    ConstantBuffers,
    ToneScale,
)
from audiocraft.modules.streaming import StreamingModule
from audiocraft.quantization.vq import leaky_sum

_KERNEL = 7
_REMEMBERED = bounds.SPAN + bounds.GAP  # frames by whose loudness one is bounded
_EXPANSION = 3
# Random phases of the noise repeat after this many of its steps, which nobody hears.
_NOISE_PERIOD = 4096
_LOUDEST = 0.3  # log10 of the largest amplitude
# The share of a frame below which the frames after it no longer hear it.
_FORGOTTEN = 1e-6


class Block(StreamingModule):
    """This block is a residual block in the manner of ConvNeXt (Liu et al. 2022): depthwise convolution, norm, two
    layers.

    Args:
        causal: frames see only those before them, so that the block streams.
    """

    def __init__(self, width: int, *, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.depthwise = nn.Conv1d(width, width, _KERNEL, groups=width)
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, _EXPANSION * width)
        self.contract = nn.Linear(_EXPANSION * width, width)
        nn.init.zeros_(self.contract.weight)
        nn.init.zeros_(self.contract.bias)

    def forward(self, x: Tensor, past: Tensor | None = None) -> Tensor:
        """Add what the block makes of x [B, D, T] to it; the shape stays.

        Args:
            past: the frames [B, D, 6] before x, where the block streams.
        """
        if past is not None:
            padded = torch.cat([past, x], dim=-1)
        else:
            reach = _KERNEL - 1
            padded = F.pad(x, (reach, 0) if self.causal else (reach // 2, reach - reach // 2))
        inner = self.norm(self.depthwise(padded).transpose(1, 2))
        return x + self.contract(F.gelu(self.expand(inner))).transpose(1, 2)


class Sharpen(nn.Module):
    """This layer keeps the peaks of log levels [B, steps, tones] and lowers their flanks.

    A window of 170 ms hears a low tone on several neighbouring ones too; sung again, they would beat. The same small
    network looks at every tone and its neighbours, and at where on the scale it is.
    """

    place: Tensor

    def __init__(self, num_tones: int, width: int = 24) -> None:
        super().__init__()
        self.first = nn.Conv1d(2, width, 13, padding=6)
        self.second = nn.Conv1d(width, width, 5, padding=2)
        self.last = nn.Conv1d(width, 1, 1)
        self.activation = nn.GELU()
        self._packed = tuple(Derived() for _ in range(3))
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)
        with torch.device("cpu"):
            self.register_buffer("place", torch.linspace(-1, 1, num_tones), persistent=False)

    def forward(self, levels: Tensor) -> Tensor:
        flat = levels.flatten(0, 1)
        seen = torch.stack([flat, self.place.to(flat).expand_as(flat)], dim=-1)  # [B * steps, tones, 2]
        change = self._in_kernels(seen)
        if change is None:
            hidden = self.activation(self.first(seen.transpose(1, 2)))
            change = self.last(self.activation(self.second(hidden)))
        return levels + change.view_as(levels)

    def _in_kernels(self, seen: Tensor) -> Tensor | None:
        """Map seen [B * steps, tones, 2] to [B * steps, tones, 1]; None where torch has to do it."""
        kernels = kernels_for(seen)
        if torch.is_grad_enabled() or self.training:
            for kept in self._packed:
                kept.drop()
            return None
        if kernels is None or any(is_watched(module) for module in self.modules()):
            return None
        chain = Chain(kernels, seen.shape[-1])
        try:
            chain.same(self.first, self._packed[0])
            chain.activate(self.activation)
            chain.same(self.second, self._packed[1])
            chain.activate(self.activation)
            chain.same(self.last, self._packed[2])
        except Unsupported:  # what somebody put in the place of a layer
            return None
        return chain.run(seen)


def amplitude(levels: Tensor, floor: float = FLOOR) -> Tensor:
    """Turn log10 levels into amplitudes, smoothly 0 below the floor."""
    loudness = 10.0 ** levels.clamp_max(_LOUDEST).float()
    return F.softplus(4 * (loudness / floor - 1)) * (floor / 4)


@dataclass(slots=True)
class SynthesisState:
    """This record holds what one stream of the decoder remembers between its steps.

    Args:
        past: for each block, the frames [B, D, 6] it still hears.
        tone_tail, noise_tail: what the last steps add to the samples that follow.
        position: frames made so far.
        held: the last frame [B, dimension], of which the next one has a share; None at the start.
        heard: powers [B, frames] of the last frames, by which the next are bounded; None where they are not.
        unheard: frames, and `past` before them, whose powers `heard` lacks: nothing has asked for them so far.
    """

    past: list[Tensor]
    tone_tail: Tensor
    noise_tail: Tensor
    position: int = 0
    held: Tensor | None = None
    heard: Tensor | None = None
    unheard: tuple[Tensor, list[Tensor]] | None = None


class HarmonicNoiseDecoder(ConstantBuffers, StreamingModule):
    """This network is a causal decoder of frames [B, dimension, T] into audio [B, 1, T * hop]: blocks say what sounds,
    then come tones and noise.

    Oscillators run with the time of the piece, so equal frames make a steady tone of any frequency. Step by step
    equals all at once.

    Args:
        prediction: share of the frame before that is added to each frame: what the codes of a quantiser with the same
            prediction leave out.
        bounded: levels stay within what real sounds reach (`bounds.py`), whatever codes a language model drew; not
            in training.
    """

    frequencies: Tensor
    phases: Tensor
    tones: Tensor
    turns: Tensor
    spread: Tensor
    window: Tensor

    def __init__(
        self,
        scale: ToneScale,
        *,
        dimension: int = 96,
        width: int = 256,
        num_blocks: int = 4,
        prediction: float = 0.0,
        bounded: bool = False,
    ) -> None:
        super().__init__()
        self.prediction = prediction
        self.bounded = bounded
        self.scale = scale
        self.dimension = dimension
        self.hop_length = scale.hop
        self.direct = nn.Linear(dimension, sum(scale.widths))
        self.input = nn.Conv1d(dimension, width, 1)
        self.norm = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(Block(width, causal=True) for _ in range(num_blocks))
        self.final_norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, sum(scale.widths))
        self.sharpen = Sharpen(scale.num_tones)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)
        with torch.device("cpu"):
            oscillators = _oscillators(scale)
        for name, constant in oscillators.items():
            self.register_buffer(name, constant, persistent=False)

    @torch.no_grad()
    def fit(self, components: Tensor, mean: Tensor) -> None:
        """Begin as the inverse of an encoder with these components [D, F] of features with this mean [F]; all else
        begins at zero and learns to do better."""
        self.direct.weight.copy_(components.t())
        self.direct.bias.copy_(mean)

    def init_state(self, batch_size: int) -> SynthesisState:
        """Return the state of streams that have not begun."""
        like = self.output.weight
        past = [like.new_zeros(batch_size, like.shape[1], _KERNEL - 1) for _ in self.blocks]
        return SynthesisState(
            past,
            like.new_zeros(batch_size, self.scale.tone_hop, dtype=torch.float32),
            like.new_zeros(batch_size, self.scale.noise_hop, dtype=torch.float32),
            heard=bounds.past_of(batch_size, like.float()) if self.bounded else None,
        )

    def forward(self, z: Tensor, *, state: SynthesisState | None = None) -> Tensor:
        """Decode z [B, D, T] -> [B, 1, T * hop]; with a state, what follows the frames before.

        In training, oscillators start anywhere, so that nothing is learnt by heart about their phases.
        """
        if z.shape[-1] == 0:
            return z.new_zeros(z.shape[0], 1, 0)
        z = self._summed(z, state)
        tones, noise = self.amplitudes(z, state)
        if state is not None:
            start = state.position
            state.position += z.shape[-1]
        else:
            start = int(torch.randint(1 << 16, (), device="cpu")) if self.training else 0
        with torch.autocast(z.device.type, enabled=False):
            tones, noise = tones.float(), noise.float()
            if self.bounded and not self.training and not self._put_off(z, tones, noise, state):
                heard = None if state is None else state.heard
                heard = bounds.past_of(z.shape[0], tones) if heard is None else heard
                tones, noise, heard = bounds.bounded(tones, noise, heard)
                if state is not None:
                    state.heard = heard
            audio = self._sing(tones, start, state) + self._hiss(noise, start, state)
        return audio.unsqueeze(1).to(z.dtype)

    def last_samples(self, z: Tensor, first: int, state: SynthesisState) -> Tensor:
        """Take the next frames z [B, D, T] and return the samples of those from frame `first` on, 0 < first < T, as
        `forward` makes them; for less than it costs to make all."""
        z = self._summed(z, state)
        self._catch_up(state)
        start = state.position + first - 1  # samples hear the frame before theirs
        made = self._last_if_quiet(z, first - 1, state)
        if made is None:
            hidden = self._hidden(z, state)
            heard = min(first, _REMEMBERED if self.bounded else 1)
            made = self._bounded_from(z, hidden, first - heard, state)
            made = made[0][:, (heard - 1) * TONES_PER_FRAME :], made[1][:, (heard - 1) * NOISES_PER_FRAME :]
        tones, noise = made
        state.position += z.shape[-1]
        audio = self._sing(tones, start, state) + self._hiss(noise, start, state)
        return audio[:, self.hop_length :].unsqueeze(1).to(z.dtype)

    def _bounded_from(
        self, z: Tensor, hidden: Tensor, begin: int, state: SynthesisState
    ) -> tuple[Tensor, Tensor]:
        """Return the amplitudes of the frames from `begin` on, within their bounds."""
        tones, noise = self._loudness(z[..., begin:], hidden[..., begin:])
        tones, noise = tones.float(), noise.float()
        if state.heard is not None:
            tones, noise, state.heard = bounds.bounded(tones, noise, state.heard)
        return tones, noise

    def _last_if_quiet(self, z: Tensor, begin: int, state: SynthesisState) -> tuple[Tensor, Tensor] | None:
        """Return the amplitudes of the frames from `begin` on, if no bound touches them: how loud it was before need
        not be found out then. None, and nothing done, where it must be."""
        low = begin - (_KERNEL - 1) * len(self.blocks)
        if state.heard is None or low <= 0:
            return None
        short = replace(state, past=[torch.zeros_like(past) for past in state.past])
        hidden = self._hidden(z[..., low:], short)[..., begin - low :]
        tones, noise = self._loudness(z[..., begin:], hidden)
        tones, noise = tones.float(), noise.float()
        if not bounds.leaves_unchanged(tones, noise):
            return None
        state.unheard, state.past = (z, state.past), short.past
        return tones, noise

    def _put_off(self, z: Tensor, tones: Tensor, noise: Tensor, state: SynthesisState | None) -> bool:
        """Return whether frames z of these amplitudes need no bounds either, while it is not known how loud it was
        before them; for a while."""
        if state is None or state.unheard is None:
            return False
        earlier, past = state.unheard
        if earlier.shape[-1] > 4 * _REMEMBERED or not bounds.leaves_unchanged(tones, noise):
            self._catch_up(state)
            return False
        state.unheard = torch.cat([earlier, z], dim=-1), past
        return True

    def _catch_up(self, state: SynthesisState) -> None:
        """Find out how loud the frames were that nobody had asked for."""
        if state.unheard is None:
            return
        z, past = state.unheard
        hidden = self._hidden(z, replace(state, past=list(past)))
        self._bounded_from(z, hidden, max(0, z.shape[-1] - _REMEMBERED), state)
        state.unheard = None

    def _summed(self, z: Tensor, state: SynthesisState | None) -> Tensor:
        """Return frames z [B, D, T], each with its share of the one before."""
        if not self.prediction:
            return z
        z, held = leaky_sum(z, self.prediction, None if state is None else state.held)
        if state is not None:
            state.held = held
        return z

    def begin_at(self, state: SynthesisState, frame: int) -> None:
        """Let a stream that has not begun start at `frame` of its piece: oscillators run with the time of the piece."""
        state.position = frame

    @property
    def memory(self) -> int:
        """Return how many frames before a frame its samples depend on."""
        remembered = (_KERNEL - 1) * len(self.blocks) + (_REMEMBERED if self.bounded else 0) + 1
        return remembered + (math.ceil(math.log(_FORGOTTEN, self.prediction)) if self.prediction else 0)

    def lookahead(self, index: int) -> int:
        """Find the frame that settles sample `index`."""
        return index // self.hop_length

    def last_step(self, z: Tensor, state: SynthesisState) -> Tensor:
        """Return the last frames of a stream; nothing is held back."""
        return self(z, state=state)

    def amplitudes(self, z: Tensor, state: SynthesisState | None = None) -> tuple[Tensor, Tensor]:
        """Turn z [B, D, T] into the amplitudes of tones [B, 2 T, tones] and of noise [B, 8 T, bands], each from 0 to
        2."""
        return self._loudness(z, self._hidden(z, state))

    def _hidden(self, z: Tensor, state: SynthesisState | None) -> Tensor:
        """Map z [B, D, T] to what the blocks make of it [B, width, T]."""
        hidden: Tensor = self.norm(self.input(z).transpose(1, 2)).transpose(1, 2)
        for number, block in enumerate(self.blocks):
            past = None if state is None else state.past[number]
            if state is not None and past is not None:
                state.past[number] = torch.cat([past, hidden], dim=-1)[..., 1 - _KERNEL :]
            hidden = block(hidden, past)
        return hidden

    def _loudness(self, z: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Turn frames and what the blocks make of them into the amplitudes of `amplitudes`."""
        levels = self.direct(z.transpose(1, 2)) + self.output(self.final_norm(hidden.transpose(1, 2)))
        tones, noise = levels.split(self.scale.widths, dim=-1)
        tones = self.sharpen(tones.unflatten(-1, (TONES_PER_FRAME, -1)).flatten(1, 2))
        noise = noise.unflatten(-1, (NOISES_PER_FRAME, -1)).flatten(1, 2) / self.scale.noise_weight
        return amplitude(tones, self.scale.floor), amplitude(noise, self.scale.floor)

    def _sing(self, tones: Tensor, start: int, state: SynthesisState | None) -> Tensor:
        """Map tones [B, steps, tones] to [B, N]."""
        first = start * TONES_PER_FRAME
        steps = torch.arange(first, first + tones.shape[1], dtype=torch.float64, device=tones.device)
        # In double precision and modulo one turn, so that pitch holds for hours.
        turns = self.phases + steps[:, None] * (self.frequencies * self.scale.tone_hop)
        angles = (2 * math.pi * (turns - turns.floor())).float()  # [steps, tones]
        rotated = torch.cat([tones * angles.cos(), tones * angles.sin()], dim=-1)
        audio, tail = _overlap_add(rotated @ self.tones, None if state is None else state.tone_tail)
        if state is not None:
            state.tone_tail = tail
        return audio

    def _hiss(self, noise: Tensor, start: int, state: SynthesisState | None) -> Tensor:
        """Map noise [B, steps, bands] to [B, N]."""
        first = start * NOISES_PER_FRAME
        steps = torch.arange(first, first + noise.shape[1], device=noise.device) % _NOISE_PERIOD
        spectrum = (noise.square() @ self.spread).add(1e-12).sqrt() * self.turns[steps]
        pieces = torch.fft.irfft(spectrum, norm="ortho") * self.window
        audio, tail = _overlap_add(pieces, None if state is None else state.noise_tail)
        if state is not None:
            state.noise_tail = tail
        return audio


@lru_cache(maxsize=2)
@torch.inference_mode(False)  # tensors that are made in inference mode cannot be trained with
def _oscillators(scale: ToneScale) -> dict[str, Tensor]:
    """Return the constant buffers of a decoder by their names, which models of one scale share."""
    random = torch.Generator().manual_seed(0)
    frequencies = scale.frequencies()
    angles = 2 * math.pi * frequencies[:, None] * torch.arange(2 * scale.tone_hop, dtype=torch.float64)
    waves = torch.cat([angles.cos(), -angles.sin()]) * torch.hann_window(2 * scale.tone_hop)
    turns = torch.rand(_NOISE_PERIOD, scale.noise_hop + 1, generator=random) * 2 * math.pi
    filters = mel_filters(scale.sample_rate, 2 * scale.noise_hop, scale.bands)
    filters[:, 0] = 0.0
    return {
        "frequencies": frequencies,
        "phases": torch.rand(len(frequencies), generator=random).double(),
        "tones": waves.float(),
        "turns": torch.polar(torch.ones(()), turns),
        "spread": _covering(filters),
        "window": torch.hann_window(2 * scale.noise_hop),
    }


def _covering(filters: Tensor) -> Tensor:
    """Return filters [bands, bins] with at least one bin per band, the nearest, and summing to 1 in each bin they
    reach."""
    for band, weights in enumerate(filters):
        if not weights.any():
            filters[band, 1 + band * (filters.shape[1] - 2) // (4 * len(filters))] = 1.0
    return filters / filters.sum(dim=0, keepdim=True).clamp_min(1.0)


def _overlap_add(pieces: Tensor, tail: Tensor | None) -> tuple[Tensor, Tensor]:
    """Add pieces [B, steps, 2 hop], each overlapping the next by half -> samples [B, steps * hop] and what is left over
    for those that follow [B, hop].

    Args:
        tail: what was left over before; None at the start.
    """
    hop = pieces.shape[-1] // 2
    rising, falling = pieces.split(hop, dim=-1)
    before = torch.zeros_like(falling[:, 0]) if tail is None else tail
    audio = rising + torch.cat([before.unsqueeze(1), falling[:, :-1]], dim=1)
    return audio.flatten(1), falling[:, -1]
