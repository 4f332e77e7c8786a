"""A watermark for small machines: the levels of bands of frequency go up and down by a few tenths of a decibel, each
band in a pattern of its own, many times a second.

generator  for the pilot and for each bit there is a pattern over the bands, with a phase in each; they turn with a
clock.
           Bits change their pattern's sign. What the host happens to do in a pattern lately is made up for, and a
           network hears how much change each band can take.
detector   level of a band - its trend, weighed by its unrest -> how strongly each pattern is there, over about a second
           -> the pilot tells the clock -> bits, and whether there is a mark at all

Levels survive what changes the wave itself: codecs, resampling, rooms, other sounds on top. The patterns are learned
    with
all of that in between, from an even start: see `solvers.watermark`. The idea is that of spread-spectrum marks, in
the modulation spectrum; training, losses and the message are those of AudioSeal (arXiv 2401.17264).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiocraft.config.watermark import ModulationConfig, WatermarkConfig
from audiocraft.modules.modulation import BandLevels, averaged, smoother

# Levels are compared with their trend within this many nepers of power; what is beyond is an onset, not a mark.
_FARTHEST = 2.0
_SMALL = 1e-3
_SEED = 0
# Of a fit: the share of even chance that is added to what was measured, and how often angles are found anew.
_EVEN, _TURNS = 0.02, 8


def _even_patterns(count: int, bands: int) -> Tensor:
    """Return, as [count, bands, 2], complex patterns that do not resemble each other, nor all bands going up and down
    together."""
    generator = torch.Generator("cpu").manual_seed(_SEED)
    drawn = torch.randn(bands, bands, 2, generator=generator, dtype=torch.float64, device="cpu")
    matrix = torch.view_as_complex(drawn)
    matrix[:, 0] = 1
    columns = torch.linalg.qr(matrix)[0][:, 1 : count + 1].T * math.sqrt(bands)
    return torch.view_as_real(columns.resolve_conj().contiguous()).float()


def _here(values: Tensor) -> Tensor:
    """Return `values` where modules are being built: on "meta" nothing but their shape."""
    return values.to(torch.get_default_device())


class _Modulations(nn.Module):
    """This module measures what both networks need: how levels leave their trend, and a clock."""

    def __init__(self, config: ModulationConfig, *, nbits: int, sample_rate: int) -> None:
        super().__init__()
        self.nbits, self.sample_rate = nbits, sample_rate
        self.period, self.trend, self.spread = config.period, config.trend, config.spread
        self.bands = BandLevels(config, sample_rate)
        self.unrest = nn.Parameter(torch.tensor(-2.5))  # log of the variance that no band is below

    def clock(self, first: int, count: int) -> Tensor:
        """Return exp(i angle) [count] of the frames from `first` on, complex."""
        places = (torch.arange(count, device=self.unrest.device) + first) % self.period
        angle = 2 * math.pi * places / self.period
        return torch.polar(torch.ones_like(angle), angle)

    def deviations(self, levels: Tensor, *, causal: bool) -> tuple[Tensor, Tensor]:
        """Map levels [B, bands, T] to how far they are from their trend, and the same weighed by the unrest of the
        band."""
        ones = torch.ones_like(levels[:1, :1])
        trend, spread = smoother(self.trend).to(levels), smoother(self.spread).to(levels)
        away = levels - averaged(levels, trend, causal=causal) / averaged(ones, trend, causal=causal)
        bent = _FARTHEST * torch.tanh(away / _FARTHEST)
        variance = averaged(bent.square(), spread, causal=causal) / averaged(ones, spread, causal=causal)
        return away, bent / (variance + self.unrest.exp())


class ModulationGenerator(_Modulations):
    """This network makes the mark. A frame's change depends on frames up to it, so that a stream is late by one frame
    alone."""

    past_weights: Tensor

    def __init__(self, config: ModulationConfig, *, nbits: int, sample_rate: int) -> None:
        super().__init__(config, nbits=nbits, sample_rate=sample_rate)
        bands, hidden, rows = self.bands.num_bands, config.hidden, nbits + 1
        self.strongest, self.past = config.strongest, config.past
        self.patterns = nn.Parameter(_here(_even_patterns(rows, bands)))
        self.pilot = nn.Parameter(torch.tensor(1.5))
        self.effort = nn.Parameter(torch.full((rows, 1), 0.54))
        self.reply = nn.Parameter(torch.full((rows, 1), 0.6))
        self.strength = nn.Sequential(
            nn.Conv1d(2 * bands, hidden, 1),
            nn.GELU(),
            nn.Conv1d(hidden, hidden, 3),
            nn.GELU(),
            nn.Conv1d(hidden, bands, 1),
        )
        last = self.strength[-1]
        assert isinstance(last, nn.Conv1d) and last.bias is not None
        nn.init.zeros_(last.weight)
        nn.init.constant_(last.bias, -1.1)

    @property
    def context(self) -> int:
        """Return the number of frames before a frame that its change depends on."""
        return self.trend + self.spread + self.past - 3

    def mark(self, audio: Tensor, message: Tensor | None) -> Tensor:
        """Make the mark [B, N] for audio [B, N] that carries message [B, nbits] of 0 and 1."""
        spectra = self.bands.spectra(self.bands.padded(audio), both_sides=True)
        gains = self.gains(self.bands.levels(spectra), message)
        return self.bands.joined(self.bands.changes(spectra, gains))[:, : audio.shape[-1]]

    def gains(self, levels: Tensor, message: Tensor | None, *, first: int = 0) -> Tensor:
        """Map levels [B, bands, T] of frames from `first` on to the changes of these levels, as logarithms of
        factors."""
        away, weighed = self.deviations(levels, causal=True)
        patterns = torch.view_as_complex(self.patterns)
        clock = self.clock(first, levels.shape[-1])
        signs = self.signs(message, len(levels))
        with torch.no_grad():  # it only listens; what it answers is learned through `reply`
            lately = self._heard(weighed, patterns.detach(), clock)
        loudness = F.softplus(self.effort - self.reply * signs * lately) * signs
        loudness = torch.cat([loudness[:, :1] * self.pilot, loudness[:, 1:]], dim=1)
        turned = torch.einsum("bkt,kf->bft", loudness.to(patterns.dtype), patterns) * clock
        wave = turned.real * math.sqrt(2 / (self.nbits + 1))
        return self._strength(levels, away) * 1.5 * torch.tanh(wave / 1.5)

    def signs(self, message: Tensor | None, rows: int) -> Tensor:
        """Return signs [B, 1 + nbits, 1]: 1 for the pilot and for bits that are set, -1 for the others."""
        one = self.unrest.new_ones(rows, 1)
        if self.nbits == 0 or message is None:
            return torch.cat([one, one.new_ones(rows, self.nbits)], dim=1)[..., None]
        return torch.cat([one, 2 * message.to(one) - 1], dim=1)[..., None]

    def _heard(self, weighed: Tensor, patterns: Tensor, clock: Tensor) -> Tensor:
        """Return how strongly each pattern is in the host lately, at the clock's phase, in multiples of chance [B, 1 +
        nbits, T]."""
        weights = torch.linspace(0, 1, self.past, device=weighed.device)
        weights = (weights / weights.sum())[None, None]
        there = torch.einsum("kf,bft->bkt", patterns.conj(), weighed.to(patterns.dtype)) * clock.conj()
        chance = torch.einsum("kf,bft->bkt", patterns.abs().square(), weighed.square())
        chance = averaged(chance, weights.square(), causal=True)
        return averaged(there.real, weights, causal=True) / (chance + _SMALL).sqrt()

    def _strength(self, levels: Tensor, away: Tensor) -> Tensor:
        """Return the largest change of each band [B, bands, T]."""
        balance = levels - torch.logsumexp(levels, dim=1, keepdim=True)
        first, *others = self.strength
        hidden = F.pad(F.gelu(first(torch.cat([balance / 4 + 1, away], dim=1))), (2, 0))
        for layer in others[1:]:
            hidden = layer(hidden)
        return self.strongest * torch.sigmoid(hidden)

    def open(self, message: Tensor | None, batch_size: int = 1) -> ModulationStream:
        """Open a stream that takes audio and returns its mark."""
        return ModulationStream(self, message, batch_size)


class ModulationDetector(_Modulations):
    """This network finds the mark. A decision depends on about 1.7 s on both sides.

    `agreement` asks something else: whether audio carries a message that is known before. No clock has to be found and
    no bit to be read for that, so that it finds marks that are too weak to be read.
    """

    shows: Tensor
    quietens: Tensor

    def __init__(self, config: ModulationConfig, *, nbits: int, sample_rate: int) -> None:
        super().__init__(config, nbits=nbits, sample_rate=sample_rate)
        self.memory = config.memory
        self.patterns = nn.Parameter(_here(_even_patterns(nbits + 1, self.bands.num_bands)))
        self.pilot = nn.Parameter(torch.tensor(1.5))
        self.first_look, self.last_look = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(2.0))
        self.slope, self.bias = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.tensor(-4.0))
        self.judge = nn.Sequential(nn.Conv1d(4, 16, 1), nn.GELU(), nn.Conv1d(16, 1, 1))
        last = self.judge[-1]
        assert isinstance(last, nn.Conv1d) and last.bias is not None
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        even = torch.view_as_real(torch.eye(nbits + 1, dtype=torch.complex64, device="cpu"))
        even = _here(even) if config.fitted else even  # what no file holds has its values at once
        self.register_buffer("shows", even, persistent=config.fitted)
        self.register_buffer("quietens", even.clone(), persistent=config.fitted)

    @property
    def reach(self) -> int:
        """Return how many frames on each side a decision depends on."""
        return self.trend // 2 + self.spread // 2 + self.memory // 2

    def decide(self, audio: Tensor, every: int = 1) -> Tensor:
        """Judge audio [B, N] -> [B, 2 + nbits, N]: probabilities of "clean" and "marked", then a logit for each bit; or
        of each `every`-th sample."""
        levels = self.bands.levels(self.bands.spectra(self.bands.padded(audio)))
        logits = self.frame_logits(levels)
        if every % self.bands.hop == 0:
            return _decided(logits[..., :: every // self.bands.hop][..., : -(-audio.shape[-1] // every)])
        return self.spread_out(logits)[..., : audio.shape[-1] : every]

    def spread_out(self, logits: Tensor) -> Tensor:
        """Turn logits of frames [B, 1 + nbits, T] into decisions of the samples between the first middle and the last
        one [B, 2 + nbits, (T - 1) * hop]; a sample has those of the nearest frame."""
        half = self.bands.hop // 2
        wide = logits.repeat_interleave(self.bands.hop, dim=-1)[..., half : -(self.bands.hop - half)]
        return _decided(wide)

    def frame_logits(self, levels: Tensor) -> Tensor:
        """Map levels [B, bands, T] to [B, 1 + nbits, T]: whether there is a mark, then the bits."""
        found = self._found(levels)
        pilot, bits = found[:, :1], found[:, 1:]
        guess = torch.tanh(self.first_look * _along(bits, pilot))
        together = self.pilot * pilot + (guess * bits).sum(1, keepdim=True)
        # A bit's sign is read against all others, or it would confirm itself.
        read = _along(bits, together - guess * bits)
        strength = together.abs() / math.sqrt(self.nbits + 1)
        clues = [strength, pilot.abs(), found.abs().square().mean(1, keepdim=True)]
        clues.append(read.abs().mean(1, keepdim=True) if self.nbits else torch.zeros_like(strength))
        there = self.slope * strength + self.bias + self.judge(torch.cat(clues, dim=1))
        return torch.cat([there, self.last_look * read], dim=1)

    def _found(self, levels: Tensor) -> Tensor:
        """Return how strongly each pattern is there, in multiples of chance: complex [B, 1 + nbits, T], at an angle
        that is the clock's and the same for all of them."""
        weights = smoother(self.memory).to(levels)
        turned, chance = self.responses(levels)
        there = torch.complex(averaged(turned.real, weights), averaged(turned.imag, weights))
        return there / (averaged(chance, weights.square()) + _SMALL).sqrt()

    def responses(self, levels: Tensor, *, first: int = 0) -> tuple[Tensor, Tensor]:
        """Map levels [B, bands, T] of frames from `first` on to how much of each pattern is in each frame, complex
        [B, 1 + nbits, T], and how much chance alone would put there, squared."""
        weighed = self.deviations(levels, causal=False)[1]
        patterns = torch.view_as_complex(self.patterns).conj()
        turned = torch.einsum("kf,bft->bkt", patterns, weighed.to(patterns.dtype))
        turned = turned * self.clock(first, levels.shape[-1]).conj()
        chance = torch.einsum(
            "kf,bft->bkt", patterns.real.square() + patterns.imag.square(), weighed.square()
        )
        return turned, chance

    def agreement(self, turned: Tensor, chance: Tensor, message: Tensor) -> Tensor:
        """Say how far sums of `responses` over some time agree with a message, from 0 to 1.

        It is the share of what the patterns show that lies in the direction of the message, chance being alike in all
        directions (the adaptive coherence estimator of Kraut and Scharf): of K patterns that chance alone moves it is
        above x with probability (1 - x)^(K - 1), however strongly the host moves them.

        Args:
            turned: complex [..., 1 + nbits]; chance: [..., 1 + nbits].
            message: [nbits] of 0 and 1.
        """
        signs = torch.cat([message.new_ones(1), 2 * message - 1]).to(torch.complex128)
        shows, quietens = (
            torch.view_as_complex(each).to(turned.device, torch.complex128)
            for each in (self.shows, self.quietens)
        )
        shown = _shown(turned, chance) @ quietens.T
        wanted = quietens @ (shows @ signs.to(turned.device))
        along = (shown @ wanted.conj()).abs().square()
        whole = shown.abs().square().sum(-1) * wanted.abs().square().sum()
        return torch.where(whole > 0, along / whole.clamp_min(1e-300), 0.0)

    @torch.no_grad()
    def fit(self, marked: tuple[Tensor, Tensor], messages: Tensor, clean: tuple[Tensor, Tensor]) -> None:
        """Learn how messages show in sums of `responses`, and what the patterns of a host have in common.

        Args:
            marked: such sums, [N, 1 + nbits] each, of audio that carries messages [N, nbits].
            clean: the same of audio without a mark.
        """
        signs = torch.cat([messages.new_ones(len(messages), 1), 2 * messages - 1], dim=1).double()
        shown = _shown(*clean)
        shown = shown / shown.abs().square().mean(-1, keepdim=True).sqrt()
        spread = shown.mH @ shown / len(shown)
        spread = spread.conj() + _EVEN * torch.eye(len(spread), device=spread.device)
        values, vectors = torch.linalg.eigh(spread)
        self.quietens = _as_real(vectors @ torch.diag(values.rsqrt()).to(vectors.dtype) @ vectors.mH)
        found = _shown(*marked)
        found = found / found.abs().square().mean(-1, keepdim=True).sqrt()
        shows = torch.eye(len(spread), dtype=torch.complex128, device=spread.device)
        for _ in range(_TURNS):  # the clock's angle of each, then what they show at the same angle
            expected = signs.to(torch.complex128) @ shows.T
            angles = (found * expected.conj()).sum(-1).angle()
            turned = found * torch.polar(torch.ones_like(angles), -angles)[:, None]
            shows = torch.linalg.lstsq(signs.to(torch.complex128), turned).solution.T
        self.shows = _as_real(shows)

    def open_decisions(self, batch_size: int = 1) -> ModulationDecisions:
        """Open a stream that takes audio and returns decisions."""
        return ModulationDecisions(self, batch_size)

    def open_responses(self, batch_size: int = 1) -> ModulationResponses:
        """Open a stream that takes audio and returns the `responses` of its frames."""
        return ModulationResponses(self, batch_size)


