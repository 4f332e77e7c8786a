"""Codecs beside PyPI's `transformers` (sizes of the music codec, 32 kHz) and `encodec` (sizes of 24 kHz), with random
weights, in one run: whole clips in both directions, a stream of 20 ms pieces, and memory for long files. The others
are called as their documentation says. The last line is JSON.

    pip install --no-deps --target /tmp/peers encodec einops
    python benchmarks/codec_peers.py --encodec /tmp/peers --seconds 10 --threads 1 --hours 3
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from audiocraft.bench.baselines import random_model
from audiocraft.codec import EncodeSettings, KnownCodec, encode_file
from audiocraft.codec.entropy import STATIC
from audiocraft.codec.files import decode_file
from audiocraft.codec.streams import CodeStream, SampleStream
from audiocraft.config.networks import CompressionConfig, EncodecConfig, RVQConfig, SEANetConfig
from audiocraft.errors import require
from audiocraft.models.builders import build_codec
from audiocraft.models.encodec import CompressionModel

PIECE_S = 0.02
PAUSE = 0.05  # seconds in which torch's threads stop spinning
THEIR_MINUTES = (1, 4, 16)
THEIR_BYTES = 6 << 30  # of address space, so that what does not survive takes nobody along

Work = dict[str, Callable[[], object]]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--encodec", type=Path, help="the folder where PyPI's encodec is; without it is left out"
    )
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--hours", type=float, default=0.0, help="of the long file; 0 leaves it out")
    parser.add_argument("--long", choices=("ours", "encodec"), help=argparse.SUPPRESS)
    return parser.parse_args()


def codec_24khz() -> CompressionModel:
    """Build ours of the same sizes: 32 filters, ratios 8 5 4 2, convolutions as shortcuts, two LSTM layers of 512,
    causal, 8 codebooks in use."""
    config = CompressionConfig(
        sample_rate=24000,
        encodec=EncodecConfig(sample_rate=24000, causal=True),
        seanet=SEANetConfig(n_filters=32, ratios=(8, 5, 4, 2), lstm=2, causal=True, true_skip=False),
        rvq=RVQConfig(n_q=8, bins=1024, kmeans_init=False),
    )
    return build_codec(config).eval().requires_grad_(False)


def ours(codec: CompressionModel, seconds: float) -> Work:
    wav = 0.1 * torch.randn(1, 1, round(seconds * codec.sample_rate))
    codes = torch.randint(0, codec.cardinality, (1, codec.num_codebooks, round(seconds * codec.frame_rate)))
    return {"encode": lambda: codec.encode(wav), "decode": lambda: codec.decode(codes)}


def of_transformers(seconds: float, **sizes: Any) -> Work:
    library = require("transformers", extra="style")
    codec = library.EncodecModel(library.EncodecConfig(audio_channels=1, normalize=False, **sizes)).eval()
    rate = codec.config.sampling_rate
    wav = 0.1 * torch.randn(1, 1, round(seconds * rate))
    bandwidth = codec.config.target_bandwidths[-1]
    codes = codec.encode(wav, bandwidth=bandwidth).audio_codes
    return {
        "encode": lambda: codec.encode(wav, bandwidth=bandwidth),
        "decode": lambda: codec.decode(codes, [None]),
    }


def of_encodec(folder: Path, seconds: float) -> Work:
    codec = encodec_model(folder)
    wav = 0.1 * torch.randn(1, 1, round(seconds * 24000))
    codes = codec.encode(wav)
    return {"encode": lambda: codec.encode(wav), "decode": lambda: codec.decode(codes)}


def encodec_model(folder: Path) -> Any:
    sys.path.append(str(folder))
    try:
        importlib.import_module("torchaudio")
    except (ImportError, OSError):
        # It wants it for reading files, which nothing here does, and no wheel of it may fit this torch.
        sys.modules["torchaudio"] = types.ModuleType("torchaudio")
    codec = require("encodec", extra="encodec").EncodecModel.encodec_model_24khz(pretrained=False)
    codec.set_target_bandwidth(6.0)  # 8 codebooks at 75 frames a second
    return codec.eval()


def in_turns(works: dict[str, Work], repeat: int) -> dict[str, dict[str, float]]:
    """Return the fewest seconds of each, one after the other, so that a slow moment is everybody's."""
    found: dict[str, dict[str, float]] = {name: {} for name in works}
    with torch.inference_mode():
        for direction in ("encode", "decode"):
            for round_ in range(repeat + 1):
                for name, work in works.items():
                    time.sleep(PAUSE)
                    began = time.perf_counter()
                    work[direction]()
                    taken = time.perf_counter() - began
                    if round_:  # the first is not counted
                        found[name][direction] = min(taken, found[name].get(direction, taken))
    return found


