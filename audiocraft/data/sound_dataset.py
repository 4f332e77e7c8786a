"""Sounds with their descriptions, and mixtures of two sounds whose descriptions are joined."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from audiocraft.audio.files import PathLike
from audiocraft.data.info_audio_dataset import (
    InfoAudioDataset,
    get_captions,
    get_string,
    read_info,
    scene_of,
    segment_fields,
    self_condition,
)
from audiocraft.errors import InvalidInput
from audiocraft.types import (
    AudioMeta,
    ConditioningAttributes,
    Scene,
    SegmentInfo,
    SegmentWithAttributes,
    SymbolicCondition,
    WavCondition,
)

EPS = torch.finfo(torch.float32).eps
# Mixtures end at a random level between these, in dB of full scale.
TARGET_LEVEL_LOWER = -35
TARGET_LEVEL_UPPER = -15


@dataclass
class SoundInfo(SegmentWithAttributes):
    """This record holds a segment of a recording and what is heard in it; `scene` says when."""

    description: str | None = None
    self_wav: WavCondition | None = None
    scene: Scene | None = None

    @property
    def has_sound_meta(self) -> bool:
        return self.description is not None

    def to_condition_attributes(self) -> ConditioningAttributes:
        attributes = ConditioningAttributes(text={"description": self.description})
        if self.self_wav is not None:
            attributes.wav["self_wav"] = self.self_wav
        if self.scene is not None:
            attributes.symbolic["scene"] = SymbolicCondition(scene=self.scene)
        return attributes

    @staticmethod
    def attribute_getter(attribute: str) -> Callable[[Any], Any] | None:
        """Return how a field of the JSON file is cleaned; None for fields taken as they are."""
        return _description if attribute == "description" else None

    @classmethod
    def from_dict(cls, dictionary: Mapping[str, Any], fields_required: bool = False) -> Self:
        """Read the fields of a segment and of its JSON file.

        Args:
            fields_required: refuse a file without a description.
        """
        if fields_required and "description" not in dictionary:
            raise InvalidInput("the sound's JSON file has no field 'description'", field="description")
        known = {item.name for item in fields(cls)}
        values = {name: value for name, value in dictionary.items() if name in known}
        for name in values:
            clean = cls.attribute_getter(name)
            values[name] = clean(values[name]) if clean else values[name]
        if isinstance(values.get("meta"), Mapping):
            values["meta"] = AudioMeta.from_dict(values["meta"])
        info = cls(**values)
        return info if info.scene is not None else replace(info, scene=scene_of(info, dictionary))


class SoundDataset(InfoAudioDataset):
    """This data set has items (wav [C, N], SoundInfo) with `return_info`, else wav; batches may contain mixtures.

    Args:
        info_fields_required: refuse a JSON file without a description.
        external_metadata_source: folder with the JSON files, when they are not beside the audio.
        aug_p: how often a batch is mixed at all.
        mix_p: how much of such a batch is mixed.
        mix_snr_low, mix_snr_high: how much louder than the sound mixed in, in dB, drawn between the two.
        mix_min_overlap: least part of the sound mixed in that is heard.
        caption_p: how often one of the file's own `captions` takes the description's place.
    """

    def __init__(
        self,
        *args: Any,
        info_fields_required: bool = True,
        external_metadata_source: PathLike | None = None,
        aug_p: float = 0.0,
        mix_p: float = 0.0,
        mix_snr_low: int = -5,
        mix_snr_high: int = 5,
        mix_min_overlap: float = 0.5,
        caption_p: float = 0.0,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("return_info", True)
        super().__init__(*args, **kwargs)
        if mix_snr_low > mix_snr_high:
            raise InvalidInput(
                f"mix_snr_low {mix_snr_low} exceeds mix_snr_high {mix_snr_high}", field="mix_snr_low"
            )
        self.info_fields_required = info_fields_required
        self.external_metadata_source = (
            None if external_metadata_source is None else Path(external_metadata_source)
        )
        self.aug_p = aug_p
        self.mix_p = mix_p
        self.mix_snr_low = mix_snr_low
        self.mix_snr_high = mix_snr_high
        self.mix_min_overlap = mix_min_overlap
        self.caption_p = caption_p

    def told(self, meta: AudioMeta) -> dict[str, Any]:
        return read_info(meta, self.external_metadata_source)

    def describe(self, segment: SegmentInfo, told: Mapping[str, Any], rng: random.Random) -> SoundInfo:
        """Return the information of a segment from its own fields and its file's, with one of its captions chosen."""
        info = SoundInfo.from_dict(
            {**told, **segment_fields(segment)}, fields_required=self.info_fields_required and bool(told)
        )
        captions = get_captions(told.get("captions"))
        if captions and rng.random() < self.caption_p:
            info.description = rng.choice(captions)
        return info

    def add_audio(self, info: Any, wav: Tensor) -> None:
        info.self_wav = self_condition(wav, info)

    def collater(self, samples: Sequence[Any]) -> Any:
        """Turn items into (wav [B, C, N], infos), some of them mixed with their neighbour."""
        batch = super().collater(samples)
        if not self.return_info or self.aug_p <= 0:
            return batch
        wav, infos = batch
        return mix_samples(
            wav, infos, self.aug_p, self.mix_p, self.mix_snr_low, self.mix_snr_high, self.mix_min_overlap
        )


