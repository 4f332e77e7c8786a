"""Teaches the detector of a trained watermark how a known message shows in its patterns (`ModulationDetector.fit`), on
clips that the benchmark does not measure; the last step of `audioseal-nano`.

    python recipes/fit_watermark.py runs/models/watermark runs/speech/train runs/materials/music runs/wide/music
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
from watermark import RATE, ROWS, clips

from audiocraft.audio.effects import AudioEffects
from audiocraft.checkpoints.read import read
from audiocraft.checkpoints.write import write_model
from audiocraft.config.decode import encode
from audiocraft.config.watermark import WatermarkConfig
from audiocraft.metrics.watermark import random_message
from audiocraft.models.watermark import AudioSeal, build_watermark
from audiocraft.models.watermarks.modulation import ModulationDetector

SECOND = 62  # frames


def heard(detector: ModulationDetector, wav: Tensor) -> tuple[Tensor, Tensor]:
    """Return sums of responses over each second of clips [B, 1, N] -> [seconds * B, K] twice, second after second."""
    bands = detector.bands
    found = [
        detector.responses(bands.levels(bands.spectra(bands.padded(part[:, 0])))) for part in wav.split(ROWS)
    ]
    turned, chance = (torch.cat(parts) for parts in zip(*found, strict=True))
    starts = range(0, turned.shape[-1] - SECOND + 1, SECOND)
    return (
        torch.cat([turned[..., at : at + SECOND].sum(-1) for at in starts]),
        torch.cat([chance[..., at : at + SECOND].sum(-1) for at in starts]),
    )


@torch.inference_mode()
def fit(model: AudioSeal, wav: Tensor) -> None:
    """Fit the detector of `model` on clips [B, 1, N], as they are and behind changes."""
    assert isinstance(model.detector, ModulationDetector)
    messages = random_message(model.nbits, len(wav))
    assert messages is not None
    pairs = zip(wav.split(ROWS), messages.split(ROWS), strict=True)
    marked = wav + torch.cat([model.get_watermark(*pair) for pair in pairs])
    level = wav.square().mean((-2, -1), keepdim=True).sqrt()
    other = wav.roll(len(wav) // 3, 0)
    changes = (
        lambda x: x,
        lambda x: AudioEffects.noise_below(x, snr_range=(20.0, 20.0)),
        lambda x: x + other * level / other.square().mean((-2, -1), keepdim=True).sqrt(),
        lambda x: AudioEffects.lowpass_filter(x, cutoff_freq=4000),
    )
    found = [heard(model.detector, change(marked)) for change in changes]
    clean = [heard(model.detector, change(wav)) for change in changes]
    times = len(found[0][0]) // len(messages)
    shown, chance = (torch.cat(parts) for parts in zip(*found, strict=True))
    hosts, host_chance = (torch.cat(parts) for parts in zip(*clean, strict=True))
    model.detector.fit((shown, chance), messages.repeat(times * len(found), 1), (hosts, host_chance))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="the folder of a watermark; its weights are written anew")
    parser.add_argument("folders", type=Path, nargs="+", help="folders of audio")
    parser.add_argument("--clips", type=int, default=240)
    given = parser.parse_args()
    torch.manual_seed(3)
    stored = read(str(given.model), kind="watermark", dtype=torch.float32)
    config = WatermarkConfig.select(stored.config)
    fitted = replace(config, modulation=replace(config.modulation, fitted=True))
    model = build_watermark(fitted)
    model.load_state_dict({**model.state_dict(), **stored.tensors})
    fit(model, clips(given.folders, given.clips))
    write_model(
        given.model, kind="watermark", config=encode(fitted), tensors=model.state_dict(), meta=stored.meta,
        dtype="float16",
    )  # fmt: skip
    print(f"{given.model}: fitted on {given.clips} clips at {RATE} Hz")


if __name__ == "__main__":
    main()
