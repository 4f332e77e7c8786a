"""Score conditioner: tells a language model, frame by frame, where the beat is and what the harmony is.

It turns a :class:`~audiocraft.types.ScorePlan` into embeddings; it neither writes plans (``generation.planning``)
nor decides where in the network they enter (the fuser's ``frames`` method does).
"""

from __future__ import annotations

import math
import typing as tp

import torch
from torch import Tensor, nn

from audiocraft.errors import InvalidInput
from audiocraft.modules.conditioners.base import BaseConditioner
from audiocraft.music.harmony import parse_chord, parse_key
from audiocraft.types import ScorePlan, SymbolicCondition

PLAN = "plan"
"""The name of plans among the symbolic conditions."""

# Grid lines, in lines per beat, whose exact place inside a frame is given: beats, eighths, sixteenths.
# A 25 Hz frame lasts 40 ms, which is audible as timing, so a bare "there is a beat in this frame" is too coarse.
GRID = (1, 2, 4)
MAX_BEATS_PER_BAR = 8
BARS_PER_PHRASE = 4

_PHASES = 2 * (2 + len(GRID))  # sine and cosine of phrase, bar, and each grid line
_ONSETS = 2 * len(GRID)  # for each grid line: inside this frame or not, and how far into it
_METRE = MAX_BEATS_PER_BAR + BARS_PER_PHRASE
_TEMPO = 2
_CHORD = 12 + 12 + 12 + 2  # pitch classes, root, pitch classes of the next chord, known, time to the change
_KEY = 12 + 2
NUM_FEATURES = _PHASES + _ONSETS + _METRE + _TEMPO + _CHORD + _KEY


def num_frames(duration: float, frame_rate: float) -> int:
    """Return frames needed to cover ``duration`` seconds; the epsilon keeps 10.0 s at 25 Hz from becoming 251."""
    return max(1, math.ceil(duration * frame_rate - 1e-6))


def score_features(plan: ScorePlan, frame_rate: float) -> Tensor:
    """Describe every frame of a plan's window by numbers a network can use directly.

    Args:
        plan: tempo, metre, key and chords of a piece, and the window ``[start, start + duration)`` of interest.
        frame_rate: codec frames per second.
    Returns:
        features [T, NUM_FEATURES], each roughly within [-1, 1].
    """
    frames = num_frames(plan.duration, frame_rate)
    seconds = plan.start + torch.arange(frames, dtype=torch.float64, device="cpu") / frame_rate
    columns = [*_metre_features(plan, seconds, frame_rate), *_harmony_features(plan, seconds)]
    return torch.cat(columns, dim=1).float()


def _metre_features(plan: ScorePlan, seconds: Tensor, frame_rate: float) -> list[Tensor]:
    """Return beat-grid columns for frames that begin at ``seconds`` [T]; each column block is [T, n]."""
    if not 1 <= plan.beats_per_bar <= MAX_BEATS_PER_BAR:
        raise InvalidInput(
            f"plan has {plan.beats_per_bar} beats per bar; between 1 and {MAX_BEATS_PER_BAR} are supported",
            field="plan.beats_per_bar",
        )
    beats = (seconds - plan.first_beat) * plan.tempo / 60  # position in the piece, in beats
    bars = beats / plan.beats_per_bar
    beats_per_frame = plan.tempo / 60 / frame_rate

    cycles = torch.stack([bars / BARS_PER_PHRASE, bars, *(beats * lines for lines in GRID)], dim=1)
    phases = torch.cat([torch.sin(2 * math.pi * cycles), torch.cos(2 * math.pi * cycles)], dim=1)

    to_line = torch.stack(
        [(torch.ceil(beats * lines - 1e-9) / lines - beats) / beats_per_frame for lines in GRID], dim=1
    )
    # A line at the very end of a frame is the start of the next one; the margin absorbs rounding of long times.
    inside = (to_line < 1 - 1e-6).double()
    onsets = torch.cat([inside, inside * (1 - to_line)], dim=1)

    beat_in_bar = torch.floor(beats + 1e-9).remainder(plan.beats_per_bar).long()
    bar_in_phrase = torch.floor(bars + 1e-9).remainder(BARS_PER_PHRASE).long()
    metre = torch.cat(
        [
            nn.functional.one_hot(beat_in_bar, MAX_BEATS_PER_BAR).double(),
            nn.functional.one_hot(bar_in_phrase, BARS_PER_PHRASE).double(),
        ],
        dim=1,
    )
    tempo = torch.tensor(
        [math.log2(plan.tempo / 100), plan.beats_per_bar / 4 - 1], dtype=torch.float64, device="cpu"
    )
    return [phases, onsets, metre, tempo.expand(len(seconds), -1)]


