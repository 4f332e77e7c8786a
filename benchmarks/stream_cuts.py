"""Whether a stream that is cut anywhere is found as marked: real clips, every format, cuts at any byte.

usage: python benchmarks/stream_cuts.py runs/songs/music/heldout [--clips 24] [--cuts 4] [--seconds 4] [--json FILE]

Each clip is marked and encoded as a server sends it, and cut at random bytes behind the first second that can be heard.
What is left is read as a file. Beside it: the same clips without a mark, and sparse ones (two short parts
of a clip, 30 dB down, in 6 s of what is almost silence), whole, in which there is little to hear a mark in.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from audiocraft.analysis.watermark import WatermarkReport, find_watermark
from audiocraft.audio.encoders import open_encoder
from audiocraft.audio.files import audio_read
from audiocraft.audio.finishing import Finish
from audiocraft.config.limits import PROVENANCE
from audiocraft.data.manifest import find_audio_files
from audiocraft.errors import AudioCraftError
from audiocraft.models.loaders import load_audioseal_models
from audiocraft.models.watermark import AudioSeal
from audiocraft.models.watermarks.provenance import way_out

FORMATS = ("wav", "flac", "mp3", "opus")
_EVENTS_S, _SPARSE_S, _QUIETER, _FLOOR = (0.3, 0.6), 6.0, 0.03, 3e-5


def sent(wav: Tensor, rate: int, form: str, *, mark: bool) -> bytes:
    """Encode wav [C, N] in chunks of 0.3 s, as a stream of a server."""
    stream = way_out(Finish(watermark=PROVENANCE if mark else None)).open(rate, wav.shape[0])
    encoder = open_encoder(form, rate, wav.shape[0])
    parts = [encoder.encode(stream.push(part).numpy()) for part in wav.split(round(0.3 * rate), dim=-1)]
    return b"".join([*parts, encoder.encode(stream.finish().numpy()), encoder.finish()])


def heard(model: AudioSeal, content: bytes, path: Path) -> tuple[float, WatermarkReport]:
    """Return how many seconds of bytes can be heard, and what is found in them."""
    path.write_bytes(content)
    wav, rate = audio_read(path)
    return wav.shape[-1] / rate, find_watermark(model, wav.split(10 * rate, dim=-1), rate)


def sparse(wav: Tensor, rate: int, random: np.random.Generator) -> Tensor:
    """Return two short parts of wav [C, N], quiet, at any place of noise that nobody hears."""
    count = round(_SPARSE_S * rate)
    noise = random.standard_normal((wav.shape[0], count)).astype(np.float32)
    made = _FLOOR * torch.from_numpy(noise)
    for seconds in _EVENTS_S:
        length = round(seconds * rate)
        start, place = random.integers(wav.shape[-1] - length), random.integers(count - length)
        made[:, place : place + length] += (
            _QUIETER * torch.hann_window(length) * wav[:, start : start + length]
        )
    return made


def measured(model: AudioSeal, clips: list[Path], cuts: int, seconds: float) -> dict[str, dict[str, int]]:
    """Count what is heard, ours, and marked, for each format and kind."""
    random, counts = np.random.default_rng(0), {}
    with tempfile.TemporaryDirectory() as folder:
        for form in FORMATS:
            path = Path(folder) / f"cut.{form}"
            for clip in clips:
                wav, rate = audio_read(clip, duration=seconds)
                for kind in ("cut", "cut, no mark", "sparse", "sparse, no mark"):
                    entry = counts.setdefault(f"{form}, {kind}", Counter())
                    made = sparse(wav, rate, random) if kind.startswith("sparse") else wav
                    content = sent(made, rate, form, mark="no mark" not in kind)
                    places = [len(content)]
                    if kind.startswith("cut"):
                        places = random.integers(len(content) // 5, len(content), cuts).tolist()
                    for place in places:
                        try:
                            length, report = heard(model, content[:place], path)
                        except AudioCraftError:
                            entry["refused"] += 1
                            continue
                        if length < 1:
                            entry["shorter than a second"] += 1
                            continue
                        entry["heard"] += 1
                        entry["ours"] += report.ours
                        entry["marked"] += report.marked
            for name, entry in counts.items():
                if name.startswith(form):
                    print(f"{name:<22} {dict(entry)}", flush=True)
    return {name: dict(entry) for name, entry in counts.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--cuts", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    model = load_audioseal_models(PROVENANCE)
    assert isinstance(model, AudioSeal)
    files = [Path(meta.path) for meta in find_audio_files(given.folder) if meta.duration >= given.seconds]
    clips = [files[place * len(files) // given.clips] for place in range(min(given.clips, len(files)))]
    found = measured(model, clips, given.cuts, given.seconds)
    if given.json is not None:
        given.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
