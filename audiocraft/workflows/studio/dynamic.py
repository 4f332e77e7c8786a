"""Music that follows a game: loops of one piece on one grid, of which tension and location choose those that are heard.

All layers run all the time; a change of state moves their gains at the next bar line, so nothing breaks off. Bars of a
layer are brought to one loudness, and every state has a gain, so that a change is heard in what plays and not in how
loud it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from audiocraft.audio.finishing import USUAL, finished
from audiocraft.audio.loudness import block_powers, loudness_in_pieces, lufs
from audiocraft.errors import InvalidInput
from audiocraft.generation.held_tones import longest_tone_of
from audiocraft.generation.looping import as_loop
from audiocraft.generation.progress import CancelToken
from audiocraft.generation.request import GenerationRequest
from audiocraft.models.generator import GeneratorModel
from audiocraft.music.planning import ScoreSettings, make_plan
from audiocraft.music.translating import translate
from audiocraft.types import ScorePlan
from audiocraft.workflows.studio.parts import PartsCallback, StudioPart, make_parts
from audiocraft.workflows.studio.seeds import seed_for

NEUTRAL = "neutral"
LEVELS: Mapping[str, float] = MappingProxyType({"calm": 0.0, "alert": 0.25, "tense": 0.5, "battle": 0.8})
"""Names of tension, and from which tension on each holds."""
LOUDNESS = -20.0
"""LUFS of calm states."""
RISE_DB = 1.0
"""By how much the last level is louder than the first."""
_LAYER_LOUDNESS = -22.0
_MOST_LEVELLING_DB = 8.0
_RAMP_S = 0.02  # a layer comes and goes within it, around a bar line
_SOON_S = 0.005  # a bar line that is nearer is missed

# What plays at each level beside the layer of the place.
_INTENSITY: Mapping[str, str] = MappingProxyType(
    {
        "alert": "bass alone, no drums",
        "tense": "tense strings, cinematic, no drums",
        "battle": "energetic drums, only drums",
    }
)
_PLACES: Mapping[str, str] = MappingProxyType(
    {
        NEUTRAL: "calm piano and synth pad, ambient, no drums",
        "forest": "calm flute and acoustic guitar, folk, no drums",
        "ocean": "dreamy marimba and synth pad, ambient, no drums",
        "city": "electric piano and saxophone, jazz, no drums",
        "dungeon": "dark choir and organ, cinematic, no drums",
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class GamePiece:
    """This record describes the piece that a game has.

    Args:
        title: of the game.
        prompt: words for the whole, such as "fantasy"; what they say of tempo and key counts.
        bars: of every loop.
        places: what the layer of each location is made from; others are made from the location's own words.
    """

    title: str = ""
    prompt: str = ""
    seed: int = 0
    bars: int = 8
    score: ScoreSettings = ScoreSettings()
    places: Mapping[str, str] = field(default_factory=dict)

    def plan(self) -> ScorePlan:
        """Return the plan that all layers share."""
        plan = make_plan(self.prompt or "music", duration=60.0, seed=self.seed, score=self.score)
        assert plan is not None, "there are words"
        return plan

    def request_of(self, layer: str) -> GenerationRequest:
        """Return what makes a layer: `intensity/NAME` or `place/LOCATION`."""
        kind, _, name = layer.partition("/")
        if kind == "intensity":
            words = _INTENSITY[name]
        else:
            words = (
                self.places.get(name)
                or _PLACES.get(name)
                or f"calm ambient, {translate(name).text}, no drums"
            )
        prompt = f"{words}, {self.prompt}" if self.prompt else words
        request = GenerationRequest(
            prompts=(prompt,),
            duration=60.0,
            seeds=(seed_for(self.seed, layer),),
            plans=(self.plan(),),
            longest_tone=longest_tone_of([prompt]),
        )
        return as_loop(request, self.bars)


@dataclass(frozen=True, kw_only=True, slots=True)
class GameState:
    """This record holds what a game says of itself.

    Args:
        tension: 0 to 1.
        location: where it is, in a word or a few.
    """

    tension: float = 0.5
    location: str = NEUTRAL

    def __post_init__(self) -> None:
        if not (isinstance(self.tension, int | float) and 0 <= self.tension <= 1):
            raise InvalidInput(f"tension lies between 0 and 1, got {self.tension!r}", field="tension")
        if not self.location.strip():
            raise InvalidInput("a location needs a name", field="location")

    @classmethod
    def of(cls, said: Mapping[str, object]) -> GameState:
        """Return a state as a game says it: {"tension": 0.7, "location": "forest"}; what is left out is 0.5 and
        neutral."""
        unknown = set(said) - {"tension", "location"}
        if unknown:
            raise InvalidInput(
                f"a game state has tension and location, not {sorted(unknown)[0]!r}", field="game_state"
            )
        tension = said.get("tension", 0.5)
        if isinstance(tension, bool) or not isinstance(tension, int | float):
            raise InvalidInput(f"tension is a number from 0 to 1, got {tension!r}", field="tension")
        return cls(tension=float(tension), location=str(said.get("location", NEUTRAL)).strip().lower())

    @property
    def level(self) -> str:
        """Return the name of its tension."""
        return [name for name, least in LEVELS.items() if self.tension >= least][-1]

    @property
    def name(self) -> str:
        """Return a name for all states that sound the same."""
        return f"{self.location}-{self.level}"

    def layers(self) -> tuple[str, ...]:
        """Return the layers that are heard."""
        heard = [
            f"intensity/{name}"
            for name, least in LEVELS.items()
            if name in _INTENSITY and self.tension >= least
        ]
        return (f"place/{self.location}", *heard)


@dataclass(frozen=True, kw_only=True, slots=True)
class LayeredMusic:
    """This record holds the layers of a piece that are there, all equally long, on one grid.

    Args:
        layers: audio [C, N] of each by name; its end leads into its beginning.
        gains_db: of each state by name, so that all are equally loud, but for the rise with tension.
    """

    plan: ScorePlan
    bars: int
    sample_rate: int
    layers: Mapping[str, Tensor] = field(repr=False)
    gains_db: Mapping[str, float] = field(default_factory=dict)

    @property
    def samples(self) -> int:
        """Return the samples of a loop."""
        return next(iter(self.layers.values())).shape[-1]

    @property
    def bar_samples(self) -> float:
        """Return the samples of a bar, which need not be whole."""
        return self.samples / self.bars

    def gains(self, state: GameState) -> dict[str, float]:
        """Return what each layer is multiplied by in a state."""
        missing = [name for name in state.layers() if name not in self.layers]
        if missing:
            raise InvalidInput(f"the layer {missing[0]} has not been made", field="location")
        gain = 10 ** (self.gains_db[state.name] / 20)
        return {name: gain if name in state.layers() else 0.0 for name in self.layers}

    def loop(self, state: GameState) -> Tensor:
        """Return what is heard in a state, once around [C, N]."""
        return sum_of(self.layers, self.gains(state))


@dataclass(frozen=True, kw_only=True, slots=True)
class StateChange:
    """This record describes a change of state as it was heard.

    Args:
        asked, heard: seconds from the beginning; it is heard at a bar line.
        bar: the number of that bar from the beginning, from 0.
    """

    state: GameState
    asked: float
    heard: float
    bar: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Turn:
    """This record holds a change on its way: the gains move around sample `line`."""

    change: StateChange
    line: int
    gains: Mapping[str, float]


class MusicPlayer:
    """This player plays layered music piece by piece, for ever; a state that is asked for is heard from the next bar
    line on.

    Args:
        music: with the layers of every state that will be asked for.
        state: at the beginning.
    """

    def __init__(self, music: LayeredMusic, state: GameState) -> None:
        self._music = music
        self._gains: Mapping[str, float] = music.gains(state)
        self._state, self._wanted, self._asked = state, state, 0.0
        self._turn: _Turn | None = None
        self._at = 0
        self._half = max(1, round(_RAMP_S * music.sample_rate / 2))
        self.changes: list[StateChange] = []
        """What was heard, and what will be at the next bar line."""

    @property
    def second(self) -> float:
        """Return how many seconds were played."""
        return self._at / self._music.sample_rate

    def ask(self, state: GameState) -> None:
        """Ask for the state that the game is in now."""
        self._music.gains(state)  # refuses what was not made
        if state.name != self._wanted.name:
            self._wanted, self._asked = state, self.second
        if self._turn is not None and self._at < self._turn.line - self._half:  # nobody has heard of it yet
            self._turn = None
            self.changes.pop()
        self._begin_turn()

    def next(self, count: int) -> Tensor:
        """Return the next samples [C, count]."""
        out, end = [], self._at + count
        while self._at < end:
            turn = self._turn
            until = end if turn is None else min(end, turn.line + self._half)
            out.append(self._played(until - self._at, turn))
            self._at = until
            if turn is not None and until == turn.line + self._half:
                self._gains, self._state, self._turn = turn.gains, turn.change.state, None
                self._begin_turn()
        return torch.cat(out, dim=-1)

    def _begin_turn(self) -> None:
        """Choose the bar line of a change that is wanted."""
        if self._turn is not None or self._wanted.name == self._state.name:
            return
        rate, bar_samples = self._music.sample_rate, self._music.bar_samples
        earliest = self._at + self._half + round(_SOON_S * rate)
        bar = math.ceil(earliest / bar_samples)
        line = round(bar * bar_samples)
        change = StateChange(state=self._wanted, asked=self._asked, heard=line / rate, bar=bar)
        self.changes.append(change)
        self._turn = _Turn(change=change, line=line, gains=self._music.gains(self._wanted))

    def _played(self, count: int, turn: _Turn | None) -> Tensor:
        """Return the samples from here on, with gains that move where there is a turn."""
        places = torch.arange(self._at, self._at + count)
        share = torch.zeros(count)
        if turn is not None:
            share = ((places - turn.line + self._half) / (2 * self._half)).clamp(0, 1)
            share = 0.5 - 0.5 * (share * math.pi).cos()
        places = places % self._music.samples
        total = torch.zeros(next(iter(self._music.layers.values())).shape[0], count)
        for name, audio in self._music.layers.items():
            before = self._gains.get(name, 0.0)
            after = before if turn is None else turn.gains.get(name, 0.0)
            if before or after:
                total += audio[:, places] * (before + (after - before) * share)
        return total


def make_layers(
    model: GeneratorModel,
    piece: GamePiece,
    states: Sequence[GameState],
    folder: Path,
    *,
    progress: PartsCallback | None = None,
    cancel: CancelToken | None = None,
) -> LayeredMusic:
    """Return the layers of a piece that some states need, and the gains of these states.

    Args:
        folder: where layers are kept; those that are there are not made again.
    """
    names = list(dict.fromkeys(name for state in states for name in state.layers()))
    if not names:
        raise InvalidInput("a game needs a state", field="states")
    requests = {name: piece.request_of(name) for name in names}
    parts = [StudioPart(name=name, request=request) for name, request in requests.items()]
    made = make_parts(model, parts, folder, progress=progress, cancel=cancel)
    rate = made[names[0]].sample_rate
    plans = next(iter(requests.values())).plans
    assert plans is not None and plans[0] is not None, "as_loop settles them"
    layers = {name: even_bars(part.audio, rate, piece.bars) for name, part in made.items()}
    gains = {state.name: _state_gain(layers, state, rate) for state in states}
    return LayeredMusic(plan=plans[0], bars=piece.bars, sample_rate=rate, layers=layers, gains_db=gains)


def play(
    music: LayeredMusic, states: Sequence[tuple[float, GameState]], seconds: float
) -> tuple[Tensor, list[StateChange]]:
    """Return what is heard while a game goes through states: (second, state), the first at 0 -> (audio [C, N], the
    changes). Its peaks are limited."""
    if not states or states[0][0] != 0:
        raise InvalidInput("the first state is at second 0", field="states")
    if list(states) != sorted(states, key=lambda one: one[0]):
        raise InvalidInput("states come in the order of time", field="states")
    player = MusicPlayer(music, states[0][1])
    rate, out = music.sample_rate, []
    ends = [second for second, _ in states[1:] if second < seconds]
    for end, (_, state) in zip([*ends, seconds], states, strict=False):
        player.ask(state)
        count = round(end * rate) - round(player.second * rate)
        if count > 0:
            out.append(player.next(count))
    return finished(torch.cat(out, dim=-1), rate, replace(USUAL, fade=0.0)), player.changes


def sum_of(layers: Mapping[str, Tensor], gains: Mapping[str, float]) -> Tensor:
    """Add layers with gains [C, N]."""
    parts = [layers[name] * gain for name, gain in gains.items() if gain]
    return torch.stack(parts).sum(0)


def even_bars(audio: Tensor, rate: int, bars: int) -> Tensor:
    """Return a loop [C, N] whose bars are equally loud, as far as 8 dB do it: a gain for the middle of each bar, and
    between them, round and round. Bars in which next to nothing plays are not turned up."""
    samples = audio.shape[-1]
    edges = [round(bar * samples / bars) for bar in range(bars + 1)]
    levels = torch.tensor([_bar_level(audio[:, low:high], rate) for low, high in pairwise(edges)])
    whole = loudness_in_pieces(audio, rate)
    if whole == -math.inf:
        return audio
    wanted = (whole - levels).clamp(-_MOST_LEVELLING_DB, _MOST_LEVELLING_DB)
    wanted[levels < whole - 3 * _MOST_LEVELLING_DB] = 0.0
    places = torch.arange(samples, dtype=torch.float64) / samples * bars - 0.5
    first = places.floor().long()
    share = (places - first).float()
    curve = wanted[first % bars] * (1 - share) + wanted[(first + 1) % bars] * share
    levelled = audio * 10 ** (curve / 20)
    return levelled * 10 ** ((_LAYER_LOUDNESS - loudness_in_pieces(levelled, rate)) / 20)


def _bar_level(audio: Tensor, rate: int) -> float:
    return max(-120.0, float(lufs(block_powers(audio, rate).mean())))


def _state_gain(layers: Mapping[str, Tensor], state: GameState, rate: int) -> float:
    """Return the gain of a state in dB: all are as loud as the calm ones, and a little louder with tension."""
    together = sum_of(layers, {name: 1.0 for name in state.layers()})
    measured = loudness_in_pieces(together, rate)
    if measured == -math.inf:
        return 0.0
    order = list(LEVELS).index(state.level)
    return LOUDNESS + RISE_DB * order / (len(LEVELS) - 1) - measured
