"""Music with its metadata: a JSON file beside each recording tells key, tempo, genre, chords and a description."""

from __future__ import annotations

import gzip
import json
import logging
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from audiocraft.audio.files import PathLike
from audiocraft.data.info_audio_dataset import (
    AudioInfo,
    InfoAudioDataset,
    get_captions,
    get_keyword,
    get_keyword_list,
    get_string,
    joint_condition,
    read_info,
    scene_of,
    segment_fields,
    self_condition,
)
from audiocraft.errors import InvalidInput
from audiocraft.music.harmony import parse_key
from audiocraft.types import (
    AudioMeta,
    ConditioningAttributes,
    JointEmbedCondition,
    Scene,
    ScorePlan,
    SegmentInfo,
    SymbolicCondition,
    WavCondition,
)

logger = logging.getLogger(__name__)

_TEXT_FIELDS = (
    "title", "artist", "key", "bpm", "genre", "moods", "keywords", "description", "name", "instrument",
)  # fmt: skip
_FEW_ABSENT = 3  # kinds that are told absent, where not all are
_MERGED_FIELDS = ("key", "bpm", "genre", "moods", "instrument", "keywords")


@dataclass
class MusicInfo(AudioInfo):
    """This record holds a segment of music and what is known about it.

    `captions` are other ways to say the description; `plan` is the metre and harmony of the segment's piece, `scene`
    says which of the instruments that the description names are heard when.
    """

    title: str | None = None
    artist: str | None = None
    key: str | None = None
    bpm: float | None = None
    genre: str | None = None
    moods: list[str] | None = None
    keywords: list[str] | None = None
    description: str | None = None
    name: str | None = None
    instrument: str | None = None
    self_wav: WavCondition | None = None
    joint_embed: dict[str, JointEmbedCondition] = field(default_factory=dict)
    captions: list[str] | None = field(default=None, kw_only=True)
    plan: ScorePlan | None = field(default=None, kw_only=True)
    scene: Scene | None = field(default=None, kw_only=True)

    @property
    def has_music_meta(self) -> bool:
        return self.name is not None

    def to_condition_attributes(self) -> ConditioningAttributes:
        """Return every field by its kind; lists as words, numbers as digits."""
        attributes = ConditioningAttributes(
            text={name: _as_text(getattr(self, name)) for name in _TEXT_FIELDS},
            joint_embed=dict(self.joint_embed),
        )
        if self.self_wav is not None:
            attributes.wav["self_wav"] = self.self_wav
        if self.plan is not None:
            attributes.symbolic["plan"] = SymbolicCondition(plan=self.plan)
        if self.scene is not None:
            attributes.symbolic["scene"] = SymbolicCondition(scene=self.scene)
        return attributes

    @staticmethod
    def attribute_getter(attribute: str) -> Callable[[Any], Any] | None:
        """Return how a field of the JSON file is cleaned; None for fields taken as they are."""
        return _CLEANERS.get(attribute)

    @classmethod
    def from_dict(cls, dictionary: Mapping[str, Any], fields_required: bool = False) -> Self:
        """Read the fields of a segment and of its JSON file.

        Args:
            fields_required: refuse a file that lacks one of the text fields.
        """
        values: dict[str, Any] = {}
        for item in fields(cls):
            if item.name in dictionary:
                clean = cls.attribute_getter(item.name)
                values[item.name] = clean(dictionary[item.name]) if clean else dictionary[item.name]
            elif fields_required and item.name in _TEXT_FIELDS:
                raise InvalidInput(f"the music's JSON file has no field {item.name!r}", field=item.name)
            elif item.default is MISSING and item.default_factory is MISSING:
                raise InvalidInput(f"a segment needs the field {item.name!r}", field=item.name)
        if isinstance(values["meta"], Mapping):
            values["meta"] = AudioMeta.from_dict(values["meta"])
        info = cls(**values)
        return info if info.plan is not None else replace(info, plan=_plan(info, dictionary))


