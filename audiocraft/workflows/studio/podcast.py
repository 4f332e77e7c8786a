"""A podcast around a voice: music before and after it, softer music under it, sounds between its chapters, and the
loudness that players expect.

The parts share one tempo and key, which come from the theme. The length of an episode is bounded by memory: an hour in
stereo takes about six gigabytes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from audiocraft.audio.chapters import Chapter, checked_chapters
from audiocraft.audio.convert import convert_audio
from audiocraft.audio.mixing import (
    EqualiserBand,
    Master,
    Track,
    at_loudness,
    automate,
    compress,
    crossfade,
    duck,
    equalise,
    master,
    mix,
)
from audiocraft.audio.speech import Regions, SpeechDetector, speech_regions
from audiocraft.errors import InvalidInput
from audiocraft.generation.held_tones import longest_tone_of
from audiocraft.generation.progress import CancelToken
from audiocraft.generation.request import GenerationRequest
from audiocraft.models.generator import GeneratorModel
from audiocraft.models.loaders import load_model
from audiocraft.music.planning import ScoreSettings, make_plan
from audiocraft.workflows.takes import worthwhile

STEREO_LOUDNESS, MONO_LOUDNESS = -16.0, -19.0
"""Integrated loudness of podcasts in LUFS (AES TD1008 and what players recommend)."""

_REFERENCE = -20.0  # the loudness of the voice while parts are put together; the master turns all of it
_VOICE_BANDS = (EqualiserBand(kind="low_cut", frequency=80.0),)
_OVERLAP_S = 1.0  # music and voice share this much where one follows the other
_JOINT_S = 0.25
_LONGEST_BED_S = 24.0
_NEAR_S = 2.0  # a chapter that begins so near to a pause begins in it
_LONGEST_S = 3 * 3600.0
_TRANSITIONS = ("vibraphone", "harp", "piano", "marimba", "bells", "guitar")

StepReport = Callable[[str, int, int], object]
"""Is told what is done, how many steps are, and of how many."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PodcastSettings:
    """This record says how an episode is put together.

    Args:
        channels: 2, or 1 for mono.
        loudness: integrated, in LUFS; None is -16 in stereo and -19 in mono.
        ceiling: highest true peak in dB below full scale.
        intro, outro: seconds of music before and after the voice; 0 for none.
        bed: whether music goes on under the voice.
        bed_db: how loud it is beside the voice while nobody speaks.
        depth_db: how much softer it is while somebody does.
        transitions: whether a sound leads to each chapter but the first.
        prepare_voice: take rumble away from the voice and even out its level.
        detector: how speech is found.
    """

    channels: int = 2
    loudness: float | None = None
    ceiling: float = -1.0
    intro: float = 8.0
    outro: float = 8.0
    bed: bool = True
    bed_db: float = -6.0
    depth_db: float = 12.0
    transitions: bool = True
    prepare_voice: bool = True
    detector: SpeechDetector = "auto"

    def __post_init__(self) -> None:
        if self.channels not in (1, 2):
            raise InvalidInput(f"a podcast has 1 or 2 channels, got {self.channels}", field="channels")
        for value, name in ((self.intro, "intro"), (self.outro, "outro")):
            if value != 0 and not 2 <= value <= 60:
                raise InvalidInput(f"the {name} lasts 2 to 60 s, or 0 for none, got {value:g}", field=name)
        if not -40 <= self.bed_db <= 6:
            raise InvalidInput(f"the bed lies between -40 and 6 dB, got {self.bed_db:g}", field="bed_db")
        if not 0 <= self.depth_db <= 60:
            raise InvalidInput(
                f"the depth of ducking lies between 0 and 60 dB, got {self.depth_db:g}", field="depth_db"
            )

    @property
    def target(self) -> float:
        """Return the loudness that the episode gets."""
        if self.loudness is not None:
            return self.loudness
        return STEREO_LOUDNESS if self.channels == 2 else MONO_LOUDNESS


@dataclass(frozen=True, kw_only=True, slots=True)
class Episode:
    """This record holds a finished episode.

    Args:
        audio: [C, N] at `sample_rate`.
        loudness, true_peak: as measured on it, in LUFS and dB.
        chapters: at their times in the episode.
        speech: where somebody speaks, in seconds of the episode.
        gain_db: by how much the mix was turned up at the end.
    """

    audio: Tensor
    sample_rate: int
    loudness: float
    true_peak: float
    chapters: tuple[Chapter, ...]
    speech: Regions
    gain_db: float

    @property
    def duration(self) -> float:
        """Return its length in seconds."""
        return self.audio.shape[-1] / self.sample_rate


