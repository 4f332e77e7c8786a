"""Crops of encoded clips: which clip, which part of it, and what its row is told."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from audiocraft.config.conditioning import ChordsConfig, SceneConfig
from audiocraft.config.data import Split
from audiocraft.config.flow_training import JascoSolverConfig
from audiocraft.config.training import MusicGenSolverConfig
from audiocraft.data.info_audio_dataset import InfoAudioDataset, get_captions, get_string
from audiocraft.data.jasco_dataset import JascoDataset
from audiocraft.data.music_dataset import MusicDataset
from audiocraft.errors import ConfigError, InvalidInput
from audiocraft.solvers.crops import Draw, StepSampler
from audiocraft.solvers.lm_steps import TokenBatch
from audiocraft.solvers.token_cache import TokenCache, Tokens
from audiocraft.types import AudioMeta, ConditioningAttributes, SegmentInfo

logger = logging.getLogger(__name__)

LatentOrToken = MusicGenSolverConfig | JascoSolverConfig
"""Runs on clips that were encoded once."""


class _Clips:
    """This record holds the usable clips of one source: the data set, their codes, and what their files tell.

    Args:
        heard: the null forms of the conditions that need the sound itself; without any, only codes are read.
    """

    def __init__(
        self, dataset: InfoAudioDataset, tokens: Tokens, frame_rate: float, heard: ConditioningAttributes
    ) -> None:
        told: list[Mapping[str, Any]] = []
        kept: list[int] = []
        for number, meta in enumerate(dataset.meta):
            known = _readable(dataset, meta) if tokens.lengths[number] > 0 else None
            if known is not None:
                kept.append(number)
                told.append(known)
        self.listed = len(dataset.meta)
        self.dataset = dataset if len(kept) == len(dataset.meta) else dataset.select(kept)
        self.codes, self.lengths = [tokens.codes[number] for number in kept], tokens.lengths[kept]
        self.told, self.frame_rate, self.heard = told, frame_rate, heard

    def cut(self, draw: Draw, frames: int) -> tuple[Tensor, int, ConditioningAttributes]:
        """Return codes [K, frames] of an item, how many of the frames are real, and what the row is told."""
        number, start = draw.place(self.dataset)
        length = int(self.lengths[number])
        first = min(round(start * self.frame_rate), max(0, length - 1))
        codes = _computable(self.codes[number][:, first : first + frames])
        silence = _computable(self.codes[number][:, -1:])  # a clip ends in it; it goes on
        codes = torch.cat([codes, silence.expand(-1, frames - codes.shape[-1])], dim=-1)
        real = min(frames, length - first)
        return codes, real, self._told(draw, number, first / self.frame_rate, frames)

    def _told(self, draw: Draw, number: int, start: float, frames: int) -> ConditioningAttributes:
        dataset = self.dataset
        total = round(frames / self.frame_rate * dataset.sample_rate)
        segment = SegmentInfo(
            dataset.meta[number], start, total, total, dataset.sample_rate, dataset.channels
        )
        wav = None
        if self.heard.wav or self.heard.joint_embed:
            try:
                wav, segment = dataset.segment(number, start, frames / self.frame_rate)
            except InvalidInput as error:  # of a file that was good when its codes were made
                logger.warning("told nothing by its sound: %s", error)
        info = dataset.describe(segment, self.told[number], dataset.text_rng(draw.index, draw.epoch))
        if wav is not None:
            dataset.add_audio(info, wav)
        attributes = info.to_condition_attributes()
        return replace(
            attributes,
            wav={**self.heard.wav, **attributes.wav},
            joint_embed={**self.heard.joint_embed, **attributes.joint_embed},
        )


def _computable(kept: Tensor) -> Tensor:
    """Return codes or latents as they are computed with; they are kept in half of the memory."""
    return kept.float() if kept.is_floating_point() else kept.long()


class TokenCrops:
    """This object makes batches of codes [B, K, T] with what their rows are told, of one split.

    Args:
        longest: seconds at most of an item.
        heard: the null forms of the conditions that need the sound itself.
    """

    def __init__(
        self,
        config: LatentOrToken,
        split: Split,
        kind: type[InfoAudioDataset],
        cache: TokenCache,
        *,
        rank: int = 0,
        world_size: int = 1,
        longest: float | None = None,
        heard: ConditioningAttributes | None = None,
    ) -> None:
        _check_information(config, split)
        heard = heard or ConditioningAttributes()
        duration = config.dataset.split(split).segment_duration
        if longest is not None and duration is not None:
            duration = min(duration, longest)
        self.sampler = StepSampler(config, split, rank=rank, world_size=world_size, duration=duration)
        self.clips: list[_Clips] = []
        codec = cache.codec
        if self.sampler.duration * codec.frame_rate < 1:
            raise ConfigError(
                f"dataset.segment_duration: {self.sampler.duration:g} s is less than a frame of the codec, which is "
                f"{1 / codec.frame_rate:.3g} s long"
            )
        datasets = _datasets(self.sampler, kind, config, codec.frame_rate, heard)
        for folder, dataset in zip(self.sampler.folders, datasets, strict=True):
            # Items that come in order need no more clips than there are items.
            needed = dataset.select(range(min(self._most(dataset), len(dataset.meta))))
            try:
                self.clips.append(_Clips(needed, cache.load(folder, needed.meta), codec.frame_rate, heard))
            except InvalidInput as error:
                raise ConfigError(f"{folder}: {error}") from error
        available = max(int(clips.lengths.max()) for clips in self.clips)
        self.frames = min(round(self.sampler.duration * codec.frame_rate), available)
        _report(split, self.clips, config)

    @staticmethod
    def encode(config: LatentOrToken, kind: type[InfoAudioDataset], cache: TokenCache) -> None:
        """Write the codes of the training clips into the cache, or the part of them that is this machine's."""
        sampler = StepSampler(config, "train")
        for folder, dataset in zip(
            sampler.folders, _datasets(sampler, kind, config, cache.codec.frame_rate), strict=True
        ):
            cache.write(folder, dataset.meta, config.cache)

    def _most(self, dataset: InfoAudioDataset) -> int:
        settings = self.sampler.settings
        if dataset.in_order and not self.sampler.training and settings.num_samples is not None:
            return settings.num_samples
        return len(dataset.meta)

    @property
    def count(self) -> int:
        """Return the number of items of a pass over a split that is not trained on."""
        files = sum(len(clips.dataset.meta) for clips in self.clips)
        wanted = self.sampler.settings.num_samples
        if wanted is None:
            return files
        return min(wanted, files) if self.clips[0].dataset.in_order else wanted

    def batch(self, draws: Sequence[Draw]) -> TokenBatch:
        """Return the rows of these draws."""
        rows = [self.clips[draw.source].cut(draw, self.frames) for draw in draws]
        codes, lengths, attributes = zip(*rows, strict=True)
        return TokenBatch(torch.stack(codes), tuple(attributes), torch.tensor(lengths, device="cpu"))

    def audio(self, draws: Sequence[Draw]) -> tuple[Tensor, Tensor]:
        """Return the recordings [B, C, N] of these draws, which must be fresh, and the samples [B] that each has."""
        items = [draw.item(self.clips[draw.source].dataset) for draw in draws]
        sizes = torch.tensor([info.n_frames for _, info in items], device="cpu")
        return torch.stack([wav for wav, _ in items]), sizes