class MusicDataset(InfoAudioDataset):
    """This data set has items (wav [C, N], MusicInfo) with `return_info`, else wav.

    Args:
        info_fields_required: refuse a JSON file that lacks one of MusicInfo's text fields.
        merge_text_p: how often the other fields are appended to the description.
        drop_desc_p: how often the description itself is then left out.
        drop_other_p: how often each other field is then left out.
        joint_embed_attributes: fields that are also given as a joint embedding condition.
        paraphrase_source: JSON file with paraphrases of descriptions, used with probability `paraphrase_p`.
        caption_p: how often one of the file's own `captions` takes the description's place.
        absence_p: how often a scene also says which of `kinds` do not play: all that the file's `events` lack, or up to
            three of them.
    """

    def __init__(
        self,
        *args: Any,
        info_fields_required: bool = True,
        merge_text_p: float = 0.0,
        drop_desc_p: float = 0.0,
        drop_other_p: float = 0.0,
        joint_embed_attributes: Sequence[str] = (),
        paraphrase_source: PathLike | None = None,
        paraphrase_p: float = 0,
        caption_p: float = 0.0,
        absence_p: float = 0.0,
        kinds: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        # Information is what this data set is for, so it is returned unless refused.
        kwargs.setdefault("return_info", True)
        super().__init__(*args, **kwargs)
        self.info_fields_required = info_fields_required
        self.merge_text_p = merge_text_p
        self.drop_desc_p = drop_desc_p
        self.drop_other_p = drop_other_p
        self.joint_embed_attributes = tuple(joint_embed_attributes)
        self.paraphraser = None if paraphrase_source is None else Paraphraser(paraphrase_source, paraphrase_p)
        self.caption_p = caption_p
        self.absence_p = absence_p
        self.kinds = tuple(kinds)

    def told(self, meta: AudioMeta) -> dict[str, Any]:
        return read_info(meta)

    def describe(self, segment: SegmentInfo, told: Mapping[str, Any], rng: random.Random) -> MusicInfo:
        """Return the information of a segment from its own fields and its file's, with the text choices made."""
        found = any(name in told for name in _TEXT_FIELDS)
        info = MusicInfo.from_dict(
            {**told, **segment_fields(segment)}, fields_required=self.info_fields_required and found
        )
        if info.captions and rng.random() < self.caption_p:
            info.description = rng.choice(info.captions)
        info.scene = scene_of(info, told, info.description)
        if self.absence_p > 0 and rng.random() < self.absence_p:
            info.scene = scene_with_absent(info, told, info.scene, self.kinds, rng)
        if self.paraphraser is not None:
            info.description = self.paraphraser.sample_paraphrase(info.meta.path, info.description, rng=rng)
        if self.merge_text_p > 0:
            info = augment_music_info_description(
                info, self.merge_text_p, self.drop_desc_p, self.drop_other_p, rng=rng
            )
        return info

    def add_audio(self, info: Any, wav: Tensor) -> None:
        info.self_wav = self_condition(wav, info)
        for name in self.joint_embed_attributes:
            info.joint_embed[name] = joint_condition(wav, _as_text(getattr(info, name)), info)


def scene_with_absent(
    info: SegmentInfo, told: Mapping[str, Any], scene: Scene | None, kinds: Sequence[str], rng: random.Random
) -> Scene | None:
    """Return a scene that also says which kinds do not play: every one that no event of the file has, or, as often, up
    to three of them. Where the file tells of no events, nobody knows, and the scene is returned as it is."""
    events = told.get("events")
    if not events:
        return scene
    playing = {str(event["kind"]) for event in events}
    absent = [kind for kind in kinds if kind not in playing]
    if absent and rng.random() < 0.5:
        absent = rng.sample(absent, min(len(absent), rng.randint(1, _FEW_ABSENT)))
    scene = scene or Scene().window(info.seek_time, info.total_frames / info.sample_rate)
    return replace(scene, absent=tuple(absent))


class Paraphraser:
    """This object gives other wordings of descriptions, read from a JSON file {audio file name without suffix:
    [wording, ...]}."""

    def __init__(self, paraphrase_source: PathLike, paraphrase_p: float = 0.0) -> None:
        if not 0 <= paraphrase_p <= 1:
            raise InvalidInput(f"paraphrase_p is a probability, got {paraphrase_p}", field="paraphrase_p")
        path = Path(paraphrase_source)
        opener = gzip.open if path.suffix == ".gz" else open
        try:
            with opener(path, "rt", encoding="utf-8") as file:
                self._wordings: dict[str, list[str]] = json.load(file)
        except (OSError, ValueError) as error:
            raise InvalidInput(
                f"cannot read paraphrases from {path}: {error}", field="paraphrase_source"
            ) from error
        self.paraphrase_p = paraphrase_p

    def sample_paraphrase(
        self, audio_path: str, description: str | None, *, rng: random.Random | None = None
    ) -> str | None:
        """Return another wording with probability `paraphrase_p`, where the file has one."""
        rng = rng or random.Random()
        wordings = self._wordings.get(Path(audio_path).stem)
        if not wordings or rng.random() >= self.paraphrase_p:
            return description
        return rng.choice(wordings)


def augment_music_info_description(
    music_info: MusicInfo,
    merge_text_p: float = 0.0,
    drop_desc_p: float = 0.0,
    drop_other_p: float = 0.0,
    *,
    rng: random.Random | None = None,
) -> MusicInfo:
    """With probability `merge_text_p`, return a copy whose description also tells the other fields, in random order."""
    rng = rng or random.Random()
    if rng.random() >= merge_text_p:
        return music_info
    known = [(name, _as_text(getattr(music_info, name))) for name in _MERGED_FIELDS]
    parts = [f"{name}: {text}" for name, text in known if text and rng.random() >= drop_other_p]
    rng.shuffle(parts)
    if music_info.description and (not parts or rng.random() >= drop_desc_p):
        parts.insert(0, music_info.description.rstrip(" ."))
    return replace(music_info, description=". ".join(parts) or None)


def get_bpm(value: str | float | None) -> float | None:
    """Return a tempo from a number or its digits, with or without "BPM" behind them."""
    if isinstance(value, str):
        value = re.sub(r"\s*bpm\s*$", "", value, flags=re.IGNORECASE)
    try:
        tempo = float(value) if value is not None else 0.0
    except (TypeError, ValueError):
        return None
    return tempo if 0 < tempo < float("inf") else None


def get_musical_key(value: str | None) -> str | None:
    """Return a key label in lower case; of several candidates, none is trusted."""
    text = get_keyword(value)
    return None if text is None or "," in text else text


_CLEANERS: dict[str, Callable[[Any], Any]] = {
    "title": get_string,
    "artist": get_string,
    "key": get_musical_key,
    "bpm": get_bpm,
    "genre": get_keyword,
    "moods": get_keyword_list,
    "keywords": get_keyword_list,
    "description": get_string,
    "name": get_keyword,
    "instrument": get_keyword,
    "captions": get_captions,
}


def _as_text(value: str | float | Sequence[str] | None) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return f"{value:g}" if isinstance(value, (int, float)) else " ".join(value)


def _plan(info: MusicInfo, dictionary: Mapping[str, Any]) -> ScorePlan | None:
    """Return the plan of the piece as this segment sees it; None where the tempo is unknown."""
    if info.bpm is None:
        return None
    try:
        key = parse_key(info.key).name if info.key else None
    except InvalidInput:
        key = None
    try:
        return ScorePlan(
            tempo=info.bpm,
            first_beat=float(dictionary.get("first_beat") or 0.0),
            beats_per_bar=int(dictionary.get("beats_per_bar") or 4),
            key=key,
            chords=tuple((float(time), str(symbol)) for time, symbol in dictionary.get("chords") or ()),
            start=info.seek_time,
            duration=info.total_frames / info.sample_rate,
        )
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"the JSON file of {info.meta.path} describes no usable plan: {error}", field="chords"
        ) from error
