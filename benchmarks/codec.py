"""Codecs beside transformers, in one run: the released music codec's sizes with random weights, whole clips and pieces,
and the bundled codec. The last line is JSON. With AUDIOCRAFT_NATIVE=0 everything of ours runs in torch.

    python benchmarks/codec.py --seconds 10 --threads 2
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from audiocraft.bench.baselines import random_model
from audiocraft.errors import require
from audiocraft.kernels.bindings import kernels
from audiocraft.models import MusicGen
from audiocraft.models.codecs.streaming_decode import StreamDecoder
from audiocraft.models.encodec import CompressionModel

PIECES = (5, 10, 25)  # frames
PAUSE = 0.05  # seconds in which torch's threads stop spinning


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--threads", type=int, help="by default as torch chooses")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--alone", action="store_true", help="without transformers")
    return parser.parse_args()


def fastest(work: Callable[[], object], repeat: int) -> float:
    """Return the fewest seconds, after a first call that is not counted."""
    times = []
    with torch.inference_mode():
        work()
        for _ in range(repeat):
            time.sleep(PAUSE)
            began = time.perf_counter()
            work()
            times.append(time.perf_counter() - began)
    return min(times)


def of_transformers(seconds: float) -> Any:
    """Build a codec of the same sizes, and what it is called with."""
    library = require("transformers", extra="style")
    config = library.EncodecConfig(
        sampling_rate=32000,
        audio_channels=1,
        normalize=False,
        num_filters=64,
        upsampling_ratios=[8, 5, 4, 4],
        codebook_size=2048,
        codebook_dim=128,
        target_bandwidths=[2.2],
        use_causal_conv=False,
        use_conv_shortcut=False,
    )
    codec = library.EncodecModel(config).eval()
    codes = torch.zeros(1, 1, 4, round(seconds * 50), dtype=torch.long)
    wav = torch.randn(1, 1, round(seconds * 32000))
    return lambda: codec.decode(codes, [None]), lambda: codec.encode(wav)


def of_pieces(codec: CompressionModel, codes: torch.Tensor, frames: int) -> float:
    """Return the median milliseconds of a piece of a stream."""
    decoder, times = StreamDecoder(codec), []
    for piece in codes.split(frames, dim=-1):
        began = time.perf_counter()
        decoder.push(piece)
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times)


def main() -> None:
    options = arguments()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    codec = random_model("small", device=torch.device("cpu")).compression_model
    shape = (1, codec.num_codebooks, round(options.seconds * codec.frame_rate))
    codes = torch.randint(0, codec.cardinality, shape)
    wav = torch.randn(1, 1, round(options.seconds * codec.sample_rate))
    ours: list[Callable[[], object]] = [lambda: codec.decode(codes), lambda: codec.encode(wav)]
    found: dict[str, Any] = {
        "benchmark": "codec",
        "seconds": options.seconds,
        "kernels": kernels() is not None,
    }
    found["threads"] = torch.get_num_threads()
    found["decode_s"], found["encode_s"] = (fastest(work, options.repeat) for work in ours)
    if not options.alone:
        theirs = of_transformers(options.seconds)
        found["peer_decode_s"], found["peer_encode_s"] = (fastest(work, options.repeat) for work in theirs)
        found["decode_times"] = found["peer_decode_s"] / found["decode_s"]
        found["encode_times"] = found["peer_encode_s"] / found["encode_s"]
    found["piece_ms"] = {frames: of_pieces(codec, codes[..., :200], frames) for frames in PIECES}
    nano = MusicGen.get_pretrained("nano").compression_model
    for rows in (1, 8):
        some = torch.randint(0, nano.cardinality, (rows, nano.num_codebooks, round(10 * nano.frame_rate)))
        found[f"nano_{rows}_s"] = fastest(lambda some=some: nano.decode(some), options.repeat)  # type: ignore[misc]
    for name, value in found.items():
        print(f"{name:15s} {value:.4f}" if isinstance(value, float) else f"{name:15s} {value}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
