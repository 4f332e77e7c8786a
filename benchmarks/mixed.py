"""Eight requests of four families at once in one engine: how long the shortest waits, beside alone, and whether each
gets the audio that it gets alone.

    python benchmarks/mixed.py [--rounds 5] [--threads 1] [--json FILE]

MusicGen and the model of sounds are the bundled ones; MAGNeT and JASCO have random weights at the size of their nano
recipes, unless `--magnet` and `--jasco` name models. In every round the shortest is asked for alone, and then as the
last of all eight. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from audiocraft.bench.machine import describe
from audiocraft.checkpoints.write import write_model
from audiocraft.config.compose import compose
from audiocraft.config.decode import encode
from audiocraft.config.flow_training import JascoSolverConfig
from audiocraft.config.magnet_training import MagnetSolverConfig
from audiocraft.engine.engine import Engine
from audiocraft.engine.model_cache import ModelCache
from audiocraft.generation.request import FlowSettings, GenerationRequest, MaskedSettings
from audiocraft.models.builders import build_flow
from audiocraft.models.magnet_builder import build_magnet_lm

GOAL = 2.0
PATIENCE_S = 3600.0


def random_magnet(folder: Path) -> str:
    """Write a masked model of the nano recipe's size."""
    config = compose(["solver=magnet/nano"])
    assert isinstance(config, MagnetSolverConfig)
    tree = {**encode(config.network), "solver": "magnet"}
    lm = build_magnet_lm(config.network)
    return str(write_model(folder, kind="lm", family="magnet", config=tree, tensors=lm.state_dict()))


def random_jasco(folder: Path) -> str:
    """Write a flow of the nano recipe's size."""
    config = compose(["solver=jasco/nano"])
    assert isinstance(config, JascoSolverConfig)
    flow = build_flow(config.network)
    tree = encode(config.network)
    return str(write_model(folder, kind="lm", family="jasco", config=tree, tensors=flow.state_dict()))


def requests(magnet: str, jasco: str) -> list[tuple[str, GenerationRequest]]:
    """Return models and what they are asked for; the shortest is the last."""

    def asked(seconds: float, seed: int, **more: object) -> GenerationRequest:
        return GenerationRequest(prompts=("jazz trio",), duration=seconds, seeds=(seed,), **more)  # type: ignore[arg-type]

    masked, flow = MaskedSettings(steps=(10, 4)), FlowSettings(steps=10)
    return [
        ("musicgen-nano", asked(10.0, 1)),
        (magnet, asked(10.0, 2, masked=masked)),
        (jasco, asked(10.0, 3, flow=flow)),
        ("audiogen-nano", asked(10.0, 4)),
        ("musicgen-nano", asked(5.0, 5)),
        (magnet, asked(4.0, 6, masked=masked)),
        (jasco, asked(4.0, 7, flow=flow)),
        ("audiogen-nano", asked(1.0, 8)),
    ]


def run(engine: Engine, asked: list[tuple[str, GenerationRequest]]) -> tuple[float, list[torch.Tensor]]:
    """Return the seconds from asking for the last until it is ready, and the audio of all."""
    ready: dict[int, float] = {}
    tickets = []
    for number, (model, request) in enumerate(asked):

        def note(event: object, number: int = number) -> None:
            if type(event).__name__ == "Finished":
                ready[number] = time.perf_counter()

        began = time.perf_counter()
        tickets.append(engine.submit(request, model=model, on_event=note))
    made = [ticket.result(PATIENCE_S).audio for ticket in tickets]
    return ready[len(asked) - 1] - began, made


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--magnet", help="a model; by default random weights")
    parser.add_argument("--jasco", help="a model; by default random weights")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as place:
        asked = requests(
            options.magnet or random_magnet(Path(place, "magnet")),
            options.jasco or random_jasco(Path(place, "jasco")),
        )
        engine = Engine(ModelCache(), max_rows=32)
        alone = [run(engine, [one])[1][0] for one in asked]  # and what is made on first use
        waits, equal = [], [True] * len(asked)
        for number in range(options.rounds):
            by_itself = run(engine, asked[-1:])[0]
            together, made = run(engine, asked)
            waits.append((by_itself, together))
            equal = [
                so_far and torch.equal(one, other)
                for so_far, one, other in zip(equal, made, alone, strict=True)
            ]
            print(f"round {number + 1}: alone {by_itself:.2f} s, last of eight {together:.2f} s", flush=True)
        engine.close()
    single, company = (np.array(column) for column in zip(*waits, strict=True))
    document = {
        "benchmark": "mixed", "threads": options.threads, "rounds": waits,
        "machine": describe(torch.device("cpu"), quick=True).processor,
        "alone_median_s": float(np.median(single)), "p95_s": float(np.quantile(company, 0.95)),
        "ratio": float(np.quantile(company, 0.95) / np.median(single)),
        "paired_p95": float(np.quantile(company / single, 0.95)), "equal": sum(equal),
    }  # fmt: skip
    print(
        f"the shortest: alone {document['alone_median_s']:.2f} s (median), of eight {document['p95_s']:.2f} s (p95): "
        f"{document['ratio']:.2f} x, round by round {document['paired_p95']:.2f} x (goal {GOAL:g}); "
        f"{document['equal']} of {len(asked)} equal to alone"
    )
    text = json.dumps(document)
    if options.json is not None:
        options.json.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
