"""Audio with information: the base of music and sound data sets, and the cleaning of the fields they read from JSON."""

from __future__ import annotations

import json
import logging
import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiocraft.data.audio_dataset import AudioDataset
from audiocraft.data.zip import open_file_in_zip
from audiocraft.environment import AudioCraftEnvironment
from audiocraft.errors import InvalidInput
from audiocraft.types import (
    AudioMeta,
    ConditioningAttributes,
    JointEmbedCondition,
    PathInZip,
    Scene,
    SceneEvent,
    SegmentInfo,
    SegmentWithAttributes,
    WavCondition,
)

logger = logging.getLogger(__name__)

_EMPTY = frozenset({"", "none", "null", "nan"})
# What others call the description in their files.
_DESCRIPTIONS = ("caption", "text", "prompt")


@dataclass
class AudioInfo(SegmentWithAttributes):
    """This record holds a segment and, where a cache holds them, its codec tokens [K, T]."""

    audio_tokens: Tensor | None = None

    def to_condition_attributes(self) -> ConditioningAttributes:
        return ConditioningAttributes()


class InfoAudioDataset(AudioDataset):
    """This data set has items (wav [C, N], AudioInfo) with `return_info`, else wav. Training reads the same information
    without the audio, by `told` and `describe`."""

    def __init__(self, meta: Sequence[AudioMeta], **kwargs: Any) -> None:
        super().__init__(clusterify_all_meta(list(meta)), **kwargs)

    def __getitem__(self, index: int) -> Any:
        wav, segment = self.item(index)
        if not self.return_info:
            return wav
        info = self.describe(segment, self.told(segment.meta), self.text_rng(index))
        self.add_audio(info, wav)
        return wav, info

    def told(self, meta: AudioMeta) -> dict[str, Any]:
        """Return what is known about a file; plain audio comes without information."""
        return {}

    def describe(
        self, segment: SegmentInfo, told: Mapping[str, Any], rng: random.Random
    ) -> SegmentWithAttributes:
        """Return a segment with what `told` says of its file; `rng` makes the choices of its text."""
        return AudioInfo(**segment_fields(segment))

    def add_audio(self, info: Any, wav: Tensor) -> None:
        """Give `info` the conditions that are made of its own wav [C, N]."""

    def text_rng(self, index: int, epoch: int | None = None) -> random.Random:
        """Return the source of the text choices of an item, apart from that of its audio."""
        number = self.current_epoch if epoch is None else epoch
        return random.Random(f"{self.shuffle_seed}/{number if self.shuffle else 0}/{index}")


def segment_fields(info: SegmentInfo) -> dict[str, Any]:
    """Return the fields of a plain segment, to make a richer one of it."""
    return {item.name: getattr(info, item.name) for item in fields(SegmentInfo)}


def self_condition(wav: Tensor, info: SegmentInfo) -> WavCondition:
    """Return wav [C, N] as the condition of its own row: what a melody or style model hears in training."""
    length = wav.new_tensor([info.n_frames], dtype=torch.int64)
    return WavCondition(wav[None], length, [info.sample_rate], [info.meta.path], [info.seek_time])


def joint_condition(wav: Tensor, text: str | None, info: SegmentInfo) -> JointEmbedCondition:
    """Return wav [C, N] and a text that may stand for it."""
    length = wav.new_tensor([info.n_frames], dtype=torch.int64)
    return JointEmbedCondition(
        wav[None], [text], length, [info.sample_rate], [info.meta.path], [info.seek_time]
    )


def read_info(meta: AudioMeta, folder: Path | None = None) -> dict[str, Any]:
    """Return what is told about an audio file: the fields of its JSON, which the manifest names or which lies in
    `folder` or beside the audio; a text file of the same name gives the description where the JSON has none."""
    if isinstance(meta.info_path, PathInZip):
        with open_file_in_zip(meta.info_path) as file:
            return _parsed(file.read(), str(meta.info_path))
    beside = Path(meta.path).with_suffix(".json")
    path = beside if folder is None else folder / beside.name
    content = _content(path)
    told = {} if content is None else _parsed(content, str(path))
    if get_string(told.get("description")) is None and not told.get("captions"):
        text = _content(path.with_suffix(".txt"))
        if text is not None:
            told["description"] = text.decode("utf-8", errors="replace").strip()
    return told


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}", field="meta") from error