def _shown(turned: Tensor, chance: Tensor) -> Tensor:
    """Return sums of responses in multiples of chance."""
    return turned.to(torch.complex128) / (chance.double() + _SMALL).sqrt()


def _as_real(matrix: Tensor) -> Tensor:
    return torch.view_as_real(matrix.to(torch.complex64).contiguous())


def _decided(logits: Tensor) -> Tensor:
    """Map [B, 1 + nbits, T] to [B, 2 + nbits, T], the logit of the mark as two probabilities."""
    marked = torch.sigmoid(logits[:, :1])
    return torch.cat([1 - marked, marked, logits[:, 1:]], dim=1)


def _along(x: Tensor, direction: Tensor) -> Tensor:
    """Return how far x reaches in the direction of another complex number."""
    return (x * direction.conj()).real / (direction.abs() + 0.5)


class _Frames:
    """This object holds samples of a stream as complete frames."""

    def __init__(self, bands: BandLevels, batch_size: int) -> None:
        self._bands, self._rows = bands, batch_size
        self._held: Tensor | None = None
        self.came = self.made = 0  # samples, frames

    def push(self, audio: Tensor) -> Tensor | None:
        """Take the next samples [B, n] and return the frames that they complete, padded as `BandLevels.spectra`
        takes them."""
        if self._held is None:
            self._held = audio.new_zeros(self._rows, self._bands.hop)
        self.came += audio.shape[-1]
        self._held = torch.cat([self._held, audio], dim=-1)
        return self._complete()

    def finish(self) -> Tensor | None:
        """Return the frames that the last samples and the silence behind them make."""
        if self._held is None or not self.came:
            return None
        missing = (self._bands.num_frames(self.came) + 1) * self._bands.hop - self._bands.hop - self.came
        self._held = F.pad(self._held, (0, missing))
        return self._complete()

    def _complete(self) -> Tensor | None:
        assert self._held is not None
        hop = self._bands.hop
        count = self._held.shape[-1] // hop - 1
        if count <= 0:
            return None
        complete, self._held = self._held[:, : (count + 1) * hop], self._held[:, count * hop :]
        self.made += count
        return complete


