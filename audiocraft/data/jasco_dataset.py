"""Music with its chords and melody, frame by frame: what a flow is trained on."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from audiocraft.data.music_dataset import MusicDataset, MusicInfo
from audiocraft.errors import InvalidInput
from audiocraft.music.chord_map import NO_CHORD, NOBODY_SAYS, ChordMap, released_map
from audiocraft.types import ConditioningAttributes, SegmentInfo, SymbolicCondition


@dataclass
class JascoInfo(MusicInfo):
    """This record holds a segment of music, its chords [T] by number, and its melody [pitches, T]."""

    chords: SymbolicCondition | None = None
    melody: SymbolicCondition | None = None

    def to_condition_attributes(self) -> ConditioningAttributes:
        """Return the conditions of music, with chords and melody."""
        attributes = super().to_condition_attributes()
        for name in ("chords", "melody"):
            condition = getattr(self, name)
            if condition is not None:
                attributes.symbolic[name] = condition
        return attributes


class MelodyData:
    """This object reads the melody of a segment out of a file with that of its whole recording.

    Args:
        latent_fr: frames per second of the model.
        segment_duration: seconds of a segment.
        melody_fr: frames per second of the files.
        melody_salience_dim: pitches.
        chroma_root: folder of the files: NAME.safetensors of NAME.wav, with a tensor `salience` [pitches, frames].
        override_cache: read files again that were read before.
        do_argmax: keep the most salient pitch of a frame, as 1.
    """

    SALIENCE_MODEL_EXPECTED_SAMPLE_RATE = 22050
    SALIENCE_MODEL_EXPECTED_HOP_SIZE = 256

    def __init__(
        self,
        latent_fr: int,
        segment_duration: float,
        melody_fr: int = 86,
        melody_salience_dim: int = 53,
        chroma_root: str | None = None,
        override_cache: bool = False,
        do_argmax: bool = True,
    ) -> None:
        self.latent_fr, self.melody_fr = latent_fr, melody_fr
        self.segment_duration = segment_duration
        self.melody_salience_dim = melody_salience_dim
        self.folder = None if chroma_root is None else Path(chroma_root)
        self.override_cache, self.do_argmax = override_cache, do_argmax
        self._read: dict[Path, Mapping[str, Tensor]] = {}

    @property
    def frames(self) -> int:
        """Return the number of frames of a segment."""
        return int(self.segment_duration * self.latent_fr)

    def __call__(self, x: SegmentInfo) -> Tensor:
        """Return the melody [pitches, T] of a segment; no pitch where there is no file."""
        if self.folder is None:
            return self.get_null_salience()
        path = self.folder / f"{Path(x.meta.path).stem}.safetensors"
        if path not in self._read or self.override_cache:
            if not path.is_file():
                return self.get_null_salience()
            self._read[path] = load_file(path)
        return self.load_saliency_from_saliency_dict(self._read[path], x.seek_time)

    def get_null_salience(self) -> Tensor:
        """Return a melody that has no pitch in any frame."""
        return torch.zeros(self.melody_salience_dim, self.frames, device="cpu")

    def load_saliency_from_saliency_dict(self, saliency_dict: Mapping[str, Tensor], offset: float) -> Tensor:
        """Return the melody [pitches, T] from second `offset` on; no pitch past the end."""
        whole = saliency_dict.get("salience")
        if whole is None or whole.dim() != 2 or whole.shape[0] != self.melody_salience_dim:
            shape = None if whole is None else list(whole.shape)
            raise InvalidInput(
                f"a melody file has a tensor 'salience' [{self.melody_salience_dim}, frames], got {shape}",
                field="melody",
            )
        seconds = offset + (torch.arange(self.frames, device="cpu") + 0.5) / self.latent_fr
        places = (seconds * self.melody_fr).long()
        found = whole.float()[:, places.clamp(max=whole.shape[1] - 1)] * (places < whole.shape[1])
        if not self.do_argmax:
            return found
        best = torch.nn.functional.one_hot(found.argmax(0), self.melody_salience_dim).T.float()
        return best * (found.amax(0) > 0)


class JascoDataset(MusicDataset):
    """This data set has items (wav [C, N], JascoInfo) with `return_info`, else wav. Chords stand in the JSON beside a
    recording, as [[second, symbol], ...]; those that the vocabulary lacks are its unknown chord.

    Args:
        chords_card: chords of the vocabulary; the index `chords_card` is that nobody says which.
        compression_model_framerate: frames per second of the conditions.
        melody_kwargs: arguments of `MelodyData`, beside those that are known here; nothing gives no melody.
    """

    def __init__(
        self,
        *args: Any,
        chords_card: int = 194,
        compression_model_framerate: float = 50.0,
        melody_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.null_chord_idx = chords_card
        self.frame_rate = compression_model_framerate
        self.chord_map: ChordMap = released_map()
        self.melody = None
        if melody_kwargs:
            known = {
                "latent_fr": compression_model_framerate,
                "segment_duration": self.segment_duration or 0.0,
            }
            self.melody = MelodyData(**{**known, **melody_kwargs})

    def describe(self, segment: SegmentInfo, told: Mapping[str, Any], rng: random.Random) -> JascoInfo:
        info = super().describe(segment, told, rng)
        values = {item.name: getattr(info, item.name) for item in fields(MusicInfo)}
        melody = None if self.melody is None else SymbolicCondition(melody=self.melody(segment))
        return JascoInfo(**values, chords=self._chords(segment, told.get("chords")), melody=melody)

    def _chords(self, segment: SegmentInfo, chords: Any) -> SymbolicCondition:
        """Return the chord of each frame of a segment."""
        frames = max(1, round(segment.total_frames / segment.sample_rate * self.frame_rate))
        if not isinstance(chords, Sequence) or not chords:
            nothing = torch.full((frames,), self.null_chord_idx, dtype=torch.long, device="cpu")
            return SymbolicCondition(frame_chords=nothing)
        try:
            changes = sorted((float(second), self._number(str(symbol))) for second, symbol in chords)
        except (TypeError, ValueError) as error:
            raise InvalidInput(
                f"the chords of {segment.meta.path} are no list of [second, symbol]: {error}", field="chords"
            ) from error
        current, place, made = self.chord_map.index_of[NO_CHORD], 0, []
        for frame in range(frames):
            while place < len(changes) and changes[place][0] <= segment.seek_time + frame / self.frame_rate:
                current, place = changes[place][1], place + 1
            made.append(current)
        return SymbolicCondition(frame_chords=torch.tensor(made, dtype=torch.long, device="cpu"))

    def _number(self, symbol: str) -> int:
        try:
            return self.chord_map.number(symbol)
        except InvalidInput:
            return self.chord_map.index_of[NOBODY_SAYS]