class PodcastAudioProcessor:
    """This processor makes the music of a podcast, and episodes with it.

    Args:
        model: a model of music, or its name.
        theme: what the music is like, such as "science, calm"; tempo and key come from it.
        seed: equal themes and seeds give equal music.
        sample_rate: of everything that comes back, in Hz.
    """

    def __init__(
        self,
        model: GeneratorModel | str = "musicgen-nano",
        *,
        theme: str = "calm",
        seed: int = 0,
        sample_rate: int = 44100,
    ) -> None:
        if not 8000 <= sample_rate <= 192_000:
            raise InvalidInput(
                f"a podcast has a rate of 8000 to 192000 Hz, got {sample_rate}", field="sample_rate"
            )
        self.model = load_model(model) if isinstance(model, str) else model
        self.theme = _checked_theme(theme)
        self.seed = seed
        self.sample_rate = sample_rate

    def create_intro_music(
        self, theme: str | None = None, *, duration: float = 8.0, cancel: CancelToken | None = None
    ) -> Tensor:
        """Return music to begin with [C, N]: in the tempo and key of the processor's theme, dying away at its end.

        Args:
            theme: another character of the same tempo and key; None is the processor's.
        """
        text = self.theme if theme is None else _checked_theme(theme)
        music = self._music(f"{text}, opening theme", duration, self.seed, cancel)
        return self._died_away(music, min(2.0, duration / 3))

    def create_outro_music(self, *, duration: float = 8.0, cancel: CancelToken | None = None) -> Tensor:
        """Return music to end with [C, N]: the opening's character with other notes."""
        music = self._music(f"{self.theme}, ending", duration, self.seed + 1, cancel)
        return self._died_away(music, min(3.0, duration / 2))

    def generate_transition_sounds(
        self, count: int = 3, *, cancel: CancelToken | None = None
    ) -> tuple[Tensor, ...]:
        """Make short sounds [C, N] that lead from one part to the next: a bar each of one chord, all in one key."""
        if not 1 <= count <= 100:
            raise InvalidInput(f"1 to 100 transition sounds can be made, got {count}", field="count")
        sounds = []
        for number in range(count):
            instrument = _TRANSITIONS[number % len(_TRANSITIONS)]
            music = self._music(
                f"{instrument} alone, no drums", self._bar, self.seed + 100 + number, cancel, tonic=True
            )
            sounds.append(self._died_away(music, self._bar * 0.7))
        return tuple(sounds)

    def create_bed_music(self, duration: float, *, cancel: CancelToken | None = None) -> Tensor:
        """Return music to speak over [C, N]: without drums, and as long as asked by repeating whole bars."""
        bars = max(1, min(math.floor(_LONGEST_BED_S / self._bar), math.ceil(duration / self._bar)))
        loop = bars * self._bar
        music = self._music(f"{self.theme}, soft, no drums", loop + _JOINT_S, self.seed + 2, cancel)
        wanted, joint = round(duration * self.sample_rate), round(_JOINT_S * self.sample_rate)
        bed = music
        while bed.shape[-1] < wanted:
            bed = crossfade(bed, music, joint)
        return bed[:, :wanted]

    def make(
        self,
        voice: Tensor,
        sample_rate: int,
        *,
        chapters: Sequence[Chapter] = (),
        settings: PodcastSettings = PodcastSettings(),
        report: StepReport | None = None,
        cancel: CancelToken | None = None,
    ) -> Episode:
        """Return an episode around voice [C, N].

        Args:
            chapters: at their times in `voice`; one that begins near a pause begins in it.
            report: is told of each step.
        """
        chapters = checked_chapters(chapters)
        _check_voice(voice, sample_rate, chapters)
        steps = _Steps(report, 6)
        steps.next("listening to the voice")
        spoken = convert_audio(voice.detach().float().cpu(), sample_rate, self.sample_rate, 1)
        found = speech_regions(spoken, self.sample_rate, detector=settings.detector)
        spoken = self._prepared(spoken) if settings.prepare_voice else spoken
        spoken = at_loudness(spoken, self.sample_rate, _REFERENCE)
        steps.next("making the opening")
        opening, closing = None, None
        if settings.intro:
            opening = self.create_intro_music(duration=settings.intro, cancel=cancel)
        steps.next("making the end")
        if settings.outro:
            closing = self.create_outro_music(duration=settings.outro, cancel=cancel)
        steps.next("making transitions")
        changes = chapters[1:] if settings.transitions else ()
        sounds = self.generate_transition_sounds(len(changes), cancel=cancel) if changes else ()
        layout = _laid_out(
            spoken.shape[-1] / self.sample_rate, found, chapters, 0.0 if opening is None else settings.intro,
            [sound.shape[-1] / self.sample_rate for sound in sounds],
        )  # fmt: skip
        steps.next("making the music under the voice")
        tracks = [
            Track(audio=_faded(part, self.sample_rate), at=at)
            for part, at in zip(_cut(spoken, self.sample_rate, layout.cuts), layout.starts, strict=True)
        ]
        if opening is not None:
            tracks.append(Track(audio=at_loudness(opening, self.sample_rate, _REFERENCE)))
        tracks += [
            Track(audio=at_loudness(sound, self.sample_rate, _REFERENCE), at=at, gain_db=-3.0)
            for sound, at in zip(sounds, layout.changes, strict=True)
        ]
        if settings.bed:
            tracks.append(self._bed(layout, settings, cancel))
        if closing is not None:
            tracks.append(
                Track(audio=at_loudness(closing, self.sample_rate, _REFERENCE), at=layout.end - _OVERLAP_S)
            )
        steps.next("mastering")
        made = self._mastered(tracks, settings)
        steps.done()
        return Episode(
            audio=made.audio,
            sample_rate=self.sample_rate,
            loudness=made.loudness,
            true_peak=made.true_peak,
            chapters=layout.chapters,
            speech=layout.speech,
            gain_db=made.gain_db,
        )

    @property
    def _score(self) -> ScoreSettings:
        """Return tempo and key of everything."""
        plan = make_plan(self.theme, duration=10.0, seed=self.seed) if self.model.takes_plans else None
        if plan is None:
            return ScoreSettings()
        return ScoreSettings(tempo=plan.tempo, key=plan.key, beats_per_bar=plan.beats_per_bar)

    @property
    def _bar(self) -> float:
        """Return how many seconds a bar lasts."""
        score = self._score
        return 60 / (score.tempo or 100.0) * (score.beats_per_bar or 4)

    def _music(
        self, prompt: str, seconds: float, seed: int, cancel: CancelToken | None, *, tonic: bool = False
    ) -> Tensor:
        score = self._score
        if tonic and score.key is not None:
            root, mode = score.key.split()
            score = replace(score, chords=(root + ("m" if mode == "minor" else ""),))
        request = GenerationRequest(
            prompts=(prompt,),
            duration=seconds,
            seeds=(seed,),
            score=score,
            longest_tone=longest_tone_of([prompt]),
        )
        take = worthwhile(self.model, request, self.model.run(request, cancel=cancel), 0, cancel=cancel)
        audio = take.audio.cpu().float()
        return convert_audio(audio, self.model.sample_rate, self.sample_rate, audio.shape[0])

    def _died_away(self, music: Tensor, seconds: float) -> Tensor:
        """Return music whose last seconds fade as a room does: evenly in dB, and at last to nothing."""
        end = music.shape[-1] / self.sample_rate
        faded = automate(music, self.sample_rate, [(end - seconds, 0.0), (end, -48.0)])
        return _faded(faded, self.sample_rate)

    def _prepared(self, voice: Tensor) -> Tensor:
        """Return a voice without rumble, whose loud words are nearer to its soft ones."""
        clean = at_loudness(equalise(voice, self.sample_rate, _VOICE_BANDS), self.sample_rate, _REFERENCE)
        return compress(
            clean, self.sample_rate, threshold_db=_REFERENCE + 6, ratio=2.5, attack=0.01, release=0.2
        )

    def _bed(self, layout: _Layout, settings: PodcastSettings, cancel: CancelToken | None) -> Track:
        start = max(0.0, layout.begin - _OVERLAP_S)
        seconds = layout.end + 0.5 - start
        music = self.create_bed_music(seconds, cancel=cancel)
        bed = at_loudness(music, self.sample_rate, _REFERENCE + settings.bed_db)
        regions = [(begin - start, end - start) for begin, end in layout.speech]
        bed = duck(bed, self.sample_rate, regions, depth_db=settings.depth_db, hold=1.5)
        edges = [(0.0, -48.0), (_OVERLAP_S, 0.0), (seconds - _OVERLAP_S, 0.0), (seconds, -48.0)]
        return Track(audio=_faded(automate(bed, self.sample_rate, edges), self.sample_rate), at=start)

    def _mastered(self, tracks: Sequence[Track], settings: PodcastSettings) -> Master:
        mixed = mix(tracks, self.sample_rate)
        if settings.channels == 2 and mixed.shape[0] == 1:
            mixed = mixed.expand(2, -1)
        elif settings.channels == 1 and mixed.shape[0] == 2:
            mixed = mixed.mean(dim=0, keepdim=True)
        return master(mixed, self.sample_rate, loudness=settings.target, ceiling=settings.ceiling)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Layout:
    """This record says where everything lies in an episode, in seconds.

    Args:
        cuts: where the voice is cut, in its own time.
        starts: where its parts begin.
        changes: where transition sounds begin.
        begin, end: of the voice.
    """

    cuts: tuple[float, ...]
    starts: tuple[float, ...]
    changes: tuple[float, ...]
    chapters: tuple[Chapter, ...]
    speech: Regions
    begin: float
    end: float


