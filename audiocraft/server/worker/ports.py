"""What a server asks of the models and of whatever runs its jobs, in this process or in another one.

Nothing here imports torch: audio and codes are numpy arrays, so that the process that answers requests stays small.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from audiocraft.audio.pcm import Samples

Codes = npt.NDArray[np.int64]
"""Codes [K, T]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedModel:
    """This record describes a model in memory.

    Args:
        bytes: the memory it takes.
        in_use: the requests that run on it.
        loaded_at: seconds since 1970.
    """

    name: str
    bytes: int
    in_use: int
    loaded_at: float
    sample_rate: int
    channels: int


@dataclass(frozen=True, kw_only=True, slots=True)
class CodecFacts:
    """This record says what a codec makes of codes: audio of this sample rate and number of channels, from `frame_rate`
    frames a second."""

    sample_rate: int
    channels: int
    frame_rate: float


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedFile:
    """This record holds audio as codes [K, T].

    Args:
        scale: the volume of each chunk, with codecs that keep it apart; None with others.
        samples: the length of the audio at the codec's sample rate.
    """

    codes: Codes
    scale: Sequence[float] | None
    codec: CodecFacts
    samples: int


@dataclass(frozen=True, kw_only=True, slots=True)
class AcxOptions:
    """This record says what an .acx file may take and says: fields of `codec.rate.Rate`, at most one of them given, and
    tags."""

    codebooks: int | None = None
    bitrate: float | None = None
    size: int | None = None
    target_mel: float | None = None
    quality: float | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class AcxFacts:
    """This record describes an .acx file that was written.

    Args:
        bytes: of the whole file.
        codebooks: the mean of all blocks.
    """

    bytes: int
    seconds: float
    codebooks: float


@dataclass(frozen=True, kw_only=True, slots=True)
class AcxBounds:
    """This record says what the audio of an .acx file may be."""

    seconds: float
    bytes: int
    channels: int
    min_rate: int
    max_rate: int


@dataclass(frozen=True, kw_only=True, slots=True)
class AcxAudio:
    """This record holds the audio of an .acx file that was read; `problems` says what of it was damaged."""

    sample_rate: int
    channels: int
    samples: int
    problems: Sequence[str]


class ModelsPort(Protocol):
    """A server asks this for all that its models do."""

    def load(self, model: str) -> LoadedModel:
        """Load a model, or find it loaded."""

    def unload(self, model: str) -> bool:
        """Forget a model that nobody uses -> whether it was forgotten."""

    def loaded(self) -> Sequence[LoadedModel]:
        """Return the models in memory."""

    def codec_facts(self, codec: str) -> CodecFacts:
        """Return what `codec` makes; it is loaded for this."""

    def encode(self, codec: str, wav: Samples, sample_rate: int, codebooks: int | None) -> EncodedFile:
        """Turn audio [C, N] into codes; `codebooks` None takes all."""

    def decode(self, codec: str, codes: Codes, scale: Sequence[float] | None, samples: int | None) -> bytes:
        """Turn codes [K, T] into the bytes of a WAV file, cut to `samples` where they are given."""

    def write_acx(self, codec: str, source: Path, target: Path, options: AcxOptions) -> AcxFacts:
        """Write an audio file as an .acx file."""

    def read_acx(
        self, codec: str, source: Path, target: Path, bounds: AcxBounds, codebooks: int | None = None
    ) -> AcxAudio:
        """Write the audio of an .acx file, as WAV or, where `target` ends so, as raw samples .f32, interleaved."""

    def close(self, drain: bool = True) -> None:
        """Accept nothing more and end: after what runs, or without `drain` at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AnalysisOptions:
    """This record says what a report contains.

    Args:
        threshold: the score from which audio counts as a recording; None takes the calibrated one.
        feature_maps: describe the detector's layers as well.
        spectrogram: draw a picture as well: a PNG in base64.
        watermark_only: look for a watermark, and for nothing else.
    """

    threshold: float | None = None
    feature_maps: bool = False
    spectrogram: bool = False
    watermark_only: bool = False


class JobRunner(Protocol):
    """This protocol describes whatever runs the jobs of a server."""

    @property
    def id(self) -> str | None:
        """Return the worker's name in the store; None while there is none."""

    @property
    def alive(self) -> bool:
        """Return whether all its parts work."""

    @property
    def running(self) -> int:
        """Return the number of jobs that it holds."""

    def start(self) -> None:
        """Begin to take jobs."""

    def wake(self) -> None:
        """Look for work, and for jobs to let go of, now."""

    def stop(self, *, drain_seconds: float | None = None) -> None:
        """Take nothing more; let what runs finish for a while, then give it back to the queue."""
