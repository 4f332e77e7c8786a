"""A decoding step with guidance at every precision, beside what the memory allows and beside transformers, and the
codec: one run, random weights of a released size. The last line is JSON.

    python benchmarks/decode.py --size small --threads 2

Steps are those of a whole piece: sampling, guidance and the growing caches are part of them; the median counts.
"""

from __future__ import annotations

import argparse
import json
import platform
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from audiocraft.bench.baselines import SIZES, measure_transformers, random_model
from audiocraft.bench.machine import describe
from audiocraft.bench.measure import measure_decoding, measure_steps
from audiocraft.kernels.bindings import kernels
from audiocraft.kernels.build import level_name, use_level

PRECISIONS = ("fp32", "bf16", "fp16", "int8", "int4")
# Times faster than transformers in float32, and times slower than the memory.
GOALS = {
    "fp32": (2.0, 1.35),
    "bf16": (4.0, 1.35),
    "fp16": (4.0, 1.35),
    "int8": (6.0, 1.25),
    "int4": (6.0, 1.3),
}
CODEC_GOAL = 1.3


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=tuple(SIZES), default="small")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument("--threads", type=int, help="by default as torch chooses")
    parser.add_argument("--seconds", type=float, default=4.0, help="of the piece whose steps are measured")
    parser.add_argument("--codec-seconds", type=float, default=10.0)
    parser.add_argument("--level", help="of the kernels, such as v3 (AVX2) or plain; by default the best")
    parser.add_argument("--alone", action="store_true", help="without transformers")
    return parser.parse_args()


def measure(precision: str, options: argparse.Namespace, read_gb_s: float) -> dict[str, float]:
    """Measure steps at one precision, and the codec, which has none."""
    model = random_model(options.size, device=torch.device("cpu"), precision=precision)
    frames = max(12, round(options.seconds * model.frame_rate))
    measure_steps(model, frames=12, read_gb_s=read_gb_s)  # what is made on first use
    steps = measure_steps(model, frames=frames, read_gb_s=read_gb_s)
    found = {
        "step_ms": steps.ms,
        "read_mb": steps.read_mb,
        "bound_ms": steps.bound_ms,
        "bounds": steps.times_bound,
    }
    if precision == "fp32":
        shape = (1, model.lm.num_codebooks, round(options.codec_seconds * model.frame_rate))
        codes = torch.randint(0, model.compression_model.cardinality, shape)
        found["decode_s"] = min(measure_decoding(model, codes) for _ in range(3))
    return found


def show(document: dict[str, Any], console: Console) -> None:
    machine, peer = document["machine"], document["transformers"]
    table = Table(
        "precision",
        "ms a step",
        "weights read, MB",
        "bound, ms",
        "times the bound",
        "times transformers fp32",
    )
    for name, row in document["precisions"].items():
        goal = GOALS.get(name)
        bounds = f"{row['bounds']:.2f}" + (f" (goal {goal[1]})" if goal else "")
        faster = "-"
        if peer is not None:
            faster = f"{peer['step_ms'] / row['step_ms']:.2f}" + (f" (goal {goal[0]:g})" if goal else "")
        table.add_row(
            name, f"{row['step_ms']:.1f}", f"{row['read_mb']:.0f}", f"{row['bound_ms']:.1f}", bounds, faster
        )
    console.print(
        f"{machine['processor']}, kernels of level {(document['kernels'] or {}).get('level')}, "
        f"{machine['threads']} threads, {machine['read_gb_s']} GB/s read: bound = weights read / GB/s",
        highlight=False,
    )
    if peer is not None:
        console.print(f"{peer['library']}: {peer['step_ms']:.1f} ms a step in fp32", highlight=False)
    console.print(table)
    codec = document["codec"]
    if codec is not None:
        beside = ""
        if codec["peer_s"] is not None:
            times = codec["peer_s"] / codec["decode_s"]
            beside = f", transformers {codec['peer_s']:.2f} s: {times:.2f} times (goal {CODEC_GOAL})"
        console.print(
            f"codec: {codec['seconds']:g} s of audio in {codec['decode_s']:.2f} s{beside}", highlight=False
        )


def main() -> None:
    options = arguments()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    if options.level is not None:
        use_level(options.level)
    console = Console(width=max(110, Console().width))
    device = torch.device("cpu")
    machine = describe(device, quick=options.size == "tiny")
    found = kernels()
    rows = {name: measure(name, options, machine.read_gb_s) for name in options.precisions}
    peer = None
    if not options.alone:
        steps = max(12, round(options.seconds * 50))
        peer = measure_transformers(
            options.size, device=device, precision="fp32", steps=steps, seconds=options.codec_seconds
        )
    codec = None
    if "fp32" in rows:
        codec = {
            "seconds": options.codec_seconds,
            "decode_s": rows["fp32"]["decode_s"],
            "peer_s": None if peer is None else peer.decode_factor * options.codec_seconds,
        }
    document: dict[str, Any] = {
        "benchmark": "decode",
        "size": options.size,
        "python": platform.python_version(),
        "machine": {
            "processor": machine.processor,
            "threads": machine.threads,
            "read_gb_s": machine.read_gb_s,
            "torch": machine.torch,
        },
        "kernels": None
        if found is None
        else {
            "level": level_name(),
            "lanes": found.lanes,
            "rounds": found.quantizes_activations,
        },
        "transformers": None if peer is None else {"library": peer.library, "step_ms": peer.step_ms},
        "precisions": rows,
        "codec": codec,
    }
    show(document, console)
    print(json.dumps(document))


if __name__ == "__main__":
    main()
