"""Songs: sections of one key and tempo, each with its own prompt, effects at their places, the mix, and the files that
are given to others."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from audiocraft.audio.convert import convert_audio
from audiocraft.audio.mixing import Master, Track, master, mix
from audiocraft.environment import cache_dir
from audiocraft.errors import InvalidInput
from audiocraft.generation.held_tones import longest_tone_of
from audiocraft.generation.progress import CancelToken
from audiocraft.generation.request import GenerationRequest
from audiocraft.models.generator import GeneratorModel
from audiocraft.models.loaders import load_model
from audiocraft.music.planning import ScoreSettings
from audiocraft.music.translating import translate
from audiocraft.workflows.studio.arranging import (
    PlacedEffect,
    from_attack,
    glued,
    inside,
    joined_sections,
    lead_of,
    lone_effects,
    placed,
    section_sound,
    with_effects,
)
from audiocraft.workflows.studio.distribution import USUAL_RELEASE, Released, ReleaseSettings, release
from audiocraft.workflows.studio.parts import (
    MadePart,
    PartsCallback,
    PartsProgress,
    StudioPart,
    make_parts,
)
from audiocraft.workflows.studio.project import (
    NOTHING_SET,
    Song,
    SongEffect,
    SongSection,
    new_song,
    read_song,
    write_song,
)
from audiocraft.workflows.studio.seeds import seed_for

PathLike = str | os.PathLike[str]
_BEFORE_ATTACK_S = 4.0


@dataclass(frozen=True, kw_only=True, slots=True)
class RenderedSong(Mapping[str, Tensor]):
    """This is a song as sound; as a mapping, the audio [C, N] of each section between its bar lines.

    Args:
        sounds: of each section, with the beat before it and what is behind it.
        effects: where they are placed.
        fresh: names of the parts that were made now; the others had files.
        parts: the file of each part.
    """

    project: Song
    sample_rate: int
    sounds: Mapping[str, Tensor] = field(repr=False)
    effects: Sequence[PlacedEffect] = field(repr=False, default=())
    fresh: tuple[str, ...] = ()
    parts: Mapping[str, Path] = field(repr=False, default_factory=dict)

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.sounds:
            raise KeyError(name)
        return inside(self.project, self.project.section(name), self.sounds[name], self.sample_rate)

    def __iter__(self) -> Iterator[str]:
        return iter(section.name for section in self.project.sections)

    def __len__(self) -> int:
        return len(self.project.sections)

    def bed(self) -> Tensor:
        """Return the sections after one another [C, N], without effects, before the mix."""
        return joined_sections(self.project, self.sounds, self.sample_rate)

    def mixed(self) -> Tensor:
        """Return the sections with the effects [C, N], before the mastering."""
        return with_effects(self.bed(), self.sample_rate, self.effects)


class MusicProductionPipeline:
    """This pipeline makes songs.

    Args:
        music, sounds, codec: models by name; loaded when something has to be made with them. None takes those of the
            project.
        folder: where parts are kept for songs that have no project file; None is the cache.
        device: cpu or cuda; None is what is there.
    """

    def __init__(
        self,
        music: str | GeneratorModel | None = None,
        sounds: str | GeneratorModel | None = None,
        codec: str = "nano",
        *,
        folder: PathLike | None = None,
        device: str | None = None,
    ) -> None:
        self._music, self._sounds, self._codec = music, sounds, codec
        self._folder = Path(folder) if folder is not None else cache_dir() / "studio"
        self._device = device
        self._loaded: dict[str, GeneratorModel] = {}

    def create_song_structure(
        self,
        sections: Mapping[str, str],
        *,
        duration: float | None = None,
        bars: Mapping[str, int] | int | None = None,
        score: ScoreSettings = NOTHING_SET,
        seed: int = 0,
        path: PathLike | None = None,
        progress: PartsCallback | None = None,
        cancel: CancelToken | None = None,
    ) -> RenderedSong:
        """Make a song of {section: prompt}: one key, tempo and metre for all; see `project.new_song`.

        Args:
            duration: seconds, about: sections get whole bars. 8 bars each by default.
            path: a project file to write, `*.acproj`; parts are then kept beside it.
        """
        song = new_song(sections, duration=duration, bars=bars, score=score, seed=seed)
        if path is not None:
            write_song(path, song)
        return self.render(song, folder=parts_folder(path), progress=progress, cancel=cancel)

    def render(
        self,
        project: Song | PathLike,
        *,
        folder: Path | None = None,
        progress: PartsCallback | None = None,
        cancel: CancelToken | None = None,
    ) -> RenderedSong:
        """Make what is not there yet of a song, or of a project file, whose parts are kept beside it."""
        if isinstance(project, Song):
            song = project
        else:
            song, folder = read_song(project), folder or parts_folder(project)
        folder = folder or self._folder
        music, effects = music_parts(song), effect_parts(song)
        share = _Shares(progress, len(music), len(effects))
        made = make_parts(
            self._model(song.model, self._music), music, folder, progress=share.first, cancel=cancel
        )
        sounds: dict[str, MadePart] = {}
        if effects:
            maker = self._model(song.sound_model, self._sounds)
            sounds = make_parts(maker, effects, folder, progress=share.second, cancel=cancel)
        return assembled(song, made, sounds)

    def add_sound_effects(
        self,
        base_audio: RenderedSong | Tensor,
        effects: Sequence[str | SongEffect],
        *,
        sample_rate: int = 24000,
        seed: int = 0,
        progress: PartsCallback | None = None,
        cancel: CancelToken | None = None,
    ) -> RenderedSong | Tensor:
        """Return a song, or audio [C, N], with effects: as loud as it takes to be heard, while the music makes room.

        Args:
            effects: records, or texts such as "thunder @ 12.5" and "thunder @ chorus bar 1"; without a place they are
                spread evenly.
            sample_rate: of `base_audio`, where that is audio alone.
        """
        if not effects:
            return base_audio
        if isinstance(base_audio, RenderedSong):
            song = base_audio.project
            added = lone_effects(effects, song.seconds)
            changed = replace(song, effects=(*song.effects, *added))
            folder = next(iter(base_audio.parts.values())).parent
            return self.render(changed, folder=folder, progress=progress, cancel=cancel)
        found = lone_effects(effects, base_audio.shape[-1] / sample_rate)
        made = make_parts(
            self._model("audiogen-nano", self._sounds),
            _effect_parts(found, seed),
            self._folder,
            progress=progress,
            cancel=cancel,
        )
        sounds = []
        for effect, part in zip(found, made.values(), strict=True):
            heard = convert_audio(part.audio, part.sample_rate, sample_rate, part.audio.shape[0])
            audio, before = from_attack(heard, sample_rate, effect.seconds)
            sounds.append(PlacedEffect(effect=effect, audio=audio, at=max(0.0, _second(effect.at) - before)))
        return with_effects(base_audio, sample_rate, sounds)

    def mix_audio(
        self,
        base_audio: RenderedSong | Tensor,
        others: Sequence[Tensor | Track] = (),
        *,
        sample_rate: int = 24000,
        loudness: float = -14.0,
        ceiling: float = -1.0,
    ) -> Master:
        """Return the finished mix: everything in its place, at a loudness in LUFS with its true peaks held.

        Args:
            others: more audio [C, N] at the rate of the base, from its beginning on, or as tracks with place and gain.
            sample_rate, loudness, ceiling: where the base is audio alone; a song brings its own.
        """
        if isinstance(base_audio, RenderedSong):
            sample_rate = base_audio.sample_rate
            loudness, ceiling = base_audio.project.loudness, base_audio.project.ceiling
            base = base_audio.mixed()
        else:
            base = base_audio
        tracks = [other if isinstance(other, Track) else Track(audio=other) for other in others]
        whole = mix([Track(audio=base), *tracks], sample_rate, seconds=base.shape[-1] / sample_rate)
        return master(glued(whole, sample_rate), sample_rate, loudness=loudness, ceiling=ceiling)

    def compress_for_distribution(
        self,
        audio: RenderedSong | Master | Tensor,
        folder: PathLike = ".",
        *,
        sample_rate: int = 24000,
        settings: ReleaseSettings = USUAL_RELEASE,
        cancel: CancelToken | None = None,
    ) -> list[Released]:
        """Write a song, a mix or audio [C, N] in every format of `settings`: what comes out of each file is as loud as
        asked, and below the ceiling of true peaks.

        Args:
            sample_rate: of audio that brings none.
        """
        if isinstance(audio, RenderedSong):
            song = audio.project
            settings = replace(
                settings,
                title=settings.title or song.title,
                artist=settings.artist or song.artist,
                loudness=song.loudness,
                ceiling=song.ceiling,
            )
            wav, sample_rate = glued(audio.mixed(), audio.sample_rate), audio.sample_rate
        else:
            wav = audio.audio if isinstance(audio, Master) else audio
        return release(wav, sample_rate, Path(folder), settings, codec=self._codec, cancel=cancel)

    def _model(self, name: str, given: str | GeneratorModel | None) -> GeneratorModel:
        if given is not None and not isinstance(given, str):
            return given
        wanted = given or name
        if wanted not in self._loaded:
            self._loaded[wanted] = load_model(wanted, device=self._device)
        return self._loaded[wanted]


def parts_folder(path: PathLike | None) -> Path | None:
    """Return where the parts of a project are kept: beside its file."""
    return None if path is None else Path(path).with_suffix(".parts")


def music_parts(song: Song) -> list[StudioPart]:
    """Return what a music model makes for a song: the take of each section, and its layers."""
    found = []
    for section in song.sections:
        seed = song.seed_of(section)
        found.append(
            StudioPart(name=section.name, request=_section_request(song, section, section.prompt, seed))
        )
        for number, layer in enumerate(section.layers):
            own = seed_for(seed, f"layer {number}") if layer.seed is None else layer.seed
            request = _section_request(song, section, layer.prompt, own)
            found.append(StudioPart(name=_layer_name(section, number), request=request))
    return found


def effect_parts(song: Song) -> list[StudioPart]:
    """Return what a model of sounds makes for a song."""
    return _effect_parts(song.effects, song.seed)


def assembled(song: Song, music: Mapping[str, MadePart], effects: Mapping[str, MadePart]) -> RenderedSong:
    """Return a song of its parts, which have the names of `music_parts` and `effect_parts`."""
    rate = next(iter(music.values())).sample_rate
    sounds = {}
    for section in song.sections:
        layers = [music[_layer_name(section, number)] for number in range(len(section.layers))]
        sounds[section.name] = section_sound(section, music[section.name], layers, rate)
    numbered = dict(enumerate(effects.values()))
    return RenderedSong(
        project=song,
        sample_rate=rate,
        sounds=sounds,
        effects=placed(song, numbered, rate),
        fresh=tuple(name for name, part in {**music, **effects}.items() if part.fresh),
        parts={name: part.path for name, part in {**music, **effects}.items()},
    )


def _layer_name(section: SongSection, number: int) -> str:
    return f"{section.name} layer {number + 1}"


def _section_request(song: Song, section: SongSection, prompt: str, seed: int) -> GenerationRequest:
    ends = section is song.sections[-1] and song.ending is not None
    lead = lead_of(song)
    plan = song.plan_of(section, lead=lead, tail=0.0 if ends else lead)
    return GenerationRequest(
        prompts=(prompt,),
        duration=plan.duration,
        seeds=(seed,),
        plans=(plan,),
        ending=song.ending if ends else None,
        longest_tone=longest_tone_of([prompt]),
    )


def _effect_parts(effects: Sequence[SongEffect], seed: int) -> list[StudioPart]:
    found = []
    for number, effect in enumerate(effects):
        before = sum(other.prompt == effect.prompt for other in effects[:number])
        own = seed_for(seed, f"effect {effect.prompt} {before}") if effect.seed is None else effect.seed
        # Sounds often begin after a silence, which is cut off.
        request = GenerationRequest(
            prompts=(translate(effect.prompt).text,), duration=effect.seconds + _BEFORE_ATTACK_S, seeds=(own,)
        )
        found.append(StudioPart(name=f"effect {number + 1} {effect.prompt}", request=request))
    return found


def _second(at: str) -> float:
    try:
        return float(at.strip().removesuffix("s"))
    except ValueError:
        raise InvalidInput(
            f"{at!r} is a place in a song; audio alone has only seconds, as in 'thunder @ 12.5'", field="at"
        ) from None


class _Shares:
    """This object makes one share of progress out of two runs."""

    def __init__(self, progress: PartsCallback | None, music: int, effects: int) -> None:
        self._progress = progress
        self._music, self._total = music, music + effects
        self._weight = 1.0 if not effects else 0.85

    def first(self, event: PartsProgress) -> None:
        self._say(replace(event, total=self._total, share=event.share * self._weight))

    def second(self, event: PartsProgress) -> None:
        share = self._weight + event.share * (1 - self._weight)
        self._say(replace(event, done=event.done + self._music, total=self._total, share=share))

    def _say(self, event: PartsProgress) -> None:
        if self._progress is not None:
            self._progress(event)
