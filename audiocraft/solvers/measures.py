"""The metrics that `evaluate.metrics` of a configuration switches on, from the sections of `metrics`.

Each section names its `model`, and has a section of that name with the model's arguments; `use_gt` measures recordings
as the codec keeps them in the place of what the model makes, which is the best that it could do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from audiocraft.errors import ConfigError
from audiocraft.metrics.chroma_cosinesim import ChromaCosineSimilarityMetric
from audiocraft.metrics.clap_consistency import CLAPTextConsistencyMetric, TextConsistencyMetric
from audiocraft.metrics.embedder import BUNDLED
from audiocraft.metrics.fad import FrechetAudioDistanceMetric
from audiocraft.metrics.kld import EmbedderKLDivergenceMetric, KLDivergenceMetric, PasstKLDivergenceMetric
from audiocraft.metrics.metric import Metric
from audiocraft.metrics.reconstruction import si_snr
from audiocraft.metrics.visqol import ViSQOL

ConfigSection = Mapping[str, Any]
_NO_TENSORFLOW = (
    "metrics.fad.model is tf, but no TensorFlow is used here: set metrics.fad.model=embedder (its section names the "
    "embedder: embedder-nano, a folder, or clap:NAME); figures of another embedder do not compare with those of VGGish"
)


def get_fad(cfg: ConfigSection) -> FrechetAudioDistanceMetric:
    """Return the Fréchet distance of the section `metrics.fad`."""
    if cfg.get("model") == "tf":
        raise ConfigError(_NO_TENSORFLOW)
    arguments = _chosen(cfg, "fad", {"embedder": ("name",)})
    return FrechetAudioDistanceMetric(None, arguments.get("name", BUNDLED))


def get_kldiv(cfg: ConfigSection) -> KLDivergenceMetric:
    """Return the divergence of labels of the section `metrics.kld`."""
    arguments = _chosen(cfg, "kld", {"embedder": ("name",), "passt": ("pretrained_length",)})
    if cfg["model"] == "passt":
        return PasstKLDivergenceMetric(**arguments)
    return EmbedderKLDivergenceMetric(arguments.get("name", BUNDLED))


def get_text_consistency(cfg: ConfigSection) -> TextConsistencyMetric:
    """Return the consistency with texts of the section `metrics.text_consistency`."""
    names = ("model_path", "model_arch", "enable_fusion")
    return CLAPTextConsistencyMetric(**_chosen(cfg, "text_consistency", {"clap": names}))


def get_chroma_cosine_similarity(cfg: ConfigSection) -> ChromaCosineSimilarityMetric:
    """Return the cosine of chroma of the section `metrics.chroma_cosine`."""
    names = ("sample_rate", "n_chroma", "radix2_exp", "argmax")
    return ChromaCosineSimilarityMetric(**_chosen(cfg, "chroma_cosine", {"chroma_base": names}))


def get_visqol(cfg: ConfigSection) -> ViSQOL:
    """Return the ViSQOL of the section `metrics.visqol`."""
    unknown = sorted(set(cfg) - {"bin", "mode", "model"})
    if unknown:
        raise ConfigError(f"metrics.visqol: unknown {', '.join(unknown)}; bin, mode and model are known")
    return ViSQOL(**cfg)


_GENERATED: Mapping[str, Callable[[ConfigSection], Metric]] = {
    "fad": get_fad,
    "kld": get_kldiv,
    "text_consistency": get_text_consistency,
    "chroma_cosine": get_chroma_cosine_similarity,
}
GENERATED = frozenset(_GENERATED)
"""The metrics of what a language model makes."""


class GeneratedMeasures:
    """This object takes the metrics of generated audio that a run wants, over the batches of one pass.

    Args:
        wanted: `evaluate.metrics`.
        sections: `metrics`.
    """

    def __init__(self, wanted: Mapping[str, bool], sections: Mapping[str, ConfigSection]) -> None:
        self.metrics: dict[str, Metric] = {}
        self.of_recordings: set[str] = set()
        for name in (name for name in _GENERATED if wanted.get(name)):
            section = sections.get(name)
            if section is None:
                raise ConfigError(f"evaluate.metrics.{name} is true, but there is no section metrics.{name}")
            self.metrics[name] = _GENERATED[name](section)
            if section.get("use_gt"):
                self.of_recordings.add(name)

    def __bool__(self) -> bool:
        return bool(self.metrics)

    def to(self, device: torch.device) -> None:
        """Say where chroma and sums are computed; embedders stay on the CPU."""
        for metric in self.metrics.values():
            metric.reset()
        if "chroma_cosine" in self.metrics:
            self.metrics["chroma_cosine"].to(device)

    def update(
        self, made: Tensor, kept: Tensor, reference: Tensor, sizes: Tensor, rate: int, texts: list[str | None]
    ) -> None:
        """Take in a batch [B, C, N]: what the model made, the recordings through the codec, the recordings.

        Args:
            sizes: [B], samples of each recording.
            texts: what each row was told.
        """
        rates = torch.full((len(made),), rate)
        for name, metric in self.metrics.items():
            sound = kept if name in self.of_recordings else made
            length = min(sound.shape[-1], reference.shape[-1])
            counts = sizes.clamp(max=length)
            if isinstance(metric, TextConsistencyMetric):
                told = [place for place, text in enumerate(texts) if text]
                if told:
                    words = [str(texts[place]) for place in told]
                    metric.update(sound[told].cpu(), words, counts[told], rates[told])
            elif isinstance(metric, ChromaCosineSimilarityMetric):
                device = metric.total.device
                metric.update(
                    sound[..., :length].to(device), reference[..., :length].to(device), counts, rates
                )
            else:
                metric.update(sound[..., :length].cpu(), reference[..., :length].cpu(), counts, rates)

    def compute(self) -> dict[str, float]:
        """Return all figures by name; a divergence has several."""
        found: dict[str, float] = {}
        for name, metric in self.metrics.items():
            value = metric.compute()
            found |= value if isinstance(value, dict) else {name: float(value)}
        return found


def evaluate_audio_reconstruction(y_pred: Tensor, y: Tensor, cfg: Any) -> dict[str, Tensor]:
    """Return what a configuration wants to know about reconstructions of a batch.

    Args:
        y_pred, y: [B, C, N].
        cfg: with `evaluate.metrics`, `metrics` and `sample_rate`.
    """
    wanted = cfg.evaluate.metrics
    found: dict[str, Tensor] = {}
    if wanted.get("visqol"):
        found["visqol"] = torch.tensor(get_visqol(cfg.metrics["visqol"])(y, y_pred, cfg.sample_rate))
    if wanted.get("sisnr"):
        rows = zip(y_pred.flatten(1), y.flatten(1), strict=True)
        found["sisnr"] = torch.tensor([si_snr(ours, theirs, cfg.sample_rate) for ours, theirs in rows]).mean()
    return found


def _chosen(cfg: ConfigSection, name: str, models: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """Return the arguments of the model that a section chooses."""
    model = str(cfg.get("model"))
    if model not in models:
        raise ConfigError(f"metrics.{name}.model: {model!r} is unknown; {' or '.join(models)}")
    arguments = dict(cfg.get(model) or {})
    unknown = sorted(set(arguments) - set(models[model]))
    if unknown:
        raise ConfigError(
            f"metrics.{name}.{model}: unknown {', '.join(unknown)}; one of {', '.join(models[model])}"
        )
    return arguments
