"""What a training step costs beside a plain PyTorch loop over the same network with the same optimiser: a language
model of musicgen-small's widths with four layers, and the codec of 32 kHz. Steps of both alternate in one process, so
that what else the machine does meets both; figures are medians over pairs. And how fast batches come without a step.

    python benchmarks/training.py [--pairs 9] [--only lm|codec] [--batch 2] [--seconds 1.0]

One thread. Times are those of the processor, since others may use the machine too; `wall` is said beside them. It
prints one JSON document.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor
from torch.nn import functional as F

from audiocraft.config.compose import compose
from audiocraft.solvers.builders import build_solver
from audiocraft.train import init_seed_and_system

RATE, CLIPS, CLIP_S = 32000, 6, 4.0
Step = Callable[[], None]


def corpus(root: Path) -> None:
    """A few clips of noise with words beside them, and a manifest."""
    lines = []
    for clip in range(CLIPS):
        path = root / f"{clip}.wav"
        noise = np.random.default_rng(clip).normal(0, 0.1, int(RATE * CLIP_S))
        soundfile.write(path, noise, RATE, subtype="PCM_16")
        path.with_suffix(".json").write_text(json.dumps({"description": f"noise number {clip}"}))
        lines.append(json.dumps({"path": path.name, "duration": CLIP_S, "sample_rate": RATE}))
    folder = root / "egs" / "all"
    folder.mkdir(parents=True)
    (folder / "data.jsonl.gz").write_bytes(gzip.compress(("\n".join(lines) + "\n").encode()))


def settings(root: Path, options: argparse.Namespace) -> list[str]:
    return [
        "device=cpu", "num_threads=1", "autocast=false", f"datasource.root={root}", "datasource.mix=[]",
        *(f"datasource.{split}=egs/all" for split in ("train", "valid", "evaluate", "generate")),
        "datasource.max_sample_rate=48000", "datasource.max_channels=2",
        f"dataset.batch_size={options.batch}", f"dataset.segment_duration={options.seconds}", "dataset.num_workers=0",
        "dataset.train.num_samples=null", "evaluate.every=null", "generate.every=null",
        "optim.updates_per_epoch=1000", "optim.epochs=1",
    ]  # fmt: skip


def language_model(root: Path, options: argparse.Namespace) -> Any:
    """A solver of musicgen-small's widths: 1024, 16 heads, four codebooks of 2048 codes; four layers, told in words."""
    small = ["seanet.n_filters=4", "seanet.dimension=16"]  # it only encodes the clips, once
    codes: Any = build_solver(
        compose(["solver=compression/encodec_musicgen_32khz", *settings(root, options), *small]),
        root / "codes",
    )
    codes.files.write_config(codes.config, started=False)
    codes._keep_best({codes.best_metric: 0.0})
    return build_solver(
        compose(
            [
                "solver=musicgen/nano", *settings(root, options), f"compression_model_checkpoint={root / 'codes'}",
                "sample_rate=32000", "channels=1", "transformer_lm.dim=1024", "transformer_lm.num_heads=16",
                "transformer_lm.num_layers=4", "transformer_lm.card=2048", "transformer_lm.n_q=4",
                "transformer_lm.dropout=0.0", "frame_dropout.share=0", "frame_dropout.blind_rows=0",
                f"cache.path={root / 'tokens'}", "optim.ema.use=false",
            ]
        ),
        root / "lm-run",
    )  # fmt: skip


def plain_language_model(solver: Any, batches: list[Any]) -> Step:
    """The loop that one would write: forward, cross entropy, backward, clipping, AdamW, a schedule."""
    model, config = solver.lm, solver.config
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.optim.lr, betas=config.optim.adam.betas,
                                  weight_decay=config.optim.adam.weight_decay, fused=True)  # fmt: skip
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
    turn = iter(range(10**9))

    def step() -> None:
        batch = batches[next(turn) % len(batches)]
        out = model.compute_predictions(batch.codes, list(batch.attributes))
        targets = batch.codes.masked_fill(~out.mask, -100)
        losses = [F.cross_entropy(out.logits[:, k].flatten(0, 1), targets[:, k].flatten()) for k in range(4)]
        torch.stack(losses).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.optim.max_norm or 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()

    return step


