"""One masked pass over 10 s at the size of magnet-small, random weights: int8 in the kernels beside fp32 in torch,
alternating in one run. Both make as many passes for a piece, so the ratio of a pass is that of the piece.

    python benchmarks/magnet.py [--rounds N] [--precision int8]
"""

from __future__ import annotations

import argparse
import copy
import json
import time

import torch

from audiocraft.config.conditioning import FuserConfig
from audiocraft.config.magnet import MagnetConfig
from audiocraft.models.lm_magnet import MagnetLMModel
from audiocraft.models.magnet_builder import build_magnet_lm
from audiocraft.modules.conditioners import Fused
from audiocraft.modules.packing import pack_model

FRAMES = 500
BRANCHES = 2


def seconds(lm: MagnetLMModel, codes: torch.Tensor, stage: int) -> float:
    """Of one pass with both branches of guidance."""
    started = time.perf_counter()
    with torch.inference_mode():
        lm.stage_logits(codes, Fused(), stage)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", default="int8")
    options = parser.parse_args()
    torch.manual_seed(0)
    plain = build_magnet_lm(MagnetConfig(conditioners={}, fuser=FuserConfig()))
    packed = copy.deepcopy(plain)
    pack_model(packed.transformer, packed.linears, options.precision)
    codes = torch.randint(plain.card, (BRANCHES, plain.n_q, FRAMES))
    for stage in (0, 1):
        pairs = [(seconds(plain, codes, stage), seconds(packed, codes, stage)) for _ in range(options.rounds)]
        fp32, ours = (min(column) for column in zip(*pairs, strict=True))
        print(
            json.dumps({"stage": stage, "fp32_s": fp32, f"{options.precision}_s": ours, "ratio": fp32 / ours})
        )


if __name__ == "__main__":
    main()
