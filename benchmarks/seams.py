"""Measures whether the joints of windows can be heard in long pieces.

usage: python benchmarks/seams.py [--model nano] [--seconds 120] [--pieces 4] [--stride S] [--free-level]

For each piece, the change of spectrum and of level at the places where one window takes over from another, against
all other places. A chance of 0.5 means that a seam is no different from any other place. The last line of stdout is
one JSON document.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from audiocraft.generation.request import GenerationRequest, WindowSettings
from audiocraft.metrics.seams import measure_seams
from audiocraft.models import MusicGen

PROMPTS = (
    "calm piano in A minor, 80 bpm",
    "happy rock with drums, 120 bpm",
    "dark ambient strings",
    "funk bass and brass in G, 104 bpm",
)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="nano", help="name or path of a model")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=120.0, help="of each piece")
    parser.add_argument("--pieces", type=int, default=4)
    parser.add_argument("--stride", type=float, help="seconds between windows")
    parser.add_argument("--free-level", action="store_true", help="without the level anchor")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    model = MusicGen.get_pretrained(options.model, device=options.device)
    pieces = []
    for number in range(options.pieces):
        request = GenerationRequest(
            prompts=(PROMPTS[number % len(PROMPTS)],),
            duration=options.seconds,
            seeds=(options.seed + number,),
            window=WindowSettings(stride=options.stride, level_anchor=not options.free_level),
        )
        seams = model.seams(model.prepare(request))
        pieces.append((model.run(request).audio[0].cpu(), seams))
        print(f"{request.prompts[0]}: {len(seams)} seams")
    found = measure_seams(pieces, model.sample_rate)
    for name, contrast in (("flux", found.flux), ("level", found.level)):
        print(
            f"{name:<6} {contrast.at_seams:6.2f} dB at {found.count} seams  {contrast.elsewhere:6.2f} dB elsewhere  "
            f"chance that a seam is above {contrast.chance_above:.2f}"
        )
    print(json.dumps({"model": options.model, "seconds": options.seconds, **asdict(found)}))


if __name__ == "__main__":
    main()