class ModulationStream:
    """This object brings a stream of audio through the generator."""

    def __init__(self, network: ModulationGenerator, message: Tensor | None, batch_size: int) -> None:
        self._network, self._message = network, message
        self._frames = _Frames(network.bands, batch_size)
        self._levels: Tensor | None = None  # of the frames that later changes depend on
        self._last: Tensor | None = None  # the change of the last frame [B, 1, n_fft], to be overlapped
        self._nothing = network.unrest.new_zeros(batch_size, 0)
        self._went = 0

    @torch.inference_mode()
    def push(self, audio: Tensor) -> Tensor:
        """Take the next samples [B, n] and return the mark [B, m] of those that are settled."""
        return self._made(self._frames.push(audio))

    @torch.inference_mode()
    def finish(self) -> Tensor:
        """Return the mark [B, m] of the samples that waited."""
        return self._made(self._frames.finish())

    def _made(self, complete: Tensor | None) -> Tensor:
        if complete is None:
            return self._nothing
        network = self._network
        spectra = network.bands.spectra(complete, both_sides=True)
        new = network.bands.levels(spectra)
        count = new.shape[-1]
        levels = new if self._levels is None else torch.cat([self._levels, new], dim=-1)
        first = self._frames.made - levels.shape[-1]
        gains = network.gains(levels, self._message, first=first)[..., -count:]
        self._levels = levels[..., -network.context :]
        frames = network.bands.changes(spectra, gains)
        frames = frames if self._last is None else torch.cat([self._last, frames], dim=1)
        self._last = frames[:, -1:]
        made = network.bands.joined(frames)[:, : self._frames.came - self._went]
        self._went += made.shape[-1]
        return made


