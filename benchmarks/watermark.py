"""How well a watermark is found, and what it costs, clean and after what people do to audio.

    python benchmarks/watermark.py runs/packages/singularity-music runs/evaluation runs/speech/heldout --clips 48

Clips of five seconds, of files that no recipe here trains on, spread evenly over all folders, with the message
that this software hides. "found": the clip agrees with that message, or does at another speed (`analysis.watermark`,
`analysis.speeds`); "any": the mean
probability of its samples is above one half, which asks for no message. The same is asked of the clips without a mark,
behind the same change. AAC needs the extra [av], PESQ the extra [pesq].

`--unmarked MINUTES` listens to so much of each folder instead, a minute of a file, and counts seconds that are taken
for marked.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from audiocraft.analysis.speeds import AGREES_ELSEWHERE, agreement_by_speed
from audiocraft.analysis.watermark import AGREES, find_watermark
from audiocraft.audio.convert import convert_audio
from audiocraft.audio.effects import AudioEffects, compress_with_encodec
from audiocraft.audio.files import audio_info, audio_read
from audiocraft.data.manifest import find_audio_files
from audiocraft.errors import AudioCraftError
from audiocraft.metrics.watermark import tensor_pesq
from audiocraft.models.loaders import load_compression_model
from audiocraft.models.watermark import AudioSeal
from audiocraft.models.watermarks.modulation import ModulationDetector
from audiocraft.models.watermarks.provenance import message_bits
from audiocraft.solvers.watermark import WatermarkSolver

RATE, SECONDS, ROWS = 16000, 5.0, 16
Attack = Callable[[Tensor], Tensor]


def clips(folders: list[Path], count: int) -> Tensor:
    """Return clips [count, 1, N]: from the middle of files, as many of each folder."""
    found: list[Tensor] = []
    for number, folder in enumerate(folders):
        files = [meta for meta in find_audio_files(folder) if meta.duration > SECONDS + 1]
        wanted = count // len(folders) + (number < count % len(folders))
        for turn in range(wanted):
            meta = files[turn % len(files)]
            share = (turn // len(files) + 1) / (wanted // len(files) + 2)
            info = audio_info(meta.path)
            start = share * (info.duration - SECONDS - 0.5)
            wav, rate = audio_read(meta.path, seek_time=start, duration=SECONDS + 0.2)
            found.append(convert_audio(wav, rate, RATE, 1)[..., : int(SECONDS * RATE)])
    return torch.stack(found)


def attacks(speech: Tensor) -> dict[str, Attack]:
    """Return what marked and clean clips go through, by name."""

    def mixed(wav: Tensor) -> Tensor:
        other = speech[torch.arange(len(wav)) % len(speech)]
        level = (
            wav.square().mean((-2, -1), keepdim=True).sqrt()
            / other.square().mean((-2, -1), keepdim=True).sqrt()
        )
        return wav + other * level

    def at_16_khz(wav: Tensor) -> Tensor:
        return convert_audio(convert_audio(wav, RATE, 44100, 1), 44100, RATE, 1)

    codec = load_compression_model("nano")
    return {
        "clean": lambda wav: wav,
        "MP3 64 kb/s": partial(AudioEffects.mp3_compression, bitrate="64k"),
        "AAC 64 kb/s": partial(AudioEffects.aac_compression, bitrate="64k"),
        "Opus 32 kb/s": partial(AudioEffects.opus_compression, kbps=32.0),
        "44.1 kHz and back": at_16_khz,
        "+6 dB": lambda wav: 2 * wav,
        "-6 dB": lambda wav: 0.5 * wav,
        "low-pass 4 kHz": partial(AudioEffects.lowpass_filter, cutoff_freq=4000),
        "noise 20 dB below": partial(AudioEffects.noise_below, snr_range=(20.0, 20.0)),
        "cropped to 1 s": lambda wav: wav[..., RATE + 137 : 2 * RATE + 137],
        "room, 0.5 s": partial(AudioEffects.reverb, decay_range=(0.5, 0.5), wet_range=(0.7, 0.7)),
        "speech on top, 0 dB": mixed,
        "speed +5 %": partial(AudioEffects.speed, speed_range=(1.05, 1.05)),
        "speed -5 %": partial(AudioEffects.speed, speed_range=(0.95, 0.95)),
        "our codec, nano": partial(
            compress_with_encodec, n_q=codec.num_codebooks, model=codec, sample_rate=RATE
        ),
    }


def agreement(model: AudioSeal, wav: Tensor) -> Tensor:
    """Return how far clips [B, 1, N] agree with the message of this software [B]; nothing where the detector does not
    tell."""
    detector, message = model.detector, message_bits(model.nbits)
    if not isinstance(detector, ModulationDetector) or message is None:
        return torch.zeros(len(wav))
    bands = detector.bands
    turned, chance = detector.responses(bands.levels(bands.spectra(bands.padded(wav[:, 0]))))
    return detector.agreement(turned.sum(-1), chance.sum(-1), message)


def is_found(model: AudioSeal, wav: Tensor, agreed: Tensor) -> Tensor:
    """Return whether the message of this software is found in clips [B, 1, N] of this agreement [B], at their own speed
    or at another."""
    message = message_bits(model.nbits)
    if not isinstance(model.detector, ModulationDetector) or message is None:
        return agreed > AGREES
    elsewhere = [agreement_by_speed(model.detector, clip, message)[0] > AGREES_ELSEWHERE for clip in wav]
    return (agreed > AGREES) | torch.tensor(elsewhere)


def listen(name: str, folders: list[Path], minutes: float) -> dict[str, dict[str, float]]:
    """Return the seconds of unmarked audio that are taken for marked, for each folder."""
    model = WatermarkSolver.model_from_checkpoint(name)
    table = {}
    for folder in folders:
        files = [meta for meta in find_audio_files(folder) if meta.duration > SECONDS + 1]
        step = max(1, int(sum(min(60.0, meta.duration) for meta in files) / 60 / minutes))
        sums = {"files": 0, "seconds": 0, "false": 0, "files_false": 0, "highest": 0.0}
        for meta in files[::step]:
            if sums["seconds"] >= 60 * minutes:
                break
            length = min(60.0, meta.duration)
            wav, rate = audio_read(meta.path, seek_time=(meta.duration - length) / 2, duration=length)
            report = find_watermark(model, wav.split(10 * rate, dim=-1), rate)
            sums["files"] += 1
            sums["seconds"] += sum(report.audible)
            sums["false"] += sum(report.found)
            sums["files_false"] += report.marked
            sums["highest"] = max(sums["highest"], report.whole or 0.0)
        table[folder.name] = sums
        print(folder, sums, flush=True)
    return table


@torch.inference_mode()
def measure(name: str, folders: list[Path], speech_folder: Path, count: int) -> dict[str, object]:
    """Measure everything about one watermark."""
    torch.manual_seed(1)
    model = WatermarkSolver.model_from_checkpoint(name)
    wav, speech = clips(folders, count), clips([speech_folder], 24).flip(0)
    expected = message_bits(model.nbits)
    assert expected is not None
    message = expected.expand(len(wav), -1)
    mark = torch.cat(
        [model.get_watermark(*pair) for pair in zip(wav.split(ROWS), message.split(ROWS), strict=True)]
    )
    ratio = 10 * torch.log10(wav.square().sum((-2, -1)) / mark.square().sum((-2, -1)))
    table: dict[str, dict[str, float]] = {}
    for title, attack in attacks(speech).items():
        try:
            rows = [[attack(part) for part in x.split(ROWS)] for x in (wav + mark, wav)]
        except (AudioCraftError, ImportError) as error:
            print(f"{title}: left out: {error}")
            continue
        found, clean = (
            torch.cat([model.detect_watermark(part, every=256) for part in parts]) for parts in rows
        )
        agreed, by_chance = (torch.cat([agreement(model, part) for part in parts]) for parts in rows)
        ours, taken = (
            torch.cat([is_found(model, *pair) for pair in zip(parts, scores.split(ROWS), strict=True)])
            for parts, scores in zip(rows, (agreed, by_chance), strict=True)
        )
        bits = (found[:, 2:].mean(-1) > 0) == (message > 0)
        table[title] = {
            "found": float(ours.float().mean()),
            "false": float(taken.float().mean()),
            "highest_false": float(by_chance.max()),
            "any": float((found[:, 1].mean(-1) > 0.5).float().mean()),
            "false_any": float((clean[:, 1].mean(-1) > 0.5).float().mean()),
            "bits": float(bits.float().mean()),
        }
        print(title, {key: round(value, 3) for key, value in table[title].items()}, flush=True)
    spoken = clips([speech_folder], 12)
    try:
        pesq = tensor_pesq(model(spoken), spoken, RATE)
    except ImportError as error:
        print(f"PESQ: left out: {error}")
        pesq = float("nan")
    return {
        "clips": len(wav),
        "snr_db": float(ratio.mean()),
        "snr_lowest_db": float(ratio.min()),
        "pesq_speech": pesq,
        "attacks": table,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs="+", help="folders of audio; the last one holds speech")
    parser.add_argument("--model", default="audioseal-nano", help="the watermark: a name, a folder, or a run")
    parser.add_argument("--unmarked", type=float, help="minutes of each folder to listen to, instead")
    parser.add_argument("--clips", type=int, default=48)
    parser.add_argument("--json", type=Path, help="write the figures there")
    given = parser.parse_args()
    if given.unmarked is not None:
        found: dict[str, object] = dict(listen(given.model, given.folders, given.unmarked))
    else:
        found = measure(given.model, given.folders, given.folders[-1], given.clips)
    text = json.dumps(found, indent=1)
    print(text)
    if given.json is not None:
        given.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
