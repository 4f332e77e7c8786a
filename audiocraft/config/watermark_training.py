"""How the training of a watermark goes: the effects between its two networks, and its losses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from audiocraft.config.decode import Count, Share, encode
from audiocraft.config.networks import SEANetConfig
from audiocraft.config.training import AdversarialConfig, BalancerConfig, SolverConfig
from audiocraft.config.watermark import (
    AudioSealConfig,
    ModulationConfig,
    SEANetDetectorConfig,
    WatermarkConfig,
)
from audiocraft.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class CropConfig:
    """This record describes the parts of marked audio that lose their mark, so that the detector learns where it is.

    Args:
        prob: how often a batch is treated so.
        pad_prob: how often the ends, or the middle, are silenced then; otherwise windows of it are put back as they
            were.
        shuffle_prob: how often such windows come from other rows.
        size: share of the samples in such windows; `max_n_windows`: how many there are.
    """

    prob: Share = 0.0
    shuffle_prob: Share = 0.0
    pad_prob: Share = 0.0
    size: Share = 0.5
    max_n_windows: Count = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class NeuralCodecEffectConfig:
    """This record describes a codec that audio goes through in training: its name, and how many codebooks, one count
    drawn each time."""

    checkpoint: str
    n_q: tuple[Count, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class WatermarkSolverConfig(SolverConfig):
    """This record says how generator and detector of a watermark are trained. Sections named like a loss or a
    discriminator are the arguments of its class.

    Args:
        audio_effects: what marked and clean audio go through, {name of `audio.effects.AudioEffects`: arguments}.
        encodec: codecs that are effects too, by names of their own.
        decide_every: samples from one decision that is trained on to the next.
        select_aug_mode, aug_weights, n_max_aug: how the effects of a step are chosen; see `select_audio_effects`.
    """

    audioseal: AudioSealConfig
    seanet: SEANetConfig
    detector: SEANetDetectorConfig = SEANetDetectorConfig()
    modulation: ModulationConfig = ModulationConfig()
    crop: CropConfig = CropConfig()
    audio_effects: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    encodec: Mapping[str, NeuralCodecEffectConfig] = field(default_factory=dict)
    decide_every: Count = 1
    select_aug_mode: Literal["all", "weighted"] = "all"
    aug_weights: Mapping[str, float] = field(default_factory=dict)
    n_max_aug: Count | None = None
    losses: Mapping[str, float] = field(default_factory=dict)
    balancer: BalancerConfig = BalancerConfig()
    adversarial: AdversarialConfig = AdversarialConfig()
    wm_detection: Mapping[str, Any] = field(default_factory=dict)
    wm_mb: Mapping[str, Any] = field(default_factory=lambda: {"temperature": 0.1, "loss_type": "bce"})
    quiet: Mapping[str, Any] = field(default_factory=dict)
    tf_loudnessratio: Mapping[str, Any] = field(default_factory=dict)
    l1: Mapping[str, Any] = field(default_factory=dict)
    l2: Mapping[str, Any] = field(default_factory=dict)
    mrstft: Mapping[str, Any] = field(default_factory=dict)
    mel: Mapping[str, Any] = field(default_factory=dict)
    sisnr: Mapping[str, Any] = field(default_factory=dict)
    msspec: Mapping[str, Any] = field(default_factory=dict)
    msstftd: Mapping[str, Any] = field(default_factory=dict)
    msd: Mapping[str, Any] = field(default_factory=dict)
    mpd: Mapping[str, Any] = field(default_factory=dict)

    @property
    def network(self) -> WatermarkConfig:
        return WatermarkConfig.select(encode(self))

    def loss_arguments(self, name: str) -> Mapping[str, Any]:
        sections = {
            "wm_detection": self.wm_detection,
            "wm_mb": self.wm_mb,
            "quiet": self.quiet,
            "tf_loudnessratio": self.tf_loudnessratio,
            "l1": self.l1,
            "l2": self.l2,
            "mrstft": self.mrstft,
            "mel": self.mel,
            "sisnr": self.sisnr,
            "msspec": self.msspec,
        }
        if name not in sections:
            raise ConfigError(f"losses.{name}: no such loss; one of adv, feat, {', '.join(sections)}")
        return sections[name]

    def adversary_arguments(self, name: str) -> Mapping[str, Any]:
        return {"msstftd": self.msstftd, "msd": self.msd, "mpd": self.mpd}[name]