def rms_f(x: Tensor) -> Tensor:
    """Return the root mean square of the samples x [..., N], [...]."""
    return x.pow(2).mean(dim=-1).sqrt()


def normalize(audio: Tensor, target_level: float = -25) -> Tensor:
    """Return audio [..., N] at an RMS of `target_level` dB of full scale; silence stays silence."""
    return audio * (10 ** (target_level / 20) / (rms_f(audio)[..., None] + EPS))


def is_clipped(audio: Tensor, clipping_threshold: float = 0.99) -> bool:
    """Return whether any sample exceeds the threshold."""
    return bool((audio.abs() > clipping_threshold).any())


def mix_pair(
    src: Tensor, dst: Tensor, min_overlap: float, *, generator: torch.Generator | None = None
) -> Tensor:
    """Return dst [..., N] moved to a random later start and added to src [..., N]; at least `min_overlap` of it is
    heard."""
    length = src.shape[-1]
    if not 0 <= min_overlap <= 1:
        raise InvalidInput(f"min_overlap lies in [0, 1], got {min_overlap}", field="min_overlap")
    latest = length - int(min_overlap * min(length, dst.shape[-1]))
    start = int(torch.randint(latest + 1, (), generator=generator))
    heard = dst[..., : length - start]
    return src + F.pad(heard, (start, length - start - heard.shape[-1]))


def snr_mixer(
    clean: Tensor,
    noise: Tensor,
    snr: float | Tensor,
    min_overlap: float,
    target_level: float = -25,
    clipping_threshold: float = 0.99,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return clean [N] with noise [N] `snr` dB below it, at a random level, and without clipping.

    Args:
        target_level: RMS in dB of full scale at which the two are compared.
    """
    length = max(clean.shape[-1], noise.shape[-1])
    clean = normalize(F.pad(clean, (0, length - clean.shape[-1])), target_level)
    noise = normalize(F.pad(noise, (0, length - noise.shape[-1])), target_level)
    gain = 10 ** (-float(snr) / 20) * rms_f(clean) / (rms_f(noise) + EPS)
    mixture = mix_pair(clean, noise * gain[..., None], min_overlap, generator=generator)
    span = TARGET_LEVEL_UPPER - TARGET_LEVEL_LOWER
    level = TARGET_LEVEL_LOWER + span * float(torch.rand((), generator=generator))
    mixture = normalize(mixture, level)
    if is_clipped(mixture, clipping_threshold):
        mixture = mixture * (clipping_threshold / (mixture.abs().amax() + EPS))
    return mixture


def snr_mix(
    src: Tensor,
    dst: Tensor,
    snr_low: float,
    snr_high: float,
    min_overlap: float,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Mix as `snr_mixer` does, at a ratio drawn between the two."""
    snr = snr_low + (snr_high - snr_low) * float(torch.rand((), generator=generator))
    return snr_mixer(src, dst, snr, min_overlap, generator=generator)


def mix_text(src_text: str | None, dst_text: str | None) -> str | None:
    """Join two descriptions; what both say is said once."""
    told = list(dict.fromkeys(text for text in (src_text, dst_text) if text))
    return " ".join(told) or None


def mix_samples(
    wavs: Tensor,
    infos: list[SoundInfo],
    aug_p: float,
    mix_p: float,
    snr_low: float,
    snr_high: float,
    min_overlap: float,
    *,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, list[SoundInfo]]:
    """Mix a share `mix_p` of the rows of wavs [B, 1, N], each with the row before, with probability `aug_p`.

    Rows stay where they are, and so does the size of the batch.
    """
    if mix_p <= 0 or len(wavs) < 2 or float(torch.rand((), generator=generator)) >= aug_p:
        return wavs, infos
    if wavs.shape[1] != 1:
        raise InvalidInput(f"sounds are mixed in mono, got {wavs.shape[1]} channels", field="wavs")
    count = math.ceil(len(wavs) * mix_p)
    sources = [int(i) for i in torch.randperm(len(wavs), generator=generator)[:count]]
    mixed_wavs, mixed_infos = wavs.clone(), list(infos)
    for row in sources:
        other = row - 1
        mixture = snr_mix(wavs[row, 0], wavs[other, 0], snr_low, snr_high, min_overlap, generator=generator)
        mixed_wavs[row, 0] = mixture
        mixed_infos[row] = _mixed_info(infos[row], infos[other], mixed_wavs[row])
    return mixed_wavs, mixed_infos


def _mixed_info(first: SoundInfo, second: SoundInfo, wav: Tensor) -> SoundInfo:
    info = replace(
        first,
        description=mix_text(first.description, second.description),
        n_frames=max(first.n_frames, second.n_frames),
        scene=None,  # the sound that is mixed in starts anywhere
    )
    return replace(info, self_wav=self_condition(wav, info)) if first.self_wav is not None else info


def _description(value: Any) -> str | None:
    """Return a description, or the first of several."""
    if isinstance(value, (list, tuple)):
        value = next(iter(value), None)
    return get_string(value)
