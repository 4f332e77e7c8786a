"""Turns a piece into sound with FluidSynth and a General MIDI sound font.

FluidSynth's library is called directly: the sound font is read once per process, every clip gets a fresh
synthesizer (so a clip depends on nothing before it), and each part is rendered to its own signal and mixed
here, at a level that keeps every instrument audible.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from audiocraft.data.synthesis.composition import Part, Piece
from audiocraft.data.synthesis.instruments import DRUMS
from audiocraft.data.synthesis.levels import SAMPLE_RATE, Samples, active_rms, finish, reverberate
from audiocraft.errors import MissingDependency

SOUNDFONT_ENV = "AUDIOCRAFT_SOUNDFONT"
DEFAULT_SOUNDFONT = "/usr/share/sounds/sf2/FluidR3_GM.sf2"
LOUDNESS = -20.0
_BLOCK = 64  # FluidSynth starts notes at multiples of this
_MAX_PARTS = 4
_DRUM_CHANNEL = 9
# MIDI's pitch wheel: its middle, and its steps where it reaches two semitones either way.
_UNBENT, _BEND_PER_CENT = 8192, 8192 / 200

# name -> (result, arguments)
_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "new_fluid_settings": (ctypes.c_void_p, ()),
    "delete_fluid_settings": (None, (ctypes.c_void_p,)),
    "fluid_settings_setint": (ctypes.c_int, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int)),
    "fluid_settings_setnum": (ctypes.c_int, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_double)),
    "new_fluid_synth": (ctypes.c_void_p, (ctypes.c_void_p,)),
    "delete_fluid_synth": (None, (ctypes.c_void_p,)),
    "fluid_synth_sfload": (ctypes.c_int, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int)),
    "fluid_synth_get_sfont_by_id": (ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_int)),
    "fluid_synth_add_sfont": (ctypes.c_int, (ctypes.c_void_p, ctypes.c_void_p)),
    "fluid_synth_remove_sfont": (ctypes.c_int, (ctypes.c_void_p, ctypes.c_void_p)),
    "fluid_synth_program_select": (ctypes.c_int, (ctypes.c_void_p,) + (ctypes.c_int,) * 4),
    "fluid_synth_noteon": (ctypes.c_int, (ctypes.c_void_p,) + (ctypes.c_int,) * 3),
    "fluid_synth_noteoff": (ctypes.c_int, (ctypes.c_void_p,) + (ctypes.c_int,) * 2),
    "fluid_synth_pitch_bend": (ctypes.c_int, (ctypes.c_void_p,) + (ctypes.c_int,) * 2),
    "fluid_synth_nwrite_float": (ctypes.c_int, (ctypes.c_void_p, ctypes.c_int) + (ctypes.c_void_p,) * 4),
    "fluid_set_log_function": (ctypes.c_void_p, (ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)),
}
_SETTINGS: dict[str, int | float] = {
    "synth.gain": 0.4,
    "synth.sample-rate": float(SAMPLE_RATE),
    "synth.midi-channels": 16,
    "synth.audio-channels": _MAX_PARTS,
    "synth.audio-groups": _MAX_PARTS,
    "synth.polyphony": 192,
    "synth.reverb.active": 0,
    "synth.chorus.active": 0,
}


def find_soundfont(path: str | Path | None = None) -> Path:
    """Return the sound font to use: the argument, else the environment's AUDIOCRAFT_SOUNDFONT, else Debian's FluidR3.

    Raises:
        MissingDependency: there is no such file.
    """
    chosen = Path(path or os.environ.get(SOUNDFONT_ENV) or DEFAULT_SOUNDFONT)
    if not chosen.is_file():
        raise MissingDependency(
            f"no sound font at {chosen}; install it with `make corpus-deps` "
            f"(Debian packages libfluidsynth3 and fluid-soundfont-gm) or name one with {SOUNDFONT_ENV}"
        )
    return chosen


@functools.cache
def _library() -> ctypes.CDLL:
    names = ("fluidsynth", "libfluidsynth-3")  # the second one on Windows
    name = next(filter(None, map(ctypes.util.find_library, names)), "libfluidsynth.so.3")
    try:
        library = ctypes.CDLL(name)
    except OSError as error:
        raise MissingDependency(
            "music is rendered with FluidSynth, which is not installed; install it with `make corpus-deps` "
            "(Debian packages libfluidsynth3 and fluid-soundfont-gm)"
        ) from error
    for function, (result, arguments) in _FUNCTIONS.items():
        getattr(library, function).restype = result
        getattr(library, function).argtypes = arguments
    for level in range(5):
        library.fluid_set_log_function(level, None, None)
    return library


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice is what plays one part: the place of the sound font in the renderer, bank and program in it, cents out of
    tune."""

    font: int
    bank: int
    program: int
    cents: float = 0.0