class ModulationDecisions:
    """This object brings a stream of audio through the detector, which gives decisions."""

    def __init__(self, network: ModulationDetector, batch_size: int) -> None:
        self._network = network
        self._frames = _Frames(network.bands, batch_size)
        self._levels: Tensor | None = None  # of the frames on which decisions to come depend
        self._begins = 0  # the frame that these begin with
        self._decided = 0  # frames whose decisions are out
        self._nothing = network.unrest.new_zeros(batch_size, 2 + network.nbits, 0)
        self._went = 0

    @torch.inference_mode()
    def push(self, audio: Tensor) -> Tensor:
        """Take the next samples [B, n] and return the decisions [B, 2 + nbits, m] that they settle."""
        self._hear(self._frames.push(audio))
        return self._out(self._frames.made - self._network.reach)

    @torch.inference_mode()
    def finish(self) -> Tensor:
        """Return the decisions [B, 2 + nbits, m] that waited."""
        self._hear(self._frames.finish())
        return self._out(self._frames.made)

    def _hear(self, complete: Tensor | None) -> None:
        if complete is None:
            return
        new = self._network.bands.levels(self._network.bands.spectra(complete))
        self._levels = new if self._levels is None else torch.cat([self._levels, new], dim=-1)

    def _out(self, ready: int) -> Tensor:
        # A sample needs the frames on both sides of it, so that one frame more must be decided.
        if self._levels is None or ready - self._decided < 2:
            return self._nothing
        logits = self._network.frame_logits(self._levels)
        first = self._decided - self._begins
        made = self._network.spread_out(logits[..., first : ready - self._begins])
        self._decided = ready - 1
        dropped = max(0, self._decided - self._network.reach - self._begins)
        self._levels, self._begins = self._levels[..., dropped:], self._begins + dropped
        made = made[..., : self._frames.came - self._went]
        self._went += made.shape[-1]
        return made


