"""Measures how a codec keeps music that nobody trained it on: your own files, beside Opus.

usage: python benchmarks/real.py DIR... [--codec NAME ...] [--clips 60] [--seconds 10] [--seed 0] [--json FILE]

Clips are cut from files drawn by the seed, silent ones left out. A codec is a name (`nano`), an exported folder
or file, or the folder of a training run. For each clip and codec:

- log-mel distance, dB: as `benchmarks/nano.py` defines it
- key: the share of clips in which the same key is found as in the original, and the same or its relative
- chroma: the mean correlation of pitch classes, frame by frame: the share of keys, with less chance in it
- onsets: F1 of note beginnings found in both, within 50 ms

All are measured against the original clip, mono at 24 kHz, by the same means; none needs labels. Opus at 6 and 12 kb/s
comes from opus-tools (`make bench-deps`); where it is missing this is said. The last line of stdout is JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import torch
from nano_parts import codec
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from audiocraft.checkpoints.files import load_weights
from audiocraft.config.training import CompressionSolverConfig
from audiocraft.data.manifest import DEFAULT_EXTS
from audiocraft.errors import AudioCraftError, InvalidInput
from audiocraft.metrics.coding import Coder, hear_notes, kept_notes
from audiocraft.models.builders import build_encodec
from audiocraft.models.loaders import load_compression_model
from audiocraft.solvers.base import CONFIG_FILE
from audiocraft.solvers.runs import read_config

SAMPLE_RATE = 24000
SILENCE_DB = -50.0
_TRIES = 20
Audio = NDArray[np.float32]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, help="folders with music, searched to the bottom")
    parser.add_argument("--codec", nargs="+", default=["nano"], help="names, exported folders or run folders")
    parser.add_argument("--clips", type=int, default=60, help="how many, spread evenly over the files")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a clip")
    parser.add_argument("--seed", type=int, default=0, help="decides where the clips are cut")
    parser.add_argument("--without-opus", action="store_true", help="leave Opus out")
    parser.add_argument("--json", type=Path, help="also write the JSON document to this file")
    return parser.parse_args()


def find_files(folders: Sequence[Path]) -> list[Path]:
    """Find every audio file below the folders, in order of name."""
    files = sorted(
        path for folder in folders for path in folder.rglob("*") if path.suffix.lower() in DEFAULT_EXTS
    )
    if not files:
        raise InvalidInput(f"no audio files below {', '.join(map(str, folders))}", field="folders")
    return files


def read_clip(path: Path, start: float, seconds: float) -> Audio:
    """Read a clip in mono at 24 kHz, `seconds` long at most."""
    with soundfile.SoundFile(path) as file:
        file.seek(min(round(start * file.samplerate), file.frames))
        samples = file.read(round(seconds * file.samplerate), dtype="float32", always_2d=True)
        mono = samples.mean(axis=1)
        return np.asarray(soxr.resample(mono, file.samplerate, SAMPLE_RATE, quality="HQ"), np.float32)


def cut_clips(files: Sequence[Path], count: int, seconds: float, seed: int) -> list[Audio]:
    """Cut `count` clips, the files taking turns; silence and files that are too short are passed over."""
    rng = random.Random(seed)
    order = list(files)
    rng.shuffle(order)
    clips: list[Audio] = []
    for number in range(_TRIES * count):
        if len(clips) == count:
            break
        path = order[number % len(order)]
        length = soundfile.info(path).duration
        if length < seconds:
            continue
        clip = read_clip(path, rng.uniform(0, length - seconds), seconds)
        if 10 * np.log10(np.mean(clip.astype(np.float64) ** 2) + 1e-12) > SILENCE_DB:
            clips.append(clip)
    if not clips:
        raise InvalidInput(f"no file is {seconds:g} s long and not silent", field="folders")
    return clips


def load_codec(name: str) -> Any:
    """Load a codec by name or exported path, or the best weights of a run folder."""
    run = Path(name)
    if not (run / CONFIG_FILE).is_file():
        return load_compression_model(name)
    config = read_config(run)
    if not isinstance(config, CompressionSolverConfig):
        raise InvalidInput(f"{run} is a run of {config.solver}, not of a codec", field="codec")
    model = build_encodec(config.network, device="cpu")
    model.load_state_dict(load_weights(run)["state"])
    return model.eval()


def coders(options: argparse.Namespace, console: Console) -> dict[str, Coder]:
    found: dict[str, Coder] = {name: codec.neural(load_codec(name)) for name in options.codec}
    if options.without_opus:
        return found
    if codec.has_opus():
        found |= {f"Opus {rate} kb/s": codec.opus(rate) for rate in codec.OPUS_RATES}
    else:
        console.print("[yellow]Opus is left out: install opus-tools (`make bench-deps`)")
    return found


def show(rows: dict[str, dict[str, float]], count: int, console: Console) -> None:
    columns = ("", "kb/s", "log-mel, dB", "same key", "same or relative", "chroma", "onset F1")
    table = Table(*columns, title=f"{count} clips of music that nobody trained on")
    for name, row in rows.items():
        table.add_row(
            name, f"{row['kbps']:.2f}", f"{row['log_mel_db']:.2f}", f"{row['same_key']:.1%}",
            f"{row['same_or_relative_key']:.1%}", f"{row['chroma']:.3f}", f"{row['onset_f1']:.3f}",
        )  # fmt: skip
    console.print(table)


def main() -> int:
    options = arguments()
    console = Console(width=max(110, Console().width))
    torch.manual_seed(0)
    try:
        files = find_files(options.folders)
        clips = cut_clips(files, options.clips, options.seconds, options.seed)
        named = coders(options, console)
    except AudioCraftError as error:
        console.print(f"error: {error}", markup=False)
        return 2
    originals = [hear_notes(clip) for clip in clips]
    rows = {name: kept_notes(coder, clips, originals) for name, coder in named.items()}
    show(rows, len(clips), console)
    document = {
        "benchmark": "real",
        "machine": f"{platform.machine()}, torch {torch.__version__}",
        "files": len(files),
        "clips": len(clips),
        "seconds": options.seconds,
        "seed": options.seed,
        "codecs": rows,
    }
    text = json.dumps(document, ensure_ascii=False)
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