class Renderer:
    """A renderer has sound fonts held in memory and the way to play pieces with them; one per process, safe to share by
    threads.

    Args:
        soundfont: the first one; None for the default.
        others: further sound fonts, which only voices name.
    """

    def __init__(self, soundfont: str | Path | None = None, *others: Path) -> None:
        self.soundfont = find_soundfont(soundfont)
        self._fluid = _library()
        self._lock = threading.Lock()
        # Kept for the life of the process: it owns the sound fonts that the clips' synthesizers borrow.
        self._owner = self._new_synth()
        self._fonts = [self._load(path) for path in (self.soundfont, *map(find_soundfont, others))]

    def _load(self, path: Path) -> int:
        number = self._fluid.fluid_synth_sfload(self._owner, os.fsencode(path), 0)
        if number < 0:
            raise MissingDependency(f"FluidSynth cannot read the sound font {path}; name another one")
        font: int = self._fluid.fluid_synth_get_sfont_by_id(self._owner, number)
        return font

    def _new_synth(self) -> int:
        settings = self._fluid.new_fluid_settings()
        for name, value in _SETTINGS.items():
            if isinstance(value, int):
                self._fluid.fluid_settings_setint(settings, name.encode(), value)
            else:
                self._fluid.fluid_settings_setnum(settings, name.encode(), value)
        synth: int = self._fluid.new_fluid_synth(settings)
        return synth

    def stems(self, piece: Piece, voices: Sequence[Voice] | None = None) -> Samples:
        """Return every part alone, as FluidSynth plays it, [parts, N].

        Args:
            voices: one for each part; by default the parts' own programs in the first sound font.
        """
        num_samples = round(piece.duration * SAMPLE_RATE)
        chosen = voices or [Voice(0, 128 if part.role == DRUMS else 0, part.program) for part in piece.parts]
        with self._lock:
            synth = self._new_synth()
            try:
                numbers = [self._fluid.fluid_synth_add_sfont(synth, font) for font in self._fonts]
                channels = _channels(piece.parts)
                for voice, channel in zip(chosen, channels, strict=True):
                    number = numbers[voice.font]
                    self._fluid.fluid_synth_program_select(synth, channel, number, voice.bank, voice.program)
                    if voice.cents:
                        bend = _UNBENT + round(voice.cents * _BEND_PER_CENT)
                        self._fluid.fluid_synth_pitch_bend(synth, channel, bend)
                played = self._play(synth, _events(piece.parts, channels), num_samples)
            finally:
                for font in self._fonts:
                    self._fluid.fluid_synth_remove_sfont(synth, font)
                self._fluid.delete_fluid_synth(synth)
        return played[[channel % _MAX_PARTS for channel in channels]]

    def _play(self, synth: int, events: list[tuple[int, int, int, int, int]], num_samples: int) -> Samples:
        blocks = -(-num_samples // _BLOCK)
        left = np.zeros((_MAX_PARTS, blocks * _BLOCK), np.float32)
        right = np.zeros_like(left)
        position = 0

        def advance(block: int) -> None:
            nonlocal position
            if block > position:
                pointers = [
                    (ctypes.c_void_p * _MAX_PARTS)(*(one.ctypes.data + 4 * position * _BLOCK for one in side))
                    for side in (left, right)
                ]
                self._fluid.fluid_synth_nwrite_float(
                    synth, (block - position) * _BLOCK, *pointers, None, None
                )
                position = block

        for block, _, channel, pitch, velocity in events:
            if block >= blocks:
                break
            advance(block)
            if velocity:
                self._fluid.fluid_synth_noteon(synth, channel, pitch, velocity)
            else:
                self._fluid.fluid_synth_noteoff(synth, channel, pitch)
        advance(blocks)
        return (0.5 * (left + right))[:, :num_samples]

    def render(self, piece: Piece) -> Samples:
        """Return the mixed piece, mono, between -1 and 1, [N]."""
        mixed = np.zeros(round(piece.duration * SAMPLE_RATE), np.float64)
        for part, stem in zip(piece.parts, self.stems(piece), strict=True):
            mixed += stem * (10 ** (part.level / 20) / max(active_rms(stem), 1e-6))
        return finish(reverberate(mixed, piece.reverb), LOUDNESS + piece.loudness)


@functools.lru_cache(maxsize=2)
def _renderer(soundfont: Path) -> Renderer:
    return Renderer(soundfont)


def render(piece: Piece, soundfont: str | Path | None = None) -> Samples:
    """Return the sound of a piece at 24 kHz, mono, [N]; the sound font is read once per process."""
    return _renderer(find_soundfont(soundfont)).render(piece)


def _channels(parts: tuple[Part, ...]) -> list[int]:
    """Return a MIDI channel for each part; channels that differ modulo `_MAX_PARTS` end in separate signals."""
    melodic = iter((0, 2, 3))
    return [_DRUM_CHANNEL if part.role == DRUMS else next(melodic) for part in parts]


def _events(parts: tuple[Part, ...], channels: list[int]) -> list[tuple[int, int, int, int, int]]:
    """Return (block, order, channel, pitch, velocity or 0 for the end of a note), in playing order."""
    events: list[tuple[int, int, int, int, int]] = []
    for part, channel in zip(parts, channels, strict=True):
        ends: dict[int, int] = {}
        for note in part.notes:
            start = round(note.start * SAMPLE_RATE / _BLOCK)
            end = max(start + 1, round((note.start + note.duration) * SAMPLE_RATE / _BLOCK))
            if ends.get(note.pitch, 0) > start:
                # The same pitch again while it sounds: end it first, or the late end would cut the new note.
                events.remove((ends[note.pitch], 0, channel, note.pitch, 0))
                events.append((start, 0, channel, note.pitch, 0))
            ends[note.pitch] = end
            events += [(start, 1, channel, note.pitch, note.velocity), (end, 0, channel, note.pitch, 0)]
    return sorted(events)