def stream_of_pieces(codec: CompressionModel, seconds: float) -> dict[str, float]:
    """Return the seconds of work for a second of audio that is pushed in pieces of 20 ms, each way."""
    wav = 0.1 * torch.randn(1, 1, round(seconds * codec.sample_rate))
    size = round(PIECE_S * codec.sample_rate)
    coder, frames = CodeStream(codec), []
    began = time.perf_counter()
    for piece in wav.split(size, dim=-1):
        frames.append(coder.push(piece))
    frames.append(coder.finish())
    encoding = time.perf_counter() - began
    codes = torch.cat([part.codes for part in frames], dim=-1)
    player = SampleStream(codec)
    began = time.perf_counter()
    for step in codes.split(max(1, round(PIECE_S * codec.frame_rate)), dim=-1):
        player.push(type(frames[0])(step))
    player.finish()
    return {"encode": encoding / seconds, "decode": (time.perf_counter() - began) / seconds}


def long_file(hours: float) -> dict[str, float]:
    """Bring a file of so many hours to .acx and back, by the bundled codec -> megabytes resident at most, and
    seconds."""
    with tempfile.TemporaryDirectory() as name:
        source, rate = Path(name, "long.wav"), 24000
        minute = np.sin(np.arange(60 * rate) * 0.05) * 0.2 + 0.05 * np.random.default_rng(0).standard_normal(
            60 * rate
        )
        with soundfile.SoundFile(source, "w", rate, 1, "PCM_16") as file:
            for _ in range(round(60 * hours)):
                file.write(minute)
        known = KnownCodec.load("nano")
        began = time.perf_counter()
        facts = encode_file(source, Path(name, "a.acx"), EncodeSettings(codec=known, profile=STATIC))
        encoded = time.perf_counter()
        source.unlink()
        decode_file(Path(name, "a.acx"), Path(name, "out.flac"), codec=known, strict=True)
        return {
            "hours": facts.seconds / 3600, "resident_mb": resident_mb(), "encode_s": encoded - began,
            "decode_s": time.perf_counter() - encoded,
        }  # fmt: skip


def long_of_encodec(folder: Path) -> list[dict[str, float]]:
    """Measure the same of encodec, which takes clips whole, as long as it survives."""
    resource.setrlimit(resource.RLIMIT_AS, (THEIR_BYTES, THEIR_BYTES))
    codec, found = encodec_model(folder), []
    for minutes in THEIR_MINUTES:
        try:
            with torch.inference_mode():
                codec.decode(codec.encode(0.1 * torch.randn(1, 1, minutes * 60 * 24000)))
        except (RuntimeError, MemoryError) as error:
            print(f"encodec: {minutes} min: {str(error).splitlines()[0][:120]}")
            break
        found.append({"minutes": minutes, "resident_mb": resident_mb()})
    return found


def resident_mb() -> float:
    """Return the most megabytes that this process had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def apart(options: argparse.Namespace, what: str) -> Any:
    """Measure in a process of its own."""
    command = [
        sys.executable,
        __file__,
        "--long",
        what,
        "--hours",
        str(options.hours),
        "--threads",
        str(options.threads),
    ]
    command += ["--encodec", str(options.encodec)] if options.encodec else []
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    print(done.stdout, end="")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    if options.long:
        print(
            json.dumps(
                long_file(options.hours) if options.long == "ours" else long_of_encodec(options.encodec)
            )
        )
        return
    torch.manual_seed(0)
    large, small = random_model("small", device=torch.device("cpu")).compression_model, codec_24khz()
    sizes = {"sampling_rate": 32000, "num_filters": 64, "upsampling_ratios": [8, 5, 4, 4], "codebook_size": 2048,
             "codebook_dim": 128, "target_bandwidths": [2.2], "use_causal_conv": False,
             "use_conv_shortcut": False}  # fmt: skip
    seconds = options.seconds
    found: dict[str, Any] = {"benchmark": "codec_peers", "seconds": seconds, "threads": options.threads}
    at_32 = {"ours": ours(large, seconds), "transformers": of_transformers(seconds, **sizes)}
    found["32 kHz"] = in_turns(at_32, options.repeat)
    at_24 = {"ours": ours(small, seconds), "transformers": of_transformers(seconds, target_bandwidths=[6.0])}
    if options.encodec:
        at_24["encodec"] = of_encodec(options.encodec, seconds)
    found["24 kHz"] = in_turns(at_24, options.repeat)
    for size in ("32 kHz", "24 kHz"):
        for direction in ("encode", "decode"):
            times = {name: taken[direction] for name, taken in found[size].items()}
            peer = min(taken for name, taken in times.items() if name != "ours")
            found[f"{size} {direction} times faster"] = peer / times["ours"]
    found["stream 32 kHz"] = stream_of_pieces(large, seconds)
    found["stream 24 kHz"] = stream_of_pieces(small, seconds)
    found["load"] = os.getloadavg()[0]
    if options.hours:
        found["long"] = apart(options, "ours")
        if options.encodec:
            found["long encodec"] = apart(options, "encodec")
    for name, value in found.items():
        print(f"{name:28s} {value}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