class ModulationResponses:
    """This object is a stream of what `ModulationDetector.responses` says of frames, in pieces as of the whole."""

    def __init__(self, network: ModulationDetector, batch_size: int) -> None:
        self._network = network
        self._frames = _Frames(network.bands, batch_size)
        self._levels: Tensor | None = None
        self._begins = self._told = 0  # frames
        self._reach = network.trend // 2 + network.spread // 2

    @torch.inference_mode()
    def push(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Take the next samples [B, n] and return the responses [B, 1 + nbits, m] of the frames that they settle."""
        self._hear(self._frames.push(audio))
        return self._out(self._frames.made - self._reach)

    @torch.inference_mode()
    def finish(self) -> tuple[Tensor, Tensor]:
        """Return the responses [B, 1 + nbits, m] that waited."""
        self._hear(self._frames.finish())
        return self._out(self._frames.made)

    def _hear(self, complete: Tensor | None) -> None:
        if complete is None:
            return
        new = self._network.bands.levels(self._network.bands.spectra(complete))
        self._levels = new if self._levels is None else torch.cat([self._levels, new], dim=-1)

    def _out(self, ready: int) -> tuple[Tensor, Tensor]:
        if self._levels is None or ready <= self._told:
            nothing = self._network.unrest.new_zeros(1, self._network.nbits + 1, 0)
            return torch.complex(nothing, nothing), nothing
        turned, chance = self._network.responses(self._levels, first=self._begins)
        here = slice(self._told - self._begins, ready - self._begins)
        self._told = ready
        dropped = max(0, ready - self._reach - self._begins)
        self._levels, self._begins = self._levels[..., dropped:], self._begins + dropped
        return turned[..., here], chance[..., here]


def build_modulation_marks(config: WatermarkConfig) -> tuple[ModulationGenerator, ModulationDetector]:
    """Build generator and detector, untrained: what they have in common is there from the start."""
    shared = config.audioseal
    given = {"nbits": shared.nbits, "sample_rate": shared.sample_rate}
    return ModulationGenerator(config.modulation, **given), ModulationDetector(config.modulation, **given)
