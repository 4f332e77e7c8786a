"""Records that cross folders: what an audio file is, what a segment of it is, and what a model is told about it.

They hold data and convert it; reading files and computing embeddings happen elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

from audiocraft.errors import InvalidInput

if TYPE_CHECKING:  # a server plans pieces without torch
    from torch import Tensor

TextCondition = str | None
"""A text, or None for "not conditioned"."""

ConditionType = tuple["Tensor", "Tensor"]
"""An embedded condition [B, L, D] and its mask [B, L]."""


@dataclass(order=True)
class PathInZip:
    """This path names a file inside a zip archive, written `archive.zip:inner/file.wav`."""

    INFO_PATH_SEP: ClassVar[str] = ":"

    zip_path: str
    file_path: str

    def __init__(self, path: str) -> None:
        zip_path, separator, file_path = path.rpartition(self.INFO_PATH_SEP)
        if not separator or not zip_path or not file_path:
            raise InvalidInput(
                f"{path!r} is not a path in a zip: write 'archive.zip:inner/file.wav'", field="path"
            )
        self.zip_path, self.file_path = zip_path, file_path

    @classmethod
    def from_paths(cls, zip_path: str, file_path: str) -> Self:
        return cls(f"{zip_path}{cls.INFO_PATH_SEP}{file_path}")

    def __str__(self) -> str:
        return f"{self.zip_path}{self.INFO_PATH_SEP}{self.file_path}"

    def __hash__(self) -> int:
        return hash((self.zip_path, self.file_path))


@dataclass
class BaseInfo:
    """This is a record that a JSON line can hold."""

    def to_dict(self) -> dict[str, Any]:
        return {item.name: _plain(getattr(self, item.name)) for item in fields(self)}

    @classmethod
    def from_dict(cls, dictionary: Mapping[str, Any]) -> Self:
        """Make a record of the fields; keys that are none are left out, so that a manifest may carry more than we
        read."""
        known = {item.name for item in fields(cls) if item.init}
        return cls(**{name: value for name, value in dictionary.items() if name in known})


@dataclass(order=True)
class AudioMeta(BaseInfo):
    """This record describes one audio file of a manifest."""

    path: str
    duration: float
    sample_rate: int
    amplitude: float | None = None
    weight: float | None = None
    info_path: PathInZip | None = None

    @classmethod
    def from_dict(cls, dictionary: Mapping[str, Any]) -> Self:
        values = dict(dictionary)
        if isinstance(values.get("info_path"), str):
            values["info_path"] = PathInZip(values["info_path"])
        return super().from_dict(values)


@dataclass
class SegmentInfo(BaseInfo):
    """This record says which part of which file a waveform [C, N] holds; `n_frames` of its `total_frames` samples are
    real audio."""

    meta: AudioMeta
    seek_time: float
    n_frames: int
    total_frames: int
    sample_rate: int
    channels: int


@dataclass
class SegmentWithAttributes(SegmentInfo):
    """This is a segment that knows what a model can be told about it."""

    def to_condition_attributes(self) -> ConditioningAttributes:
        """Return no conditions: nothing is known about plain audio; datasets with more information override this."""
        return ConditioningAttributes()


@dataclass(frozen=True, kw_only=True, slots=True)
class StyleSettings:
    """This record says how a style is read from audio, for one request.

    Args:
        eval_q: codebooks of the style; more keep more detail, fewer leave more freedom.
        excerpt_length: seconds of the audio that are listened to.
        ds_factor: one style vector for so many feature frames; None is as the model was trained.
        encodec_n_q: codebooks of the codec that are listened to; None is as the model was trained.
    """

    eval_q: int = 3
    excerpt_length: float = 3.0
    ds_factor: int | None = None
    encodec_n_q: int | None = None

    def __post_init__(self) -> None:
        for name in ("eval_q", "ds_factor", "encodec_n_q"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidInput(f"style {name} must be at least 1, got {value}", field=f"style.{name}")
        if not (math.isfinite(self.excerpt_length) and self.excerpt_length > 0):
            raise InvalidInput(
                f"a style excerpt must last a positive number of seconds, got {self.excerpt_length}",
                field="style.excerpt_length",
            )


class WavCondition(NamedTuple):
    """This record holds waveforms [B, C, N] with their lengths [B] and, one per row, sample rate, path and start in
    seconds; and how to read a style from them (ours)."""

    wav: Tensor
    length: Tensor
    sample_rate: list[int]
    path: Sequence[str | None] = ()
    seek_time: Sequence[float | None] = ()
    style: StyleSettings | None = None


class JointEmbedCondition(NamedTuple):
    """This record holds waveforms and the texts that may stand for them, for encoders that embed both in one space."""

    wav: Tensor
    text: list[str | None]
    length: Tensor
    sample_rate: list[int]
    path: Sequence[str | None] = ()
    seek_time: Sequence[float | None] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ScorePlan:
    """This record holds the time and harmony of a piece, and the part [start, start + duration) of it that a request
    covers.

    Args:
        tempo: beats per minute.
        first_beat: seconds from the start of the piece to a bar line; may be negative.
        key: such as "A minor".
        chords: (second in the piece, symbol) in ascending order; each lasts until the next; "N" is no chord.
    """

    tempo: float
    first_beat: float = 0.0
    beats_per_bar: int = 4
    key: str | None = None
    chords: tuple[tuple[float, str], ...] = ()
    start: float = 0.0
    duration: float = 10.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.tempo) and self.tempo > 0):
            raise InvalidInput(
                f"tempo must be a positive number of beats per minute, got {self.tempo}", field="tempo"
            )
        if self.beats_per_bar < 1:
            raise InvalidInput(
                f"a bar needs at least one beat, got {self.beats_per_bar}", field="beats_per_bar"
            )
        if not (math.isfinite(self.duration) and self.duration > 0):
            raise InvalidInput(
                f"duration must be a positive number of seconds, got {self.duration}", field="duration"
            )
        if not (math.isfinite(self.first_beat) and math.isfinite(self.start)):
            raise InvalidInput("first_beat and start must be finite seconds", field="start")
        times = [time for time, _ in self.chords]
        if times != sorted(times):
            raise InvalidInput(f"chords must be in ascending order of time, got {times}", field="chords")

    def window(self, start: float, duration: float) -> ScorePlan:
        """Return this piece seen through another window; `start` is in seconds from the start of the piece."""
        return replace(self, start=start, duration=duration)


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneEvent:
    """This record says that one kind of sound is heard from `start` to `end`, in seconds from the start of the piece.

    Args:
        bursts: (start, end) of each time that it is loud within; without any, it is so throughout.
    """

    kind: str
    start: float
    end: float
    bursts: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start) and math.isfinite(self.end) and self.start < self.end):
            raise InvalidInput(
                f"{self.kind!r} must end after it starts, got {self.start} to {self.end} s", field="scene"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """This record says which sounds a piece has and when, and the part [start, start + duration) of it that a request
    covers.

    Args:
        absent: kinds of sound that are known not to be heard in it; of all others without an event nothing is known.
    """

    events: tuple[SceneEvent, ...] = ()
    start: float = 0.0
    duration: float = 10.0
    absent: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start) and math.isfinite(self.duration) and self.duration > 0):
            raise InvalidInput(
                f"a scene needs a start and a positive length in seconds, got {self.start} and {self.duration}",
                field="scene",
            )
        if isinstance(self.absent, str):
            raise InvalidInput(f"absent is a list of kinds, got {self.absent!r}", field="scene")

    def window(self, start: float, duration: float) -> Scene:
        """Return this piece seen through another window, without what is not heard in it."""
        events = tuple(one for one in self.events if one.start < start + duration and one.end > start)
        return Scene(events=events, start=start, duration=duration, absent=self.absent)


class SymbolicCondition(NamedTuple):
    """This record holds a chord index per frame [T], melody salience [pitches, T], or a plan of a piece or of a scene
    (ours)."""

    frame_chords: Tensor | None = None
    melody: Tensor | None = None
    plan: ScorePlan | None = None
    scene: Scene | None = None


_KINDS = ("text", "wav", "joint_embed", "symbolic")


@dataclass
class ConditioningAttributes:
    """This record holds all that one row of a batch is conditioned on, by kind and then by attribute name.

    Args:
        negative, negative_symbolic: what guidance leads away from, by the name of the attribute (ours).
    """

    text: dict[str, TextCondition] = field(default_factory=dict)
    wav: dict[str, WavCondition] = field(default_factory=dict)
    joint_embed: dict[str, JointEmbedCondition] = field(default_factory=dict)
    symbolic: dict[str, SymbolicCondition] = field(default_factory=dict)
    negative: dict[str, TextCondition] = field(default_factory=dict)
    negative_symbolic: dict[str, SymbolicCondition] = field(default_factory=dict)

    def __getitem__(self, item: str) -> dict[str, Any]:
        if item not in _KINDS:
            raise KeyError(f"{item!r} is no kind of condition: one of {', '.join(_KINDS)}")
        kind: dict[str, Any] = getattr(self, item)
        return kind

    @property
    def text_attributes(self) -> Iterable[str]:
        return self.text.keys()

    @property
    def wav_attributes(self) -> Iterable[str]:
        return self.wav.keys()

    @property
    def joint_embed_attributes(self) -> Iterable[str]:
        return self.joint_embed.keys()

    @property
    def symbolic_attributes(self) -> Iterable[str]:
        return self.symbolic.keys()

    @property
    def attributes(self) -> dict[str, Iterable[str]]:
        """Return the attribute names of each kind."""
        return {kind: self[kind].keys() for kind in _KINDS}

    def to_flat_dict(self) -> dict[str, Any]:
        """Return {"text.description": ..., "wav.self_wav": ...}: one level, for logs and JSON."""
        return {f"{kind}.{name}": value for kind in _KINDS for name, value in self[kind].items()}

    @classmethod
    def from_flat_dict(cls, x: Mapping[str, Any]) -> Self:
        """Read what `to_flat_dict` has written."""
        attributes = cls()
        for key, value in x.items():
            kind, _, name = key.partition(".")
            attributes[kind][name] = value
        return attributes


def _plain(value: Any) -> Any:
    """Return what JSON can hold of a field."""
    if isinstance(value, BaseInfo):
        return value.to_dict()
    if isinstance(value, PathInZip):
        return str(value)
    return value
