"""What fewer bits cost: teacher-forced cross-entropy of held-out music at each precision, beside float32.

The tokens are those of clips that no model was trained on; each code is predicted from all real codes before it, with
the text and the plan of its clip. The last line is JSON.

    python benchmarks/precision.py --model nano --clips 8
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from nano_parts import clips
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from audiocraft.audio.convert import convert_audio
from audiocraft.generation.guidance import fuse
from audiocraft.generation.request import GenerationRequest
from audiocraft.kernels.bindings import kernels
from audiocraft.models import MusicGen
from audiocraft.models.genmodel import BaseGenModel

REPOSITORY = Path(__file__).resolve().parent.parent
PRECISIONS = ("fp32", "bf16", "fp16", "int8", "int4")
# The most that cross-entropy may rise.
ALLOWED = {"bf16": 0.0005, "fp16": 0.0005, "int8": 0.005, "int4": 0.02}
SECONDS = 10.0
STEPS = 32  # read at a time, through the caches that generation uses


@torch.inference_mode()
def tokens_of(model: BaseGenModel, examples: Sequence[clips.Example]) -> list[Tensor]:
    """Return codes [1, K, T] of each clip."""
    codes = []
    for example in examples:
        wav = torch.from_numpy(example.wav).view(1, 1, -1)[..., : int(SECONDS * clips.SAMPLE_RATE)]
        wav = convert_audio(wav, clips.SAMPLE_RATE, model.sample_rate, model.audio_channels)
        codes.append(model.compression_model.encode(wav)[0])
    return codes


@torch.inference_mode()
def score(model: BaseGenModel, prompt: str, codes: Tensor) -> tuple[float, int, Tensor]:
    """Return the summed cross-entropy of a clip's codes in nats, their number, and the likeliest codes."""
    lm: Any = model.lm
    job = model.prepare(GenerationRequest(prompts=(prompt,), duration=SECONDS, seeds=(1,)))
    fused = fuse(lm, job.task.attributes)
    pattern = lm.pattern_provider.get_pattern(codes.shape[-1])
    sequence, _, _ = pattern.build_pattern_sequence(codes, lm.special_token_id)
    state = lm.init_state(1, sequence.shape[-1], fused)
    logits = torch.cat(
        [lm.logits(part, fused, state) for part in sequence[..., :-1].split(STEPS, dim=-1)], dim=2
    )
    wanted = sequence[..., 1:]
    real = wanted != lm.special_token_id
    loss = F.cross_entropy(logits[real].double(), wanted[real], reduction="sum")
    return float(loss), int(real.sum()), logits[real].argmax(-1)


def measure(
    name: str, precision: str, prompts: Sequence[str], codes: list[Tensor]
) -> tuple[float, list[Tensor]]:
    """Return the mean cross-entropy, and the likeliest codes of every clip."""
    model = MusicGen.get_pretrained(name, device="cpu", precision=precision)
    scores = [score(model, prompt, clip) for prompt, clip in zip(prompts, codes, strict=True)]
    mean = math.fsum(loss for loss, _, _ in scores) / sum(count for _, count, _ in scores)
    return mean, [likeliest for _, _, likeliest in scores]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="nano")
    parser.add_argument("--clips", type=int, default=8, help="held-out clips of ten seconds")
    parser.add_argument("--precisions", nargs="+", default=PRECISIONS, choices=PRECISIONS)
    parser.add_argument(
        "--work", type=Path, default=REPOSITORY / "runs" / "bench", help="where clips are kept"
    )
    options = parser.parse_args()
    console = Console(width=max(100, Console().width))
    examples = list(clips.music(options.clips, options.work / "clips"))
    prompts = [example.prompt for example in examples]
    reference = MusicGen.get_pretrained(options.model, device="cpu", precision="fp32")
    codes = tokens_of(reference, examples)
    del reference
    base, chosen = measure(options.model, "fp32", prompts, codes)
    table = Table("precision", "cross-entropy, nats", "more than fp32", "allowed", "same likeliest code")
    rows: dict[str, dict[str, float]] = {}
    for precision in options.precisions:
        mean, likeliest = measure(options.model, precision, prompts, codes)
        agree = torch.cat(likeliest).eq(torch.cat(chosen)).double().mean().item()
        rows[precision] = {"nats": mean, "more": mean / base - 1, "agreement": agree}
        allowed = f"{ALLOWED[precision]:+.2%}" if precision in ALLOWED else "-"
        table.add_row(precision, f"{mean:.5f}", f"{mean / base - 1:+.4%}", allowed, f"{agree:.2%}")
    console.print(table)
    found = kernels()
    found = {
        "benchmark": "precision",
        "model": options.model,
        "clips": options.clips,
        "kernels": None if found is None else {"lanes": found.lanes, "rounds": found.quantizes_activations},
        "precisions": rows,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
