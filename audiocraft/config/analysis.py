"""The shape of the detector of generated audio: its three discriminators, its windows, and the few numbers that turn
raw scores into probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from audiocraft.config.decode import decode
from audiocraft.errors import ConfigError

DISCRIMINATORS = ("mpd", "msd", "msstftd")
"""The names of the three, in the order of every table here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlattConfig:
    """This record holds a calibration: probability of being real = sigmoid(scale * raw score + shift)."""

    scale: float = 1.0
    shift: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationConfig:
    """This record holds what is fitted on validation clips, after training.

    Args:
        combined: weight of each raw score in the joint score.
        bias: of the joint score.
        threshold: of the joint probability; from there on audio counts as real.
    """

    mpd: PlattConfig = PlattConfig()
    msd: PlattConfig = PlattConfig()
    msstftd: PlattConfig = PlattConfig()
    combined: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(DISCRIMINATORS, 1.0))
    bias: float = 0.0
    threshold: float = 0.5

    def platt(self, name: str) -> PlattConfig:
        """Return how one discriminator's raw score becomes a probability."""
        return {"mpd": self.mpd, "msd": self.msd, "msstftd": self.msstftd}[name]

    def __post_init__(self) -> None:
        if set(self.combined) != set(DISCRIMINATORS):
            raise ConfigError(f"combined: one weight for each of {', '.join(DISCRIMINATORS)} is needed")
        if not 0 < self.threshold < 1:
            raise ConfigError(f"threshold must lie between 0 and 1, got {self.threshold:g}")


@dataclass(frozen=True, kw_only=True, slots=True)
class DomainConfig:
    """This record says what counts as the kind of sound that the detector was trained on.

    Args:
        clusters: of the corpus's windows.
        limit: how unlikely a clip's windows may be, on average, before nothing is claimed (see `models.domain`).
    """

    clusters: int = 16
    limit: float = float(2**31)


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectorConfig:
    """A detector is built from everything in this record. The three sections are the arguments of the discriminators'
    classes.

    Args:
        window: seconds that are judged at once; `hop`: seconds between windows.
        emphasis: each sample less this much of the one before, before the networks; it brings up the treble.
    """

    sample_rate: int = 24000
    window: float = 1.28
    hop: float = 0.64
    emphasis: float = 0.0
    msstftd: Mapping[str, Any] = field(default_factory=lambda: {"filters": 8})
    msd: Mapping[str, Any] = field(default_factory=dict)
    mpd: Mapping[str, Any] = field(default_factory=dict)
    calibration: CalibrationConfig = CalibrationConfig()
    domain: DomainConfig = DomainConfig()

    def __post_init__(self) -> None:
        if not 0 < self.hop <= self.window:
            raise ConfigError(
                f"hop {self.hop:g} s must be positive and at most the window, {self.window:g} s"
            )

    def arguments(self, name: str) -> Mapping[str, Any]:
        """Return the arguments of one discriminator's class."""
        return {"mpd": self.mpd, "msd": self.msd, "msstftd": self.msstftd}[name]

    @classmethod
    def select(cls, tree: Mapping[str, Any]) -> DetectorConfig:
        """Take from a larger configuration (a whole training run) the part that shapes the detector."""
        names = {entry.name for entry in fields(cls)}
        return decode(cls, {key: value for key, value in tree.items() if key in names})


@dataclass(frozen=True, kw_only=True, slots=True)
class DegradeConfig:
    """This record says what happens in training to real audio and fakes alike: shares of the rows, and how far a change
    may go."""

    gain_db: float = 0.0
    noise: float = 0.0
    lowpass: float = 0.0
    tilt: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneratorConfig:
    """This record names a model whose pieces are fakes, for the captions of a manifest; the caption's own clip is the
    other side.

    Args:
        train, valid: folders of manifests, below the datasource's root.
        clips: pieces for training; `valid_clips`: for validation and calibration.
    """

    model: str
    train: str
    valid: str
    kind: Literal["music", "sound"] = "music"
    clips: int = 400
    valid_clips: int = 40


@dataclass(frozen=True, kw_only=True, slots=True)
class FakesConfig:
    """This record describes the pairs of clip and fake that are made before training and kept on disk.

    Args:
        clips: of the corpus that go through the codec, for training; `valid_clips`: for validation and calibration.
        codebooks: how many of the codec's codebooks a fake uses, in turn; empty: all of them.
        formats: share of the pairs of which both sides are stored as MP3 or Opus, at a rate drawn.
        generators: models whose pieces are fakes too.
        generated: share of a batch that the generators' pieces get.
        cache: folder for all of it; None: `pairs` below the datasource's root.
    """

    clips: int = 1600
    valid_clips: int = 160
    codebooks: tuple[int, ...] = ()
    formats: float = 0.0
    generators: tuple[GeneratorConfig, ...] = ()
    generated: float = 0.3
    cache: str | None = None
