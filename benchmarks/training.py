"""What a training step costs beside a plain PyTorch loop over the same network with the same optimiser: a language
model of musicgen-small's widths with four layers, and the codec of 32 kHz. Steps of both alternate in one process, so
that what else the machine does meets both; figures are medians over pairs. And how fast batches come without a step.

    python benchmarks/training.py [--pairs 9] [--only lm|codec] [--batch 2] [--seconds 1.0]

One thread. Times are those of the processor, since others may use the machine too; `wall` is said beside them. The
largest memory is that of processes that do nothing else: each builds its model anew, loads the same batches and takes
ten steps; three of each kind in turns, whose medians are compared. It prints one JSON document.
"""

from __future__ import annotations

import argparse
import gzip
import json
import resource
import statistics
import subprocess
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
NAMES = {"lm": "musicgen, four layers of small's widths", "codec": "codec of 32 kHz"}
STEPS_OF_PEAK = 10
Step = Callable[[], None]


def corpus(root: Path) -> None:
    """Write a few clips of noise with words beside them, and a manifest."""
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
    """Build a solver of musicgen-small's widths: 1024, 16 heads, four codebooks of 2048 codes; four layers, told in
    words."""
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
    """Return the loop that one would write: forward, cross entropy, backward, clipping, AdamW, a schedule."""
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
    """Build the codec of 32 kHz with its losses in the time domain and of mel spectra, without adversaries: a plain
    loop has none. Its first codes are random, and its first step, in which a run places them, is left out."""
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
    """Return the plain step: forward, the same two losses, backward, clipping, Adam."""
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
    """Return a step as the solver takes it, with what its loop does around it."""
    turn = iter(range(10**9))

    def step() -> None:
        metrics = solver.train_step(batches[next(turn) % len(batches)])
        solver.step += 1
        solver.averages.add(metrics)
        solver.recent.add(metrics)
        solver._check_gradients()

    return step


def seconds(step: Step) -> tuple[float, float]:
    """Return the seconds of the processor and of the clock."""
    wall, used = time.perf_counter(), time.process_time()
    step()
    return time.process_time() - used, time.perf_counter() - wall


def peak_here(name: str, kind: str, options: argparse.Namespace) -> float:
    """Return the largest memory of this process after it has taken some steps of one kind, MB."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        solver, plain = built(name, root, options)
        solver.prepare()
        batches = [solver.load_batch(step) for step in range(4)]
        solver.training_mode()  # for both: in evaluation no gradient reaches the encoder through the codes
        step = ours(solver, batches) if kind == "ours" else plain(solver, batches)
        for _ in range(STEPS_OF_PEAK):
            step()
    return most_memory_mb()


def most_memory_mb() -> float:
    """Return the largest memory of this process since it began. Not `ru_maxrss`, with which a process that another one
    started has at least as much as that one had."""
    status = Path("/proc/self/status")
    if status.exists():
        return float(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def peaks(name: str, options: argparse.Namespace) -> dict[str, list[float]]:
    """Return the largest memory of fresh processes of both kinds, in turns, MB."""
    found: dict[str, list[float]] = {"ours": [], "plain": []}
    for _ in range(options.peaks):
        for kind, own in found.items():
            words = [
                "--peak",
                kind,
                "--only",
                name,
                "--batch",
                str(options.batch),
                "--seconds",
                str(options.seconds),
            ]
            done = subprocess.run(
                [sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True, check=True
            )
            own.append(float(done.stdout))
    return found


def built(name: str, root: Path, options: argparse.Namespace) -> tuple[Any, Callable[[Any, list[Any]], Step]]:
    """Return a solver, and what makes the plain loop over its network."""
    corpus(root)
    init_seed_and_system(compose(["solver=compression/debug", "num_threads=1"]))
    return (
        (language_model(root, options), plain_language_model)
        if name == "lm"
        else (codec(root, options), plain_codec)
    )


def compare(solver: Any, plain: Callable[[Any, list[Any]], Step], pairs: int) -> dict[str, Any]:
    """Return medians over pairs of steps, and how much faster batches come than steps go."""
    solver.prepare()
    began = time.process_time()
    batches = [solver.load_batch(step) for step in range(4)]
    loading = (time.process_time() - began) / len(batches)
    solver.training_mode()
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
        "loading_s": round(loading, 4), "batches_per_step": round(median(a[0] for a, _ in times) / loading, 1),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--only", choices=tuple(NAMES))
    parser.add_argument(
        "--peaks", type=int, default=3, help="processes of each kind whose memory is measured"
    )
    parser.add_argument("--peak", choices=("ours", "plain"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.peak is not None:
        sys.stdout.write(f"{peak_here(options.only, options.peak, options)}\n")
        return
    found: dict[str, Any] = {"pairs": options.pairs, "batch": options.batch, "seconds": options.seconds}
    for name in [options.only] if options.only else NAMES:
        memory = peaks(name, options)
        own, plain = (statistics.median(memory[kind]) for kind in ("ours", "plain"))
        found[NAMES[name]] = {
            "peaks_mb": {kind: [round(one) for one in each] for kind, each in memory.items()},
            "memory": round(own / plain, 4),
        }
        if options.pairs:
            with tempfile.TemporaryDirectory() as folder:
                found[NAMES[name]] |= compare(*built(name, Path(folder), options), options.pairs)
    sys.stdout.write(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