def codec(root: Path, options: argparse.Namespace) -> Any:
    """The codec of 32 kHz with its losses in the time domain and of mel spectra, without adversaries: a plain loop has
    none. Its first codes are random, and its first step, in which a run places them, is left out."""
    solver: Any = build_solver(
        compose(
            [
                "solver=compression/encodec_musicgen_32khz", *settings(root, options), "losses.adv=0.0",
                "losses.feat=0.0", "losses.l1=0.1", "losses.msspec=2.0", "optim.ema.use=false",
                "balancer.balance_grads=false", "rvq.kmeans_init=false",
            ]
        ),
        root / "codec-alone",
    )  # fmt: skip
    solver.step = 1
    return solver


def plain_codec(solver: Any, batches: list[Tensor]) -> Step:
    """Forward, the same two losses, backward, clipping, Adam."""
    model, config = solver.model, solver.config
    optimizer = torch.optim.Adam(
        model.parameters(), lr=config.optim.lr, betas=config.optim.adam.betas, fused=True
    )
    weights = {"l1": 0.1, "msspec": 2.0}
    losses = {name: solver.losses[name] for name in weights}
    turn = iter(range(10**9))

    def step() -> None:
        audio = batches[next(turn) % len(batches)]
        result = model(audio)
        total = sum(weights[name] * loss(result.x, audio) for name, loss in losses.items())
        if result.penalty is not None:
            total = total + result.penalty
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.optim.max_norm or 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def ours(solver: Any, batches: list[Any]) -> Step:
    """A step as the solver takes it, with what its loop does around it."""
    turn = iter(range(10**9))
    solver.training_mode()

    def step() -> None:
        metrics = solver.train_step(batches[next(turn) % len(batches)])
        solver.step += 1
        solver.averages.add(metrics)
        solver.recent.add(metrics)
        solver._check_gradients()

    return step


def seconds(step: Step) -> tuple[float, float]:
    """Of the processor and of the clock."""
    wall, used = time.perf_counter(), time.process_time()
    step()
    return time.process_time() - used, time.perf_counter() - wall


def peak(made: Callable[[], Step]) -> float:
    """The largest memory of a process of its own that takes three steps, MB."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        step = made()
        for _ in range(3):
            step()
        os.write(writer, str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024).encode())
        os._exit(0)
    os.waitpid(child, 0)
    return float(os.read(reader, 100))


def compare(solver: Any, plain: Callable[[Any, list[Any]], Step], pairs: int) -> dict[str, Any]:
    """Medians over pairs of steps, and how much faster batches come than steps go."""
    solver.prepare()
    began = time.process_time()
    batches = [solver.load_batch(step) for step in range(4)]
    loading = (time.process_time() - began) / len(batches)
    memory, memory_plain = peak(lambda: ours(solver, batches)), peak(lambda: plain(solver, batches))
    beside, own = plain(solver, batches), ours(solver, batches)
    beside()
    own()
    times = [
        (seconds(own), seconds(beside)) if pair % 2 else (seconds(beside), seconds(own))[::-1]
        for pair in range(pairs)
    ]
    median = statistics.median
    return {
        "step_s": round(median(a[0] for a, _ in times), 4),
        "plain_s": round(median(b[0] for _, b in times), 4),
        "time": round(median(a[0] / b[0] for a, b in times), 4),
        "wall": round(median(a[1] / b[1] for a, b in times), 4),
        "peak_mb": round(memory), "peak_plain_mb": round(memory_plain), "memory": round(memory / memory_plain, 4),
        "loading_s": round(loading, 4), "batches_per_step": round(median(a[0] for a, _ in times) / loading, 1),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--only", choices=("lm", "codec"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {"pairs": options.pairs, "batch": options.batch, "seconds": options.seconds}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        corpus(root)
        init_seed_and_system(compose(["solver=compression/debug", "num_threads=1"]))
        if options.only != "codec":
            found["musicgen, four layers of small's widths"] = compare(
                language_model(root, options), plain_language_model, options.pairs
            )
        if options.only != "lm":
            found["codec of 32 kHz"] = compare(codec(root, options), plain_codec, options.pairs)
    sys.stdout.write(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
