"""Ten seconds of MAGNeT at a released size, random weights: packed weights in the kernels beside the original's way in
plain torch fp32, which makes the logits of all codebooks in every pass. Both go in turns, so that what else the
machine does falls on both; besides the time on the wall there is that of the processor, which others disturb less.
The last line is JSON.

    python benchmarks/magnet.py [--size small] [--layers 4] [--precision int8] [--rounds 3] [--threads 1]

A piece has as many passes either way, so its ratio is that of passes, which are measured one by one: those of the
first codebook, which see everything, and those of the others, which see what is near.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable

import torch
from torch.nn import functional as F

from audiocraft.bench.baselines import SIZES, size_called
from audiocraft.config.conditioning import FuserConfig
from audiocraft.config.magnet import MagnetConfig, MagnetTransformerConfig
from audiocraft.kernels.build import level_name
from audiocraft.models.lm_magnet import MagnetLMModel
from audiocraft.models.magnet_builder import build_magnet_lm
from audiocraft.modules.conditioners import Fused
from audiocraft.modules.packing import pack_model

FRAMES, BRANCHES = 500, 2
PASSES = (20, 10, 10, 10)
GOAL = 4.0
_Times = tuple[float, float]


def timed(work: Callable[[], object]) -> _Times:
    """Return the seconds on the wall and of the processor."""
    wall, processor = time.perf_counter(), time.process_time()
    with torch.inference_mode():
        work()
    return time.perf_counter() - wall, time.process_time() - processor


def in_turns(first: Callable[[], object], second: Callable[[], object], rounds: int) -> tuple[_Times, _Times]:
    """Return the least times of both, each a pass."""
    found = [(timed(first), timed(second)) for _ in range(rounds)]

    def least(side: int) -> _Times:
        return min(pair[side][0] for pair in found), min(pair[side][1] for pair in found)

    return least(0), least(1)


def passes(plain: MagnetLMModel, packed: MagnetLMModel, stage: int, rounds: int) -> dict[str, float]:
    """Time a pass with both branches of guidance, each way."""
    codes = torch.randint(plain.card, (BRANCHES, plain.n_q, FRAMES))
    theirs, ours = in_turns(
        lambda: plain.forward(codes, [], {}, stage),
        lambda: packed.strands_logits([(codes, Fused(), stage)]),
        rounds,
    )
    return {
        "stage": stage, "torch_s": theirs[0], "ours_s": ours[0], "ratio": theirs[0] / ours[0],
        "torch_cpu_s": theirs[1], "ours_cpu_s": ours[1], "cpu_ratio": theirs[1] / ours[1],
    }  # fmt: skip


def products(plain: MagnetLMModel, packed: MagnetLMModel, rounds: int) -> dict[str, float]:
    """Time the largest product of a pass, each way: billions of multiplications and additions a second."""
    x = torch.randn(BRANCHES * FRAMES, plain.dim)
    one, other = plain.transformer.layers[0].linear1, packed.transformer.layers[0].linear1
    theirs, ours = in_turns(lambda: F.linear(x, one.weight), lambda: other(x), 3 * rounds)
    count = 2e-9 * x.shape[0] * one.weight.numel()
    return {"torch_gflops": count / theirs[1], "ours_gops": count / ours[1]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=tuple(SIZES), default="small")
    parser.add_argument("--layers", type=int, help="fewer than the size has: a pass is as many times faster")
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    size = size_called(options.size)
    layers = options.layers or size.layers
    shape = MagnetTransformerConfig(dim=size.dim, num_heads=size.heads, num_layers=layers)
    plain = build_magnet_lm(MagnetConfig(conditioners={}, fuser=FuserConfig(), transformer_lm=shape))
    packed = copy.deepcopy(plain)
    pack_model(packed.transformer, packed.linears, options.precision)
    rows = [passes(plain, packed, stage, options.rounds) for stage in (0, 1)]
    first, others = PASSES[0], sum(PASSES[1:])
    piece = {
        key: first * rows[0][key] + others * rows[1][key]
        for key in ("torch_s", "ours_s", "torch_cpu_s", "ours_cpu_s")
    }
    document = {
        "benchmark": "magnet", "size": options.size, "layers": layers, "precision": options.precision,
        "threads": options.threads, "level": level_name(), "passes": rows,
        "products": products(plain, packed, options.rounds), "piece": piece,
        "ratio": piece["torch_s"] / piece["ours_s"], "cpu_ratio": piece["torch_cpu_s"] / piece["ours_cpu_s"],
    }  # fmt: skip
    for row in rows:
        print(
            f"codebook {row['stage'] + 1}: torch {row['torch_s']:.3f} s, {options.precision} {row['ours_s']:.3f} s, "
            f"{row['ratio']:.2f} x on the wall, {row['cpu_ratio']:.2f} x of the processor"
        )
    print(
        f"10 s in {sum(PASSES)} passes at level {document['level']}: {document['ratio']:.2f} x (goal {GOAL:g}), "
        f"{document['cpu_ratio']:.2f} x of the processor"
    )
    print(json.dumps(document))


if __name__ == "__main__":
    main()
