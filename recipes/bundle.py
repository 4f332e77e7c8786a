"""Makes a bundled model of a run: its best weights, its configuration, its curve and a card to be finished.

usage: python recipes/bundle.py RUN NAME [--codec nano-wide] [--duration 10] [--dtype int8] [--into audiocraft/bundled]

The card has what the run says of itself; figures come from the benchmarks, and `recipes/cards.py NAME` adds those of
`audiocraft evaluate`. The model is loaded from where it was written, and makes a second of audio twice, which must be
the same. At the end stands what else a bundled model needs.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from audiocraft.checkpoints.families import of_solver
from audiocraft.checkpoints.read import read
from audiocraft.checkpoints.sources import BUNDLED
from audiocraft.errors import AudioCraftError
from audiocraft.generation.request import GenerationRequest
from audiocraft.models.loaders import load_model
from audiocraft.solvers.run_config import read_config
from audiocraft.solvers.runs import export
from audiocraft.utils.files import atomic_write

LICENCE = "MIT"
LEFT = (
    "the figures of its card: benchmarks/ of its family, then `python recipes/cards.py {name}`",
    'families/{family}.py: Release(repo="{name}") first in `releases`, and a short name if it has one',
    "README.md: its row among the bundled models; docs of its family: its name in the first example",
    "docs/compatibility.md where it names bundled models, docs/ko, CHANGELOG.md, recipes/queue.toml",
    "demos/: its notebook, `make notebooks`, and the table of tests/demos",
    "`audiocraft models`, `audiocraft generate x -m {name}`, the server's page: try them from a wheel (`make wheel`)",
)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("name", help="of the model, such as magnet-nano")
    parser.add_argument("--codec", help="what its codec is called; by default as the run calls it")
    parser.add_argument("--duration", type=float, help="seconds that it hears; by default those of a crop")
    parser.add_argument(
        "--dtype", default="float16", help="what weights are stored as: float16, or int8, a byte for each"
    )
    parser.add_argument("--into", type=Path, default=BUNDLED, help="the folder of bundled models")
    return parser.parse_args()


def card(run: Path, folder: Path, name: str, stored: str) -> str:
    """Write a model card of what the run says of itself."""
    config = read_config(run)
    family = of_solver(config.solver)
    checkpoint = read(folder, kind=family.kind.name)
    weights = sum(tensor.numel() for tensor in checkpoint.tensors.values())
    size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    meta = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("meta", {})
    metrics = ", ".join(f"{key} {value:.3f}" for key, value in meta.get("metrics", {}).items())
    codec = checkpoint.config.get("compression_model_checkpoint")
    rows = [
        ("data", f"`{config.datasource.train}` of `{config.datasource.root}` ([corpus](../../../docs/corpus.md))"),
        ("recipe", f"a run of `{config.solver}`, best after {meta.get('step')} steps; seed {config.seed}"),
        *([("codec", f"[`{codec}`](../{codec}/README.md)")] if codec else []),
        ("validation", metrics or "none"),
        ("training", "[curve](curve.csv)"),
        ("weights", f"{weights / 1e6:.1f} million, stored as {stored}, {size:.1f} MB"),
        ("licence", LICENCE),
    ]  # fmt: skip
    table = "\n".join(f"| {what} | {told} |" for what, told in rows)
    return f"# `{name}`: the bundled model of {family.title}\n\n| | |\n|---|---|\n{table}\n"


def plays(folder: Path) -> None:
    """Check that the model makes the same second twice."""
    model = load_model(str(folder))
    request = GenerationRequest(prompts=("calm piano, 90 bpm",), duration=1.0, seeds=(1,))
    one, other = (model.run(request).audio for _ in range(2))
    if not torch.equal(one, other) or not bool(one.isfinite().all()):
        raise SystemExit(f"{folder} does not make the same second twice")


def main() -> None:
    options = arguments()
    folder: Path = options.into / options.name
    if folder.exists():
        raise SystemExit(f"{folder} exists: remove it first, or choose another name")
    try:
        family = of_solver(read_config(options.run).solver)
        export(options.run, folder, codec=options.codec, dtype=options.dtype, max_duration=options.duration)
        atomic_write(folder / "README.md", card(options.run, folder, options.name, options.dtype))
        plays(folder)
    except AudioCraftError as error:
        raise SystemExit(f"error: {error}") from error
    print(f"{folder}; what is left:")
    for line in LEFT:
        print(f"- {line.format(name=options.name, family=family.name.replace('-', '_'))}")


if __name__ == "__main__":
    main()
