"""Audio for games: the sound of places, and music that follows what happens; both exported for engines."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from audiocraft.environment import cache_dir
from audiocraft.errors import InvalidInput
from audiocraft.generation.held_tones import longest_tone_of
from audiocraft.generation.progress import CancelToken
from audiocraft.generation.request import GenerationRequest
from audiocraft.models.generator import GeneratorModel
from audiocraft.models.loaders import load_model
from audiocraft.types import ScorePlan
from audiocraft.workflows.studio.ambience import UNREPEATED_S, Ambience, make_ambience
from audiocraft.workflows.studio.bank import Stinger, check_format, export_bank
from audiocraft.workflows.studio.dynamic import (
    LEVELS,
    GamePiece,
    GameState,
    LayeredMusic,
    MusicPlayer,
    StateChange,
    make_layers,
    play,
)
from audiocraft.workflows.studio.parts import PartsCallback, StudioPart, make_parts
from audiocraft.workflows.studio.seeds import seed_for

STINGERS: Mapping[str, str] = {
    "victory": "happy trumpet and strings, classical",
    "danger": "dark strings and drums, tense",
    "discovery": "dreamy music box and flute",
}
_STINGER_BARS = 2
USUAL_PIECE = GamePiece()

GameStateLike = GameState | Mapping[str, object]


@dataclass(frozen=True, kw_only=True, slots=True)
class StateMusic:
    """This record holds the music of one state, as a loop.

    Args:
        audio: [C, N], whole bars, whose end leads into its beginning.
        music: all layers that were made, out of which a player plays.
    """

    state: GameState
    audio: Tensor = field(repr=False)
    sample_rate: int
    music: LayeredMusic = field(repr=False)


class GameAudioSystem:
    """This system makes the audio of one game. Everything that it makes is kept in files, and not made again.

    Args:
        music, sounds: models by name, or loaded.
        piece: the piece that all music is part of.
        folder: where takes and layers are kept; None is the cache.
        device: cpu or cuda; None is what is there.
        watermark: the name of what marks all files of its banks; None: nothing does.
    """

    def __init__(
        self,
        music: str | GeneratorModel = "musicgen-nano",
        sounds: str | GeneratorModel = "audiogen-nano",
        *,
        piece: GamePiece = USUAL_PIECE,
        folder: str | os.PathLike[str] | None = None,
        device: str | None = None,
        watermark: str | None = None,
    ) -> None:
        self._watermark = watermark
        self._names = {"music": music, "sounds": sounds}
        self._device = device
        self._models: dict[str, GeneratorModel] = {}
        self._folder = Path(folder) if folder is not None else cache_dir() / "studio"
        self._states: dict[str, GameState] = {}
        self._ambiences: dict[tuple[str, float], Ambience] = {}
        self.piece = piece

    def generate_ambient_sound(
        self,
        environment: str,
        *,
        seconds: float = UNREPEATED_S,
        progress: PartsCallback | None = None,
        cancel: CancelToken | None = None,
    ) -> Ambience:
        """Return the sound of forest, ocean, city, dungeon, or any words: seamless, and without a repeat for
        `seconds`."""
        name = " ".join(environment.lower().split())
        if (name, seconds) not in self._ambiences:
            self._ambiences[name, seconds] = make_ambience(
                self._model("sounds"),
                name,
                self._folder,
                seconds=seconds,
                seed=self.piece.seed,
                progress=progress,
                cancel=cancel,
            )
        return self._ambiences[name, seconds]

    def generate_dynamic_music(
        self,
        game_state: GameStateLike,
        *,
        progress: PartsCallback | None = None,
        cancel: CancelToken | None = None,
    ) -> StateMusic:
        """Return the music of a state such as {"tension": 0.7, "location": "forest"}: layers of one piece, so that
        the music of another state takes over from it at any bar line."""
        state = _state(game_state)
        music = self.music([state], progress=progress, cancel=cancel)
        return StateMusic(state=state, audio=music.loop(state), sample_rate=music.sample_rate, music=music)

    def music(
        self,
        game_states: Sequence[GameStateLike] = (),
        *,
        progress: PartsCallback | None = None,
        cancel: CancelToken | None = None,
    ) -> LayeredMusic:
        """Return the layers of all states that were asked for so far, and of these."""
        wanted = {state.name: state for state in map(_state, game_states)}
        states = {**self._states, **wanted}
        made = make_layers(
            self._model("music"),
            self.piece,
            list(states.values()),
            self._folder,
            progress=progress,
            cancel=cancel,
        )
        self._states = states
        return made

    def player(self, game_states: Sequence[GameStateLike]) -> MusicPlayer:
        """Return a player that begins with the first of these states and knows them all."""
        states = [_state(one) for one in game_states]
        if not states:
            raise InvalidInput("a player begins with a state", field="game_states")
        return MusicPlayer(self.music(states), states[0])

    def play(
        self,
        timeline: Sequence[tuple[float, GameStateLike]],
        seconds: float,
        *,
        progress: PartsCallback | None = None,
        cancel: CancelToken | None = None,
    ) -> tuple[Tensor, list[StateChange]]:
        """Return what is heard while a game goes through states at their seconds, (audio [C, N], changes)."""
        states = [(second, _state(one)) for second, one in timeline]
        music = self.music([state for _, state in states], progress=progress, cancel=cancel)
        return play(music, states, seconds)

    def stingers(
        self,
        prompts: Mapping[str, str] = STINGERS,
        *,
        progress: PartsCallback | None = None,
        cancel: CancelToken | None = None,
    ) -> list[Stinger]:
        """Make short pieces of two bars that end on the tonic of the music, by name."""
        plan = self._stinger_plan()
        parts = [
            StudioPart(
                name=f"stinger {name}",
                request=GenerationRequest(
                    prompts=(prompt,),
                    duration=plan.duration,
                    seeds=(seed_for(self.piece.seed, f"stinger {name}"),),
                    plans=(plan,),
                    ending="ring",
                    longest_tone=longest_tone_of([prompt]),
                ),
            )
            for name, prompt in prompts.items()
        ]
        made = make_parts(self._model("music"), parts, self._folder, progress=progress, cancel=cancel)
        return [
            Stinger(
                name=name,
                audio=made[part.name].audio,
                sample_rate=made[part.name].sample_rate,
                plan=plan,
            )
            for name, part in zip(prompts, parts, strict=True)
        ]

    def export(
        self,
        folder: str | os.PathLike[str],
        locations: Sequence[str] = ("neutral",),
        *,
        environments: Sequence[str] | None = None,
        stingers: Mapping[str, str] = STINGERS,
        ambience_seconds: float = UNREPEATED_S,
        audio_format: str = "ogg",
        progress: PartsCallback | None = None,
        cancel: CancelToken | None = None,
    ) -> Path:
        """Write a bank that engines read as it is: music for every level of tension in these locations, ambiences and
        stingers. Returns the path of its `bank.json`.

        Args:
            environments: of the ambiences; None is the locations, but for neutral.
        """
        check_format(audio_format)
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        states = [
            GameState(tension=least, location=place.lower())
            for place in locations
            for least in LEVELS.values()
        ]
        music = self.music(states, progress=progress, cancel=cancel)
        short = self.stingers(stingers, progress=progress, cancel=cancel) if stingers else []
        if environments is None:
            environments = [place for place in locations if place != "neutral"]
        around = [
            self.generate_ambient_sound(place, seconds=ambience_seconds, progress=progress, cancel=cancel)
            for place in environments
        ]
        return export_bank(
            target,
            music,
            states,
            stingers=short,
            ambiences=around,
            title=self.piece.title,
            audio_format=audio_format,
            watermark=self._watermark,
        )

    def _stinger_plan(self) -> ScorePlan:
        plan = self.piece.plan()
        bars = _STINGER_BARS * plan.beats_per_bar * 60 / plan.tempo
        chords = tuple(chord for chord in plan.chords if chord[0] < bars)
        return ScorePlan(
            tempo=plan.tempo, beats_per_bar=plan.beats_per_bar, key=plan.key, chords=chords, duration=bars
        )

    def _model(self, kind: str) -> GeneratorModel:
        given = self._names[kind]
        if not isinstance(given, str):
            return given
        if kind not in self._models:
            self._models[kind] = load_model(given, device=self._device)
        return self._models[kind]


def _state(said: GameStateLike) -> GameState:
    return said if isinstance(said, GameState) else GameState.of(said)
