"""From parts to the sound of a song: sections joined at their bar lines, effects that are heard, and the sum of all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from audiocraft.audio.convert import convert_audio
from audiocraft.audio.loudness import block_powers, loudness_in_pieces, lufs
from audiocraft.audio.mixing import EqualiserBand, Track, compress, duck, equalise, mix
from audiocraft.workflows.studio.parts import MadePart
from audiocraft.workflows.studio.project import Song, SongEffect, SongSection, Transition

SECTION_LOUDNESS = -20.0
"""LUFS of a section before the mix; its `gain_db` comes on top."""
_CUT_S = 0.03  # cross-fade at a joint, which ends a moment behind the bar line
_BEHIND_S = 0.01
_ABOVE_DB = 2.0  # by which an effect stands out of what is heard with it
_ATTACK_SHARE = 0.25  # of the highest level of an effect, at which its attack is
_FRAME_S = 0.005
_BEFORE_S = 0.03  # of an effect that is kept before its attack
_FADE_S = 0.25
_UNHEARD = 1e-9
_QUIET_BED = -40.0  # LUFS; where the music is softer, effects are as loud as beside such music
_SUBSONIC = EqualiserBand(kind="low_cut", frequency=28.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class PlacedEffect:
    """This record holds an effect in a song: its sound [C, N], from the second `at` on, without the gain that the mix
    gives it."""

    effect: SongEffect
    audio: Tensor
    at: float


def lead_of(song: Song) -> float:
    """Return seconds that sections are made to begin early, and end late: a beat."""
    return song.beat_seconds


def section_sound(section: SongSection, take: MadePart, layers: Sequence[MadePart], rate: int) -> Tensor:
    """Return a section with its layers, at its loudness [C, N], with the beat before it and what is behind it."""
    total = _at_loudness(_as(take, rate), rate, SECTION_LOUDNESS)
    for layer, part in zip(section.layers, layers, strict=True):
        sound = _at_loudness(_as(part, rate), rate, SECTION_LOUDNESS + layer.gain_db)
        tracks = [Track(audio=total), Track(audio=sound, pan=layer.pan)]
        total = mix(tracks, rate, seconds=total.shape[-1] / rate)
    return _at_loudness(total, rate, SECTION_LOUDNESS + section.gain_db)


def inside(song: Song, section: SongSection, sound: Tensor, rate: int) -> Tensor:
    """Return, of the sound of a section, that between its bar lines [C, N]."""
    first = round(lead_of(song) * rate)
    return sound[:, first : first + round(section.bars * song.bar_seconds * rate)]


def joined_sections(song: Song, sounds: Mapping[str, Tensor], rate: int) -> Tensor:
    """Return all sections, each from its bar line on, [C, N]. Samples that are farther than a beat from a joint are
    those of one section alone, placed and turned up as it says."""
    lead, starts = lead_of(song), song.starts()
    stereo = any(section.pan for section in song.sections) or any(
        sound.shape[0] > 1 for sound in sounds.values()
    )
    total = torch.zeros(2 if stereo else 1, round(song.seconds * rate))
    for place, section in enumerate(song.sections):
        sound = sounds[section.name]
        begin = round(starts[section.name] * rate) - round(lead * rate)
        following = song.sections[place + 1].transition if place + 1 < len(song.sections) else None
        fades = _fades(song, section, place, following)
        sound = sound * _envelope(sound.shape[-1], rate, lead, fades)
        part = mix([Track(audio=sound, pan=section.pan)], rate)
        skip = max(0, -begin)
        first = begin + skip
        count = min(part.shape[-1] - skip, total.shape[-1] - first)
        total[:, first : first + count] += part[:, skip : skip + count]
    return total


def placed(song: Song, effects: Mapping[int, MadePart], rate: int) -> list[PlacedEffect]:
    """Return the effects of a song where they belong: the attack of each falls on its place."""
    found = []
    for number, effect in enumerate(song.effects):
        audio, before = from_attack(_as(effects[number], rate), rate, effect.seconds)
        at = song.second_of(effect.at) - before
        if at < 0:
            audio, at = audio[:, round(-at * rate) :], 0.0
        found.append(PlacedEffect(effect=effect, audio=audio, at=at))
    return found


def from_attack(audio: Tensor, rate: int, seconds: float) -> tuple[Tensor, float]:
    """Cut so many seconds of a sound [C, N] from shortly before its attack on, or its last ones, faded at both ends;
    also return by how many seconds its attack is behind that."""
    frame = max(1, round(_FRAME_S * rate))
    level = audio.abs().amax(0)
    level = torch.nn.functional.pad(level, (0, -level.shape[-1] % frame)).unflatten(0, (-1, frame)).amax(1)
    attack = int((level >= _ATTACK_SHARE * level.max()).nonzero()[0]) * frame if level.max() > 0 else 0
    count = min(audio.shape[-1], round(seconds * rate))
    first = min(max(0, attack - round(_BEFORE_S * rate)), audio.shape[-1] - count)
    audio = audio[:, first : first + count].clone()
    up = min(attack - first, round(_BEFORE_S * rate))
    down = min(round(_FADE_S * rate), audio.shape[-1])
    if up:
        audio[:, :up] *= torch.linspace(0, 1, up)
    audio[:, audio.shape[-1] - down :] *= torch.linspace(1, 0, down).square()
    return audio, (attack - first) / rate


def with_effects(bed: Tensor, rate: int, effects: Sequence[PlacedEffect]) -> Tensor:
    """Return music [C, N] with effects that are heard above it: each at the level of the music beside it and a
    little more, while the music makes room."""
    tracks = []
    original = bed
    for one in effects:
        length = one.audio.shape[-1] / rate
        tracks.append(
            Track(audio=one.audio, at=one.at, gain_db=effect_gain(original, rate, one), pan=one.effect.pan)
        )
        if one.effect.duck_db > 0:
            region = [(one.at, one.at + length)]
            bed = duck(bed, rate, region, depth_db=one.effect.duck_db, attack=0.05, release=0.4)
    return mix([Track(audio=bed), *tracks], rate, seconds=bed.shape[-1] / rate)


def effect_gain(bed: Tensor, rate: int, one: PlacedEffect) -> float:
    """Return the gain in dB with which an effect stands out of music [C, N]."""
    first = round(one.at * rate)
    around = bed[:, first : first + one.audio.shape[-1]]
    beside = loudness_in_pieces(around, rate) if around.shape[-1] else -math.inf
    own = float(lufs(block_powers(one.audio, rate).max()))
    if own == -math.inf:
        return 0.0
    wanted = max(beside, _QUIET_BED) - one.effect.duck_db + _ABOVE_DB + (one.effect.gain_db or 0.0)
    return max(-60.0, min(60.0, wanted - own))


def glued(mixed: Tensor, rate: int) -> Tensor:
    """Return a mix as it goes into its mastering: without what is below hearing, its peaks held a little together."""
    return compress(equalise(mixed, rate, [_SUBSONIC]), rate, threshold_db=-12.0, ratio=2.0, attack=0.01)


def _fades(
    song: Song, section: SongSection, place: int, following: Transition | None
) -> tuple[tuple[float, float] | None, tuple[float, float] | None]:
    """Return (where the section fades in, where it fades out), in seconds from its first bar line; None: not at all."""
    beat, end = song.beat_seconds, section.bars * song.bar_seconds
    start = (_BEHIND_S - _CUT_S, _BEHIND_S)
    if place and section.transition == "blend":
        start = (-beat, beat)
    elif place and section.transition == "pause":
        start = (-_BEHIND_S, 0.0)
    if following is None:
        return (start if place else None), None
    over = {
        "cut": (end + _BEHIND_S - _CUT_S, end + _BEHIND_S),
        "blend": (end - beat, end + beat),
        "pause": (end - beat, end - beat + _CUT_S),
    }
    return (start if place else None), over[following]


def _envelope(
    samples: int,
    rate: int,
    lead: float,
    fades: tuple[tuple[float, float] | None, tuple[float, float] | None],
) -> Tensor:
    """Return gains [samples] of equal power over the two fades."""
    second = torch.arange(samples, dtype=torch.float64) / rate - lead
    gains = torch.ones(samples, dtype=torch.float64)
    rising, falling = fades
    if rising is None:
        gains[second < -0.5 / rate] = 0.0  # what is before a song is not heard
    else:
        gains *= (((second - rising[0]) / (rising[1] - rising[0])).clamp(0, 1) * math.pi / 2).sin()
    if falling is not None:
        gains *= (((second - falling[0]) / (falling[1] - falling[0])).clamp(0, 1) * math.pi / 2).cos()
    gains[gains < _UNHEARD] = 0.0
    return gains.float()


def _as(part: MadePart, rate: int) -> Tensor:
    """Return the audio of a part at a rate [C, N]."""
    return convert_audio(part.audio, part.sample_rate, rate, part.audio.shape[0])


def _at_loudness(audio: Tensor, rate: int, loudness: float) -> Tensor:
    measured = loudness_in_pieces(audio, rate)
    return audio if measured == -math.inf else audio * 10 ** ((loudness - measured) / 20)


def lone_effects(effects: Sequence[str | SongEffect], seconds: float) -> list[SongEffect]:
    """Return effects for audio that nothing is known of: words alone ("thunder") are spread evenly, "thunder @ 12.5"
    says the second."""
    found = []
    for number, effect in enumerate(effects):
        if isinstance(effect, SongEffect):
            found.append(effect)
            continue
        words, _, at = effect.partition("@")
        place = at.strip() or f"{seconds * (number + 0.5) / len(effects):.3f}"
        found.append(SongEffect(prompt=words.strip(), at=place))
    return found
