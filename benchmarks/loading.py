"""Measures how long models take to load and how much memory that needs, beside `transformers` on the same weights.

usage: python benchmarks/loading.py [--size small] [--repeat 3] [--folder DIR] [--keep DIR] [--json FILE]

A random MusicGen of a released size (language model, codec, T5) is written as released files, in our own format and as
a `transformers` folder, and deleted afterwards, unless it is kept for a later run. Each load is a process of its own.
Loading ends when every weight has been read once, so that a file which is only mapped gains nothing; memory is the peak
of the process, less what it had after its imports. The last line of stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

SIZES: dict[str, dict[str, Any]] = {
    "small": {
        "lm": {"dim": 1024, "num_heads": 16, "num_layers": 24},
        "filters": 64,
        "t5": {"d_model": 768, "d_kv": 64, "d_ff": 3072, "num_layers": 12, "num_heads": 12, "vocab_size": 32128},
    },
    "tiny": {
        "lm": {"dim": 256, "num_heads": 4, "num_layers": 8},
        "filters": 16,
        "t5": {"d_model": 768, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "vocab_size": 1000},
    },
}  # fmt: skip
FORMATS = {
    "release": "ours, released files",
    "ours": "ours, own format",
    "transformers": "ours, transformers folder",
}
THEIRS = "transformers"
PEAK_ALLOWED = 1.2  # times the weights


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--repeat", type=int, default=3, help="loads of each kind; the median time counts")
    parser.add_argument("--folder", type=Path, help="where to write the models, about 7 GB for small")
    parser.add_argument("--keep", type=Path, help="where the models are, or are written and left")
    parser.add_argument("--json", type=Path, help="write the results here, too")
    parser.add_argument("--build", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--load", nargs=2, metavar=("WHO", "PATH"), help=argparse.SUPPRESS)
    return parser.parse_args()


# ---------------------------------------------------------------------- writing the models


def build(folder: Path, size: str) -> None:
    """Write the same random weights in every format, and its T5 in a cache of the hub, in `folder`."""

    from audiocraft.checkpoints.record import Checkpoint
    from audiocraft.checkpoints.write import write_release
    from audiocraft.config.conditioning import FuserConfig, T5Config
    from audiocraft.config.decode import encode
    from audiocraft.config.networks import CompressionConfig, LMConfig, TransformerLMConfig
    from audiocraft.models.builders import build_codec, build_lm
    from audiocraft.models.conversion import convert

    write_t5(folder / "hf" / "hub" / "models--t5-base", SIZES[size]["t5"])
    network = TransformerLMConfig(
        **SIZES[size]["lm"], cross_attention=True, bias_ff=False, bias_attn=False, bias_proj=False,
        norm_first=True, memory_efficient=True, custom=False,
    )  # fmt: skip
    lm_config = LMConfig(
        transformer_lm=network,
        conditioners={"description": T5Config(name="t5-base")},
        fuser=FuserConfig(cross=("description",)),
    )
    codec_config = CompressionConfig(sample_rate=32000)
    codec_config = replace(
        codec_config,
        encodec=replace(codec_config.encodec, sample_rate=32000),
        seanet=replace(codec_config.seanet, n_filters=SIZES[size]["filters"], ratios=(8, 5, 4, 4)),
        rvq=replace(codec_config.rvq, n_q=4, bins=2048, kmeans_init=False),
    )
    for kind, config, make in (("compression", codec_config, build_codec), ("lm", lm_config, build_lm)):
        state = make(config, device="meta").state_dict()
        tensors = {name: random_like(value) for name, value in state.items()}
        record = Checkpoint(kind=kind, config=encode(config), tensors=tensors, source=folder)  # type: ignore[arg-type]
        write_release(folder / "release", record)
        del tensors, record
    for target in ("ours", "transformers"):
        convert(folder / "release", folder / target, to=target)  # type: ignore[arg-type]


def random_like(like: Any) -> Any:
    """Make a tensor with the shape of `like`: one random block again and again, which is quicker than new numbers."""
    import torch

    if not like.is_floating_point():
        return torch.ones(like.shape, dtype=like.dtype)
    block = torch.randn(min(1 << 16, like.numel()), generator=torch.Generator().manual_seed(1)) * 0.02
    return block.repeat(-(-like.numel() // len(block)))[: like.numel()].reshape(like.shape)


def write_t5(folder: Path, shape: dict[str, int]) -> None:
    """Write a T5 encoder with random weights, as the hub's cache has it."""
    import tokenizers
    import torch
    from safetensors.torch import save_file

    from audiocraft.modules.conditioners.t5 import T5Architecture, T5Encoder

    commit = "0" * 40
    snapshot = folder / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commit)
    (snapshot / "config.json").write_text(json.dumps({"model_type": "t5", **shape}))
    with torch.device("meta"):
        state = T5Encoder(T5Architecture(**shape)).state_dict()
    tensors = {name: random_like(value).contiguous() for name, value in state.items()}
    save_file(tensors, snapshot / "model.safetensors", metadata={"format": "pt"})
    words = tokenizers.models.WordLevel({"<pad>": 0, "</s>": 1, "<unk>": 2}, unk_token="<unk>")
    tokenizers.Tokenizer(words).save(str(snapshot / "tokenizer.json"))