def _parsed(content: bytes, name: str) -> dict[str, Any]:
    try:
        values = json.loads(content)
    except ValueError as error:
        raise InvalidInput(f"{name} is not JSON: {error}", field="meta") from error
    if not isinstance(values, Mapping):
        raise InvalidInput(f"{name} holds no table of fields", field="meta")
    told = dict(values)
    if told.get("description") is None:
        other = next((told[key] for key in _DESCRIPTIONS if told.get(key) is not None), None)
        if other is not None:
            told["description"] = other
    return told


def get_keyword(value: str | None) -> str | None:
    """Return a single word or name in lower case."""
    text = get_string(value)
    return None if text is None else text.lower()


def get_string(value: str | None) -> str | None:
    """Return text without space around it; None for what means "nothing"."""
    if not isinstance(value, str):
        return None
    text = value.strip()
    return None if text.lower() in _EMPTY else text


def get_keyword_list(values: str | Sequence[str] | None) -> list[str] | None:
    """Read keywords from a list, or from a text with commas or spaces between them."""
    if isinstance(values, str):
        values = [value for value in re.split(r"[,\s]+", values) if value]
    elif values is None or (isinstance(values, float) and math.isnan(values)):
        return None
    if not isinstance(values, (list, tuple)):
        logger.warning("keywords are a list or a text, got %r", values)
        return None
    words = [word for word in (get_keyword(value) for value in values) if word is not None]
    return words or None


def get_keyword_or_keyword_list(value: str | Sequence[str] | None) -> str | list[str] | None:
    """Leave a list a list of keywords; take a text for one keyword."""
    if isinstance(value, (list, tuple)):
        return get_keyword_list(value)
    return get_keyword(value) if isinstance(value, str) else None


def get_captions(value: Any) -> list[str] | None:
    """Return texts without empty ones, from a list or from one text."""
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, (list, tuple)):
        return None
    return [text for text in map(get_string, values) if text] or None


def scene_of(info: SegmentInfo, told: Mapping[str, Any], text: str | None = None) -> Scene | None:
    """Return the `events` of a file as its segment hears them; None where the file tells of none.

    Args:
        text: what the segment is described by; of events that say by which `words` they are called, those are told
            that it names.
    """
    events = told.get("events")
    if not isinstance(events, (list, tuple)) or not events:
        return None
    try:
        named = [one for one in events if "words" not in one or _names(text or "", one["words"])]
        scene = Scene(
            events=tuple(
                SceneEvent(
                    kind=str(one["kind"]),
                    start=float(one["start"]),
                    end=float(one["end"]),
                    bursts=tuple((float(start), float(end)) for start, end in one.get("bursts", ())),
                )
                for one in named
            )
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InvalidInput(
            f"the JSON file of {info.meta.path} has no usable events, {{kind, start, end}} each: {error}",
            field="events",
        ) from error
    return scene.window(info.seek_time, info.total_frames / info.sample_rate) if named else None


def _names(text: str, words: Sequence[str]) -> bool:
    """Return whether a text has one of some words, in whatever letters."""
    lowered = text.lower()
    return any(re.search(rf"\b{re.escape(str(word).lower())}\b", lowered) for word in words)


def clusterify_all_meta(meta: list[AudioMeta]) -> list[AudioMeta]:
    """Return these files under the paths they have on this cluster."""
    return [_clusterified(item) for item in meta]


def _clusterified(meta: AudioMeta) -> AudioMeta:
    path = AudioCraftEnvironment.apply_dataset_mappers(meta.path)
    info = meta.info_path
    if info is not None:
        zipped = AudioCraftEnvironment.apply_dataset_mappers(info.zip_path)
        info = PathInZip.from_paths(zipped, info.file_path)
    return replace(meta, path=path, info_path=info)
