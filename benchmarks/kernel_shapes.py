"""Random shapes through every kernel, for as long as one likes, against results in float64.

    python benchmarks/kernel_shapes.py --minutes 30 [--seed 0] [--sanitize]

Each round draws products, transformers, codecs and LSTMs of random sizes, writes them with torch's results in float64
and runs the C harness of the tests over them, on the level of this processor. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "kernels"))

from cases import write_random_cases
from levels import native, way

_EACH = 20


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0, help="of the first round; each round counts on")
    parser.add_argument("--sanitize", action="store_true", help="with the sanitizers, slower")
    options = parser.parse_args()
    level = native()
    found = way(level, sanitize=options.sanitize)
    if isinstance(found, str):
        print(f"{level}: {found}", file=sys.stderr)
        return 1
    rounds, cases, failed, worst = 0, 0, 0, 0.0
    until = time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory(prefix="audiocraft-kernels-") as name:
        folder = Path(name)
        program = found.build(folder, sanitize=options.sanitize)
        while time.monotonic() < until:
            write_random_cases(folder / "cases", options.seed + rounds, _EACH)
            done = found.run(program, folder / "cases")
            numbers = re.search(r"(\d+) cases, \d+ not .*, (\d+) failed, worst ([\d.]+)", done.stdout)
            cases += int(numbers[1]) if numbers else 0
            worst = max(worst, float(numbers[3])) if numbers else worst
            if done.returncode:
                failed += int(numbers[2]) if numbers else 1
                print(f"seed {options.seed + rounds}:\n{done.stderr}", flush=True)
            rounds += 1
    print(
        json.dumps(
            {"level": level, "rounds": rounds, "cases": cases, "failed": failed, "worst_of_tolerance": worst}
        )
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
