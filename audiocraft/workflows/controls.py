"""Chords, drums and tunes as people have them, in files and in words, to what a request follows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from audiocraft.audio.files import audio_read
from audiocraft.audio.salience import FRAME_RATE, LOWEST_PITCH, melody_salience
from audiocraft.errors import InvalidInput
from audiocraft.generation.controls import Controls
from audiocraft.music.lead_sheet import read_chords
from audiocraft.music.midi_file import MidiNotes
from audiocraft.music.midi_reading import SUFFIXES, chords_of, melody_of, read_midi, within

PITCHES = 53


def with_chords(
    controls: Controls, text: str, *, tempo: float | None, beats_per_bar: int = 4, duration: float
) -> Controls:
    """Return `controls` with the chords of a text or of a file; see `music.lead_sheet.read_chords`. A MIDI file is
    heard beat by beat, and what lies behind the end of the piece is left out of files."""
    path = Path(text)
    if path.suffix.lower() in SUFFIXES:
        score = read_midi(path, field="chords")
        try:
            return replace(controls, chords=chords_of(within(score, duration)))
        except InvalidInput as error:
            raise InvalidInput(f"{path}: {error}", field="chords") from error
    chords = read_chords(text, tempo=tempo, beats_per_bar=beats_per_bar, duration=duration)
    if path.suffix.lower() == ".lab":
        chords = tuple(c for c in chords if c[1] < duration)
    return replace(controls, chords=chords)


def with_drums(controls: Controls, path: Path) -> Controls:
    """Return `controls` with the drums of an audio file."""
    wav, rate = audio_read(path)
    if not wav.shape[-1]:
        raise InvalidInput(f"{path} has no audio in it", field="drums")
    return replace(controls, drums=wav, drums_sample_rate=rate)


def with_tune(controls: Controls, path: Path) -> Controls:
    """Return `controls` with the melody of an audio or MIDI file."""
    if path.suffix.lower() in SUFFIXES:
        return with_notes(controls, read_midi(path, field="tune"))
    wav, sample_rate = audio_read(path)
    if not wav.shape[-1]:
        raise InvalidInput(f"{path} has no audio in it", field="tune")
    return with_tune_of(controls, wav, sample_rate)


def with_notes(controls: Controls, score: MidiNotes) -> Controls:
    """Return `controls` with the highest notes of a score as the melody."""
    matrix = melody_of(score, lowest=LOWEST_PITCH, pitches=PITCHES, frame_rate=FRAME_RATE)
    return replace(controls, melody=torch.tensor(matrix, device="cpu"), melody_frame_rate=FRAME_RATE)


def with_tune_of(controls: Controls, wav: Tensor, sample_rate: int) -> Controls:
    """Return `controls` with the melody of a recording [C, N]."""
    melody, rate = melody_salience(wav, sample_rate, pitches=PITCHES)
    return replace(controls, melody=melody, melody_frame_rate=rate)
