"""Measures what editing does: loops, endings, layers, words that are denied, and more, each beside its goal.

usage: python benchmarks/edit.py [--parts loops,endings] [--count N] [--full] [--model musicgen-nano] [--out FILE]

Without options a few pieces of each; `--full` makes as many as the goals are stated for. Needs the extra [analysis].
What is found of each piece is kept in the file of --out; a run that was cut off goes on there.
The last line of stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from audiocraft.models.loaders import load_compression_model, load_model
from audiocraft.workflows.render import identity_of
from benchmarks.edit_parts import endings, layers, loops, regions, words
from benchmarks.edit_parts.ears import open_ear, open_style_ear
from benchmarks.edit_parts.pieces import Ledger, Setup

PARTS: Mapping[str, tuple[Callable[[Setup], dict[str, Any]], int]] = {
    "loops": (loops.measure, 30),
    "endings": (endings.measure, 30),
    "layers": (layers.measure, 10),
    "words": (words.measure, 40),
    "regions": (regions.measure, 30),
    "styles": (regions.measure_styles, 20),
}
"""What measures each part, and how many pieces its goals are stated for."""
_FEW = 3
CODEC = "nano"
"""Ears hear clips as this codec plays them, which is nearer to what models make than the clips themselves."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="musicgen-nano", help="name or path of a model that takes plans")
    parser.add_argument("--parts", default=",".join(PARTS), help="which parts, by comma")
    parser.add_argument("--count", type=int, help="pieces of each part")
    parser.add_argument("--full", action="store_true", help="as many pieces as the goals are stated for")
    parser.add_argument("--rows", type=int, default=8, help="pieces that are made at once")
    parser.add_argument(
        "--corpus", type=Path, default=Path("runs/wide"), help="clips that the ears learn from"
    )
    parser.add_argument(
        "--ear", type=Path, default=Path("runs/edit/drums.safetensors"), help="where that for drums is kept"
    )
    parser.add_argument(
        "--style-ear",
        type=Path,
        default=Path("runs/edit/styles.safetensors"),
        help="where that for styles is",
    )
    parser.add_argument("--takes", type=int, default=1, help="of each layer, and of pieces in another style")
    parser.add_argument("--out", type=Path, help="JSON file of what was found of each piece")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    names = options.parts.split(",")
    unknown = set(names) - PARTS.keys()
    if unknown:
        raise SystemExit(f"unknown parts {', '.join(sorted(unknown))}; one of {', '.join(PARTS)}")
    model = load_model(options.model)
    codec = functools.cache(lambda: load_compression_model(CODEC))
    ear = functools.cache(lambda: open_ear(options.ear, options.corpus, codec()))
    style_ear = functools.cache(lambda: open_style_ear(options.style_ear, options.corpus, codec()))
    teaches = options.corpus.is_dir()
    hears = options.ear.is_file() or teaches
    ledger = Ledger(options.out, f"{identity_of(model).weights} seed {options.seed} rows {options.rows}")
    found = {}
    for name in names:
        measure, full = PARTS[name]
        count = options.count or (full if options.full else _FEW)
        started = time.perf_counter()
        if name == "words" and not hears:
            raise SystemExit(f"drums are heard by what {options.corpus} teaches: make it, or name --ear FILE")
        setup = Setup(model, count, options.rows, options.seed, ear, ledger, options.takes, hears,
                      style_ear if teaches else None)  # fmt: skip
        found[name] = measure(setup)
        found[name]["seconds"] = round(time.perf_counter() - started, 1)
        print(name)
        for what, value in found[name].items():
            print(f"  {what:<36} {value}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