def _laid_out(
    seconds: float,
    speech: Regions,
    chapters: Sequence[Chapter],
    intro: float,
    sounds: Sequence[float],
) -> _Layout:
    """Return the places of everything.

    Args:
        seconds: of the voice.
        speech: where it speaks.
        intro: seconds of music before it.
        sounds: seconds of the sounds before each chapter but the first; none where there are none.
    """
    begin = max(0.0, intro - _OVERLAP_S)
    starts, cuts, changes, moved, shift = [begin], list[float](), list[float](), list[Chapter](), begin
    for number, chapter in enumerate(chapters):
        at = _in_pause(chapter.start, speech) if number else chapter.start
        if number and sounds:
            cuts.append(at)
            changes.append(at + shift)
            shift += sounds[number - 1]
            starts.append(at + shift)
            moved.append(Chapter(changes[-1], chapter.title))
        else:
            # The first chapter of an episode begins with it.
            moved.append(Chapter(0.0 if chapter.start == 0 else at + shift, chapter.title))
    return _Layout(
        cuts=tuple(cuts),
        starts=tuple(starts),
        changes=tuple(changes),
        chapters=tuple(moved),
        speech=_moved(speech, cuts, starts),
        begin=begin,
        end=seconds + shift,
    )


def _in_pause(second: float, speech: Regions) -> float:
    """Return the middle of the pause nearest to a second, if one is near."""
    pauses = [
        (first[1] + then[0]) / 2
        for first, then in itertools.pairwise(speech)
        if first[1] - _NEAR_S <= second <= then[0] + _NEAR_S
    ]
    return min(pauses, key=lambda pause: abs(pause - second), default=second)


