"""The shape of the embedder that measures listen with: what it hears at once, its layers, and the words it knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any

from audiocraft.config.decode import Count, Range, Share, decode
from audiocraft.errors import ConfigError

DAMAGES = ("noise", "lowpass", "clipping", "codec")
"""What the embedder learns to tell the strength of, in this order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbedderConfig:
    """An embedder is built from everything in this record.

    Args:
        window: seconds that become one vector; `hop`: seconds between windows.
        n_fft, frame_hop, bands: samples and mel bands of its spectrogram.
        widths: channels of its convolutions; all but the last halve time and bands.
        dimension: of its vectors.
        instruments, sounds, styles, moods: the words of its heads.
        thresholds: of those instruments and sounds that it tells well enough to be asked about, the probability from
            which one counts as heard.
        untold: words that it also hears in what a codec's model makes without them, so that nothing counts them.
    """

    sample_rate: Count = 24000
    window: float = 2.0
    hop: float = 1.0
    n_fft: Count = 2048
    frame_hop: Count = 480
    bands: Count = 64
    widths: tuple[Count, ...] = (24, 48, 96, 128, 192)
    dimension: Count = 128
    instruments: tuple[str, ...] = ()
    sounds: tuple[str, ...] = ()
    styles: tuple[str, ...] = ()
    moods: tuple[str, ...] = ()
    thresholds: Mapping[str, float] = field(default_factory=dict)
    untold: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.hop <= self.window:
            raise ConfigError(
                f"hop {self.hop:g} s must be positive and at most the window, {self.window:g} s"
            )
        for name, words in (("thresholds", self.thresholds), ("untold", self.untold)):
            unknown = sorted(set(words) - {*self.instruments, *self.sounds})
            if unknown:
                raise ConfigError(f"{name}: {', '.join(unknown)} is neither an instrument nor a sound here")
        both = sorted(set(self.thresholds) & set(self.untold))
        if both:
            raise ConfigError(f"{', '.join(both)} cannot have a threshold and be untold")

    @classmethod
    def select(cls, tree: Mapping[str, Any]) -> EmbedderConfig:
        """Take from a larger configuration (a whole training run) the part that shapes the embedder."""
        names = {entry.name for entry in fields(cls)}
        return decode(cls, {key: value for key, value in tree.items() if key in names})


@dataclass(frozen=True, kw_only=True, slots=True)
class DamageConfig:
    """This record says what happens in training to some of the crops, with a strength from 0 to 1 that is learnt.

    Args:
        share: of the crops that are damaged, each in one way.
        codec: share of those that go through the codec, with fewer codebooks the stronger.
        noise_db: signal over noise at strengths 0 and 1.
        lowpass_hz: the cutoff at strengths 0 and 1.
        drive_db: at strength 1, how far above full scale the peak is driven before it is clipped.
        gain_db: each crop is made louder or quieter by up to this much, which is nothing to be learnt.
    """

    share: Share = 0.5
    codec: Share = 0.06
    noise_db: tuple[float, float] = (45.0, -5.0)
    lowpass_hz: tuple[float, float] = (11000.0, 400.0)
    drive_db: Annotated[float, Range(0)] = 30.0
    gain_db: float = 6.0
