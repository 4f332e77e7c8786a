"""Measures how much slower work in threads gets while another program computes.

usage: python benchmarks/busy.py [--seconds 4] [--waits torch 1000]

A program of a session of its own keeps one core busy. The same piece is made by the bundled model, and the same
small convolutions are done, on the quiet and on the busy machine, with torch's threads waiting as they do by themselves
("torch") or for so many turns (decision 203). The last line of stdout is one JSON document of milliseconds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys

WORK = """
import json, statistics, sys, time
import torch
from audiocraft.models import MusicGen
model = MusicGen.get_pretrained("musicgen-nano")
model.set_generation_params(duration=float(sys.argv[1]))
convolution, audio = torch.nn.Conv1d(64, 64, 7), torch.randn(1, 64, 2000)
def median(work, times):
    took = []
    for _ in range(times):
        begun = time.perf_counter(); work(); took.append(time.perf_counter() - begun)
    return round(1000 * statistics.median(took), 1)
model.generate(["jazz"])
with torch.inference_mode():
    print(json.dumps({
        "generate": median(lambda: model.generate(["jazz"]), 7),
        "convolutions": median(lambda: [convolution(audio) for _ in range(50)], 7),
    }))
"""
BUSY = "while True: pass"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=4, help="of music")
    parser.add_argument("--waits", nargs="+", default=["torch", "1000"])
    options = parser.parse_args()
    found = {}
    for waits in options.waits:
        # An empty value counts as said, and OpenMP reads it as unsaid.
        environment = {**os.environ, "GOMP_SPINCOUNT": "" if waits == "torch" else waits}
        for others in (0, 1):
            busy = [
                subprocess.Popen([sys.executable, "-c", BUSY], start_new_session=True) for _ in range(others)
            ]
            try:
                answer = subprocess.run(
                    [sys.executable, "-c", WORK, str(options.seconds)],
                    env=environment,
                    check=True,
                    capture_output=True,
                    text=True,
                )
            finally:
                for process in busy:
                    process.kill()
            took = json.loads(answer.stdout.splitlines()[-1])
            found[f"{waits}, {'busy' if others else 'quiet'}"] = took
            print(
                f"waits {waits:>6}, {others} other program(s): {took['generate']:8.1f} ms of making music, "
                f"{took['convolutions']:8.1f} ms of convolving"
            )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