def _moved(speech: Regions, cuts: Sequence[float], starts: Sequence[float]) -> Regions:
    """Return regions in the time of the voice, in the time of the episode."""
    borders = [0.0, *cuts, math.inf]
    out = []
    for first, last, start in zip(borders, borders[1:], starts, strict=False):
        for begin, end in speech:
            if end > first and begin < last:
                out.append((max(begin, first) - first + start, min(end, last) - first + start))
    return tuple(out)


def _cut(voice: Tensor, sample_rate: int, cuts: Sequence[float]) -> list[Tensor]:
    places = [0, *(round(cut * sample_rate) for cut in cuts), voice.shape[-1]]
    return [voice[:, first:last] for first, last in itertools.pairwise(places)]


def _faded(audio: Tensor, sample_rate: int) -> Tensor:
    """Return audio with ends that do not click: 10 ms at both."""
    count = min(round(0.01 * sample_rate), audio.shape[-1] // 2)
    ramp = torch.linspace(0, 1, count + 2)[1:-1]
    faded = audio.clone()
    if count:
        faded[:, :count] *= ramp
        faded[:, -count:] *= ramp.flip(0)
    return faded


def _checked_theme(theme: str) -> str:
    text = " ".join(theme.split())
    if not text or len(text) > 1000:
        raise InvalidInput(
            'a theme is a few words such as "science, calm"' + (", got none" if not text else ""),
            field="theme",
        )
    return text


def _check_voice(voice: Tensor, sample_rate: int, chapters: Sequence[Chapter]) -> None:
    if voice.dim() != 2 or not voice.shape[-1]:
        raise InvalidInput(
            f"a voice is audio [C, N] with sound in it, got {list(voice.shape)}", field="voice"
        )
    if not 4000 <= sample_rate <= 384_000:
        raise InvalidInput(f"a voice has a rate of 4000 to 384000 Hz, got {sample_rate}", field="sample_rate")
    if not bool(voice.isfinite().all()):
        raise InvalidInput("the voice has infinite or undefined samples", field="voice")
    seconds = voice.shape[-1] / sample_rate
    if not 0.5 <= seconds <= _LONGEST_S:
        raise InvalidInput(
            f"a voice lasts half a second to {_LONGEST_S / 3600:g} hours, got {seconds:.1f} s", field="voice"
        )
    if chapters and chapters[-1].start >= seconds:
        raise InvalidInput(
            f"chapter {chapters[-1].title!r} begins at {chapters[-1].start:g} s, but the voice ends at "
            f"{seconds:.1f} s",
            field="chapters",
        )


class _Steps:
    """This object tells how far a job of several steps is."""

    def __init__(self, report: StepReport | None, total: int) -> None:
        self._report, self._total, self._done = report, total, 0

    def next(self, what: str) -> None:
        """Begin the next step."""
        if self._report is not None:
            self._report(what, self._done, self._total)
        self._done += 1

    def done(self) -> None:
        """Say that the last step is over."""
        if self._report is not None:
            self._report("done", self._total, self._total)