def chords_card(config: LatentOrToken) -> int:
    """Return chords that the model of a configuration knows."""
    cards = [entry.card for entry in config.conditioners.values() if isinstance(entry, ChordsConfig)]
    return cards[0] if cards else ChordsConfig().card


def _kinds_told_absent(config: LatentOrToken, split: Split) -> tuple[str, ...]:
    """Return the kinds of which the model of a configuration is told that they are not heard."""
    for entry in config.conditioners.values():
        if isinstance(entry, SceneConfig) and entry.absences:
            return entry.kinds
    raise ConfigError(
        f"dataset.{split}.absence_p tells a scene who does not play, and no conditioner of this model takes that; "
        "set absence_p=0, or `absences: true` in a conditioner of kind scene"
    )


def _datasets(
    sampler: StepSampler,
    kind: type[InfoAudioDataset],
    config: LatentOrToken,
    frame_rate: float,
    heard: ConditioningAttributes | None = None,
) -> list[InfoAudioDataset]:
    settings, joint = sampler.settings, tuple(heard.joint_embed) if heard is not None else ()
    options: dict[str, Any] = {"info_fields_required": False, "caption_p": settings.caption_p}
    if issubclass(kind, JascoDataset):
        options |= {"chords_card": chords_card(config), "compression_model_framerate": frame_rate}
    if issubclass(kind, MusicDataset):
        options |= {
            "joint_embed_attributes": joint,
            "merge_text_p": settings.merge_text_p,
            "drop_desc_p": settings.drop_desc_p,
            "drop_other_p": settings.drop_other_p,
            "paraphrase_source": settings.paraphrase_source,
            "paraphrase_p": settings.paraphrase_p,
            "absence_p": settings.absence_p,
            "kinds": _kinds_told_absent(config, sampler.split) if settings.absence_p else (),
        }
    elif settings.merge_text_p or settings.paraphrase_source or settings.absence_p:
        raise ConfigError(
            f"dataset.{sampler.split}: sounds have nothing but a description; "
            "set merge_text_p=0, absence_p=0 and paraphrase_source=null"
        )
    return sampler.datasets(kind, **options)


def _readable(dataset: InfoAudioDataset, meta: AudioMeta) -> Mapping[str, Any] | None:
    """Return what the file of a clip tells; None, and a line in the log, where that cannot be used."""
    try:
        told = dataset.told(meta)
        segment = SegmentInfo(meta, 0.0, 1, 1, dataset.sample_rate, dataset.channels)
        dataset.describe(segment, told, dataset.text_rng(0, 0))
    except InvalidInput as error:
        logger.warning("left out: %s", error)
        return None
    return told


def _check_information(config: LatentOrToken, split: Split) -> None:
    """Check that a model with conditions is told something."""
    if config.conditioners and not config.dataset.split(split).return_info:
        names = ", ".join(config.conditioners)
        raise ConfigError(
            f"dataset.{split}.return_info is false, but the model is conditioned on {names}; "
            "set dataset.return_info=true, or conditioner=none"
        )


def _report(split: Split, clips: Sequence[_Clips], config: LatentOrToken) -> None:
    """Say how many clips are used, and have a description, before a model is trained on none."""
    everything = [told for part in clips for told in part.told]
    listed = sum(part.listed for part in clips)
    if len(everything) < listed:
        logger.warning(
            "%s: %d of %d clips are used, the others cannot be read", split, len(everything), listed
        )
    if "description" not in config.conditioners:
        return
    described = sum(
        bool(get_string(told.get("description")) or get_captions(told.get("captions"))) for told in everything
    )
    level = logging.INFO if described else logging.WARNING
    logger.log(level, "%s: %d of %d clips have a description", split, described, len(everything))