# ---------------------------------------------------------------------- loading, in a process of its own


def load(who: str, path: str) -> dict[str, float]:
    """Load a model -> seconds, bytes of weights, and bytes of memory at the peak."""
    if who == THEIRS:
        import transformers

        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        loader = transformers.MusicgenForConditionalGeneration  # its modules are imported here
    else:
        from audiocraft.models.loaders import load_generator as loader
    import torch

    torch.zeros(1).sum()
    before = status("VmHWM")
    begun, worked = time.perf_counter(), time.process_time()
    if who == THEIRS:
        networks = [loader.from_pretrained(path)]
    else:
        codec, lm, _ = loader(path)
        # The text encoder is no part of the language model's parameters: it is frozen.
        networks = [codec, lm, lm.condition_provider.conditioners["description"].t5]
    loaded = time.perf_counter()
    weights = {
        value.data_ptr(): value
        for network in networks
        for value in (*network.parameters(), *network.buffers())
    }
    checksum = sum(float(value.sum(dtype=torch.float32)) for value in weights.values())
    return {
        "seconds": time.perf_counter() - begun,
        "call": loaded - begun,
        "cpu": time.process_time() - worked,
        "weights": sum(value.nbytes for value in weights.values()),
        "peak": status("VmHWM") - before,
        "process": status("VmHWM"),
        "checksum": checksum,
    }


def status(name: str) -> int:
    """Return the bytes that Linux counts under `name` for this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {name}")


# ---------------------------------------------------------------------- the comparison


def child(folder: Path, *words: str) -> str:
    """Return what this script prints when it is called with `words`, without a network."""
    environment = {
        **os.environ,
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_OFFLINE": "1",
        "AUDIOCRAFT_CACHE_DIR": str(folder / "cache"),
    }
    environment.pop("HF_HUB_CACHE", None)
    command = [sys.executable, "-W", "ignore", __file__, *words]
    return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


def measure(folder: Path, repeat: int) -> dict[str, dict[str, float]]:
    """Measure, of each way to load, median time and largest peak. The first round only warms the disk's cache."""
    kinds = [(label, label, folder / name) for name, label in FORMATS.items()]
    kinds.append((THEIRS, THEIRS, folder / "transformers"))
    runs: dict[str, list[dict[str, float]]] = {label: [] for label, _, _ in kinds}
    for round_ in range(repeat + 1):
        for label, who, path in kinds:
            found = json.loads(child(folder, "--load", who, str(path)).splitlines()[-1])
            if round_:
                runs[label].append(found)
    return {
        label: {
            key: (max if key in ("peak", "process") else statistics.median)(run[key] for run in found)
            for key in found[0]
        }
        for label, found in runs.items()
    }


def verdict(results: dict[str, dict[str, float]]) -> dict[str, bool]:
    """Return what loading has to be, for each of our formats."""
    theirs = results[THEIRS]
    return {
        label: found["peak"] <= PEAK_ALLOWED * found["weights"]
        and found["process"] < theirs["process"]
        and found["seconds"] <= theirs["seconds"]
        for label, found in results.items()
        if label != THEIRS
    }


def report(results: dict[str, dict[str, float]]) -> None:
    table = Table("", "seconds", "CPU seconds", "weights GB", "peak GB", "peak / weights", "whole process GB")
    for label, found in results.items():
        gigabytes = [f"{found[key] / 1e9:.2f}" for key in ("weights", "peak", "process")]
        ratio = f"{found['peak'] / found['weights']:.2f}"
        times = [f"{found[key]:.2f}" for key in ("seconds", "cpu")]
        table.add_row(label, *times, *gigabytes[:2], ratio, gigabytes[2])
    Console(stderr=True).print(table)


def main() -> None:
    args = arguments()
    if args.build:
        build(args.build, args.size)
        return
    if args.load:
        sys.stdout.write(json.dumps(load(*args.load)) + "\n")
        return
    folder = args.keep or Path(tempfile.mkdtemp(prefix="audiocraft-loading-", dir=args.folder))
    try:
        if not (folder / "transformers").is_dir():
            child(folder, "--build", str(folder), "--size", args.size)
        results = measure(folder, args.repeat)
    finally:
        if not args.keep:
            shutil.rmtree(folder)
    report(results)
    document = {"size": args.size, "repeat": args.repeat, "results": results, "ok": verdict(results)}
    if args.json:
        args.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(document) + "\n")


if __name__ == "__main__":
    main()
