"""The shape of a watermark: the network that makes it and the one that finds it. Fields mirror the YAML tree of the
original, `audioseal`, `seanet` and `detector`; `modulation` is ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from audiocraft.config.decode import Count, Range, decode
from audiocraft.config.networks import SEANetConfig
from audiocraft.errors import ConfigError

MOST_BITS = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioSealConfig:
    """Generator and detector agree on what this record says.

    Args:
        autoencoder: "seanet" are the networks of the paper, "modulation" the small ones of
            `models.watermarks.modulation`.
        nbits: length of the hidden message; 0: the mark only says that it is there.
    """

    autoencoder: Literal["seanet", "modulation"] = "seanet"
    sample_rate: Count = 16000
    channels: Annotated[int, Range(1, 1)] = 1
    nbits: Annotated[int, Range(0, MOST_BITS)] = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class SEANetDetectorConfig:
    """This record counts the channels between the detector's frames and its decision."""

    output_dim: Count = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class ModulationConfig:
    """This record describes the mark as slow changes of level in bands of frequency.

    Args:
        n_fft: samples of a frame; frames follow each other by half of it.
        period: frames after which a pattern repeats.
        lowest, highest: the middle of the first band, and the limit of the others, in Hz.
        spacing: Hz between the middles of low bands; high ones are `per_octave` to an octave.
        trend: frames whose average a level is compared with.
        spread: frames over which the unrest of a band is measured.
        memory: frames over which a pattern is looked for.
        past: frames of the host that the generator listens back to.
        hidden: width of the network that decides how strong the mark may be.
        strongest: the largest change of level, as the logarithm of a factor on amplitudes.
        floor: power of a band that counts as silence.
        fitted: the detector knows how a message shows in its patterns, see `ModulationDetector.fit`.
    """

    n_fft: Count = 512
    period: Annotated[int, Range(3)] = 5
    lowest: float = 125.0
    highest: float = 7600.0
    spacing: float = 62.5
    per_octave: Count = 12
    trend: Count = 25
    spread: Count = 63
    memory: Count = 125
    past: Count = 62
    hidden: Count = 64
    strongest: float = 0.35
    floor: float = 1e-6
    fitted: bool = False

    def __post_init__(self) -> None:
        even = [name for name in ("trend", "spread", "memory") if getattr(self, name) % 2 == 0]
        if even:
            raise ConfigError(
                f"modulation.{even[0]}: {getattr(self, even[0])} frames have no middle; give an odd number"
            )
        if not 0 < self.lowest < self.highest:
            raise ConfigError(
                f"modulation: lowest {self.lowest:g} Hz must lie below highest, {self.highest:g} Hz"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class WatermarkConfig:
    """A watermark model is built from everything in this record."""

    audioseal: AudioSealConfig = AudioSealConfig()
    seanet: SEANetConfig = SEANetConfig()
    detector: SEANetDetectorConfig = SEANetDetectorConfig()
    modulation: ModulationConfig = ModulationConfig()

    @classmethod
    def select(cls, tree: Mapping[str, Any]) -> WatermarkConfig:
        """Take from a larger configuration (a whole training run) the part that shapes the networks."""
        names = {entry.name for entry in fields(cls)}
        return decode(cls, {key: value for key, value in tree.items() if key in names})
