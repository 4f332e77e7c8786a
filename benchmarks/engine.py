"""Measures the engine: requests that join at random steps, many at once, and hours of music.

usage: python benchmarks/engine.py [--model nano | --size small] [--precision int8] [--requests 8] [--seconds 10]
                                   [--minutes 60] [--threads N] [--json FILE]

Joining: each request waits until the others have come a random number of steps, then joins; its codes are compared
with those of the same request alone, and the time of all with that of one after the other. Batch: all at once.
Hours: `--minutes` of one piece, streamed and thrown away; after each minute, how much memory the process has and how
loud the minute was. 0 leaves a part out. The last line of stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import random
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from audiocraft.audio.loudness import integrated_loudness
from audiocraft.bench.baselines import random_model
from audiocraft.bench.machine import describe, resident_bytes
from audiocraft.bench.measure import PROMPT, measure_company
from audiocraft.engine.engine import Engine, Ticket
from audiocraft.engine.model_cache import ModelCache
from audiocraft.generation.events import Event, Progress
from audiocraft.generation.request import GenerationRequest
from audiocraft.generation.windows import rows_of
from audiocraft.models.genmodel import BaseGenModel

PROMPTS = (PROMPT, "happy rock with drums, 120 bpm", "dark ambient strings", "funk bass and brass in G", "")
LATEST_JOIN = 0.25  # of the steps of one request


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="nano", help="name or path of a model")
    parser.add_argument("--size", help="random weights of a released size instead: small, medium, large")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--requests", type=int, default=8, help="that share the steps")
    parser.add_argument("--seconds", type=float, default=10.0, help="of audio of each")
    parser.add_argument("--minutes", type=int, default=60, help="of the long piece")
    parser.add_argument("--threads", type=int, help="of the CPU")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here too")
    return parser.parse_args()


class Joining:
    """This object counts the steps of all requests, and lets others wait for a number of them."""

    def __init__(self) -> None:
        self.steps = 0
        self.changed = threading.Condition()

    def note(self, event: Event) -> None:
        if isinstance(event, Progress):
            with self.changed:
                self.steps += 1
                self.changed.notify_all()

    def wait_for(self, steps: int) -> None:
        with self.changed:
            self.changed.wait_for(lambda: self.steps >= steps)


@dataclass(frozen=True, kw_only=True)
class Joined:
    requests: int
    codes_equal: int
    alone_s: float
    together_s: float
    times_as_fast: float
    audio_s_per_s: float


def measure_joining(model: BaseGenModel, requests: list[GenerationRequest], rng: random.Random) -> Joined:
    """Measure each alone, one after the other; then together, joining at random steps."""
    began = time.perf_counter()
    alone = [model.run(request).codes for request in requests]
    alone_s = time.perf_counter() - began
    steps = alone[0].shape[-1]
    joins = sorted(rng.randrange(max(1, round(LATEST_JOIN * steps))) for _ in requests[1:])
    engine = Engine(ModelCache(load=lambda _: model), max_rows=sum(map(rows_of, requests)))
    joining, tickets = Joining(), list[Ticket]()
    began = time.perf_counter()
    for request, join in zip(requests, [0, *joins], strict=True):
        joining.wait_for(join)  # steps of all, so that later ones come faster after one another
        tickets.append(engine.submit(request, model=model.name, on_event=joining.note))
    results = [ticket.result() for ticket in tickets]
    together_s = time.perf_counter() - began
    engine.close()
    equal = sum(torch.equal(one, result.codes) for one, result in zip(alone, results, strict=True))
    total = sum(request.duration for request in requests)
    return Joined(
        requests=len(requests),
        codes_equal=equal,
        alone_s=alone_s,
        together_s=together_s,
        times_as_fast=alone_s / together_s,
        audio_s_per_s=total / together_s,
    )


@dataclass(frozen=True, kw_only=True)
class Minute:
    minute: int
    resident_mb: float
    loudness: float
    seconds_taken: float


def measure_hours(model: BaseGenModel, minutes: int, console: Console) -> list[Minute]:
    """Measure one long piece in constant memory, minute by minute."""
    request = GenerationRequest(prompts=(PROMPT,), duration=60.0 * minutes, seeds=(1,))
    found: list[Minute] = []
    waiting: list[torch.Tensor] = []
    size, began = 60 * model.sample_rate, time.perf_counter()
    for chunk in model.stream(request):
        waiting.append(chunk.audio)
        if sum(part.shape[-1] for part in waiting) < size:
            continue
        audio = torch.cat(waiting, dim=-1)
        waiting = [audio[:, size:].clone()]
        taken = time.perf_counter() - began
        # The meter takes memory too, from the first minute on: it listens before the memory is read.
        loudness = float(integrated_loudness(audio[:, :size], model.sample_rate))
        resident = (resident_bytes() or 0) / 1e6
        number = len(found) + 1
        found.append(Minute(minute=number, resident_mb=resident, loudness=loudness, seconds_taken=taken))
        began = time.perf_counter()
        console.print(found[-1], highlight=False)
    return found


def summary(minutes: list[Minute]) -> dict[str, Any]:
    """Return how far memory and loudness leave what they were in the first minute."""
    first = minutes[0]
    return {
        "minutes": len(minutes),
        "real_time_factor": sum(each.seconds_taken for each in minutes) / (60 * len(minutes)),
        "resident_mb": [first.resident_mb, max(each.resident_mb for each in minutes)],
        "resident_growth": max(each.resident_mb for each in minutes) / first.resident_mb - 1,
        "loudness_first": first.loudness,
        "loudness_away": max(abs(each.loudness - first.loudness) for each in minutes),
        "each": [asdict(each) for each in minutes],
    }


def load(options: argparse.Namespace) -> BaseGenModel:
    device = torch.device(options.device)
    if options.size:
        return random_model(options.size, device=device, precision=options.precision)
    return ModelCache(device=device, precision=options.precision).get(options.model)


def main() -> None:
    options = arguments()
    if options.threads:
        torch.set_num_threads(options.threads)
    console = Console(stderr=True)
    model, rng = load(options), random.Random(options.seed)
    requests = [
        GenerationRequest(prompts=(PROMPTS[index % len(PROMPTS)],), duration=options.seconds, seeds=(index,))
        for index in range(options.requests)
    ]
    model.run(
        replace(requests[0], duration=1.0) if requests else GenerationRequest(prompts=("",), duration=1.0)
    )
    results: dict[str, Any] = {
        "machine": asdict(describe(model.device)),
        "model": model.name,
        "precision": options.precision,
    }
    table = Table("Measure", "Value", title=f"{model.name}, {options.precision}")
    if requests:
        joined = measure_joining(model, requests, rng)
        results["joining"] = asdict(joined)
        table.add_row(f"{joined.requests} join: codes equal to alone", f"{joined.codes_equal}")
        table.add_row("as fast as one after the other", f"{joined.times_as_fast:.2f} times")
        company = measure_company(model, requests[0], options.requests)
        results["batch"] = asdict(company) | {"real_time_factor": 1 / company.audio_s_per_s}
        table.add_row(f"{company.requests} at once", f"{company.audio_s_per_s:.2f} s of audio per second")
    if options.minutes:
        results["hours"] = summary(measure_hours(model, options.minutes, console))
        table.add_row(
            "memory beyond the first minute's", f"{100 * results['hours']['resident_growth']:.1f} %"
        )
        table.add_row("loudness away from the first minute's", f"{results['hours']['loudness_away']:.2f} LU")
    Console().print(table)
    document = json.dumps(results)
    if options.json:
        options.json.write_text(document + "\n", encoding="utf-8")
    print(document)


if __name__ == "__main__":
    main()