def _harmony_features(plan: ScorePlan, seconds: Tensor) -> list[Tensor]:
    """Return chord and key columns for frames that begin at ``seconds`` [T]; each column block is [T, n]."""
    starts = torch.tensor([start for start, _ in plan.chords], dtype=torch.float64, device="cpu")
    table = torch.zeros(
        len(plan.chords) + 1, 24, dtype=torch.float64, device="cpu"
    )  # the last row means "no chord known"
    for row, (_, symbol) in enumerate(plan.chords):
        if symbol == "N":
            continue
        chord = parse_chord(symbol)
        table[row, list(chord.pitch_classes)] = 1
        table[row, 12 + chord.root] = 1

    current = (
        torch.searchsorted(starts, seconds + 1e-6, right=True) - 1
    )  # -1 before the first chord: the empty row
    following = torch.clamp(current + 1, max=len(plan.chords))
    known = table[current].any(dim=1, keepdim=True).double()
    ends = torch.cat([starts, torch.full((1,), math.inf, dtype=torch.float64, device="cpu")])[following]
    to_change = torch.clamp((ends - seconds) * plan.tempo / 60 / 4, max=1).unsqueeze(1)
    chords = torch.cat([table[current], table[following, :12], known, to_change], dim=1)

    key = torch.zeros(_KEY, dtype=torch.float64, device="cpu")
    if plan.key is not None:
        parsed = parse_key(plan.key)
        key[parsed.tonic] = 1
        key[12 + (parsed.mode == "minor")] = 1
    return [chords, key.expand(len(seconds), -1)]


class FrameConditioner(BaseConditioner):
    """This conditioner embeds features of codec frames by a perceptron. A missing row is exactly zero everywhere, so it
    adds nothing.

    Args:
        num_features: F, what is told of a frame.
        output_dim: width D of the embeddings.
        frame_rate: codec frames per second; one embedding is made for each.
        dim: width of the hidden layer, ``output_dim`` by default.
        device: where the embeddings are made.
    """

    def __init__(
        self,
        num_features: int,
        output_dim: int,
        frame_rate: float,
        dim: int | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(dim or output_dim, output_dim)
        self.num_features = num_features
        self.frame_rate = frame_rate
        # BaseConditioner's output_proj is the second layer of this perceptron.
        self.input_proj = nn.Linear(num_features, self.dim, device=device)
        self.output_proj = nn.Linear(self.dim, output_dim, device=device)

    def padded(self, rows: tp.Sequence[Tensor | None]) -> tuple[Tensor, Tensor]:
        """Return (features [B, T, F], mask [B, T]) of rows [t, F]; shorter ones are padded with masked frames."""
        longest = max((len(row) for row in rows if row is not None), default=1)
        features = torch.zeros(len(rows), longest, self.num_features, device="cpu")
        mask = torch.zeros(len(rows), longest, dtype=torch.bool, device="cpu")
        for index, row in enumerate(rows):
            if row is not None:
                features[index, : len(row)] = row
                mask[index, : len(row)] = True
        device = self.input_proj.weight.device
        return features.to(device), mask.to(device)

    def forward(self, inputs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Embed (features [B, T, F], mask [B, T]) as (embeddings [B, T, D], mask [B, T])."""
        features, mask = inputs
        hidden = nn.functional.gelu(self.input_proj(features.to(self.input_proj.weight.dtype)))
        return self.output_proj(hidden) * mask.unsqueeze(-1), mask


class ScoreConditioner(FrameConditioner):
    """This conditioner embeds score plans, one row per codec frame.

    Args:
        output_dim: width D of the embeddings.
        frame_rate: codec frames per second; one embedding is made for each.
        dim: width of the hidden layer, ``output_dim`` by default.
        device: where the embeddings are made.
    """

    def __init__(
        self,
        output_dim: int,
        frame_rate: float,
        dim: int | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(NUM_FEATURES, output_dim, frame_rate, dim, device)

    def tokenize(self, x: tp.Sequence[SymbolicCondition | None]) -> tuple[Tensor, Tensor]:
        """Turn plans into (features [B, T, NUM_FEATURES], mask [B, T]); shorter plans are padded with masked frames."""
        rows = [
            None
            if condition is None or condition.plan is None
            else score_features(condition.plan, self.frame_rate)
            for condition in x
        ]
        return self.padded(rows)
