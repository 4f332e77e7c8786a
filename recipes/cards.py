"""Writes the figures of `audiocraft evaluate` into the cards of bundled models.

usage: python recipes/cards.py MODEL... [--pieces 40] [--work runs/cards] [--corpus runs/wide] [--seed 1]

For a model of music: pieces for held-out prompts, beside the clips of these prompts. For a codec: held-out clips
through it, beside the clips. What is between the marks `<!-- evaluate -->` of a card is replaced; a card without marks
gets them at its end. Pieces that are there are not made again.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from audiocraft.audio.files import audio_read, audio_write
from audiocraft.checkpoints.sources import bundled
from audiocraft.generation.request import GenerationRequest
from audiocraft.models.loaders import fetched_family, load_compression_model, load_model
from audiocraft.utils.files import atomic_write
from audiocraft.workflows.evaluation.evaluate import Evaluation, Evaluator
from audiocraft.workflows.evaluation.figures import Figure

BEGIN, END = "<!-- evaluate -->", "<!-- /evaluate -->"
SECONDS, BATCH = 10.0, 4


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", help="bundled models of music or codecs")
    parser.add_argument("--pieces", type=int, default=40)
    parser.add_argument("--work", type=Path, default=Path("runs/cards"), help="where pieces are kept")
    parser.add_argument(
        "--corpus", type=Path, default=Path("runs/wide"), help="whose held-out clips are the reference"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the first piece; piece i gets seed + i")
    return parser.parse_args()


def reference(options: argparse.Namespace) -> Path:
    """Make a folder with the held-out clips of music; their descriptions are `prompts.json` beside it."""
    folder: Path = options.work / "reference"
    folder.mkdir(parents=True, exist_ok=True)
    clips = sorted((options.corpus / "music" / "heldout").rglob("*.wav"))[: options.pieces]
    if not clips:
        raise SystemExit(f"no held-out clips in {options.corpus}; docs/corpus.md says how they are made")
    prompts = {}
    for clip in clips:
        if not (folder / clip.name).exists():
            shutil.copyfile(clip, folder / clip.name)
        labels = json.loads(clip.with_suffix(".json").read_text(encoding="utf-8"))
        prompts[clip.stem] = labels["description"]
    atomic_write(options.work / "prompts.json", json.dumps(prompts, indent=1))
    return folder


def generated(name: str, options: argparse.Namespace) -> Path:
    """Make a folder with pieces for the prompts of the held-out clips."""
    folder: Path = options.work / name
    model = load_model(name)
    prompts = json.loads((options.work / "prompts.json").read_text(encoding="utf-8"))
    asked = [(stem, prompt, number) for number, (stem, prompt) in enumerate(prompts.items())]
    waiting = [entry for entry in asked if not (folder / f"{entry[0]}.wav").exists()]
    for first in range(0, len(waiting), BATCH):
        part = waiting[first : first + BATCH]
        request = GenerationRequest(
            prompts=tuple(prompt for _, prompt, _ in part),
            duration=SECONDS,
            seeds=tuple(options.seed + number for _, _, number in part),
        )
        made = model.run(request)
        for (stem, _, _), wav in zip(part, made.audio, strict=True):
            audio_write(folder / stem, wav, made.sample_rate, strategy="clip")
    return folder


def through_codec(name: str, options: argparse.Namespace) -> Path:
    """Make a folder with the held-out clips through a codec."""
    folder: Path = options.work / name
    codec = load_compression_model(name)
    for path in sorted((options.work / "reference").glob("*.wav")):
        if not (folder / path.name).exists():
            wav, rate = audio_read(path)
            codes, scale = codec.encode(wav[None])
            audio_write(folder / path.stem, codec.decode(codes, scale)[0], rate, strategy="clip")
    return folder


def table(found: Evaluation, ceiling: Evaluation, what: str) -> str:
    """Return the table of a card, in Markdown."""

    def shown(figure: Figure | None) -> str:
        return "–" if figure is None else figure.shown

    rows = [
        f"| {figure.what} (`{figure.name}`) | {figure.shown} | {shown(ceiling.figure(figure.name))} |"
        for figure in found.figures
        if figure.name not in ("unreadable", "loudness")
    ]
    return "\n".join(
        [
            f"`audiocraft evaluate` of {what}, with the embedder {found.embedder} ({found.digest}): {found.size};",
            "± is where another sample as large would lie ([measures](../../../docs/measures.md)).",
            f"Reference: {found.reference_size}.",
            "Made by `recipes/cards.py`.",
            "",
            "| figure | this model | the clips themselves |",
            "|---|--:|--:|",
            *rows,
        ]
    )


def into_card(card: Path, text: str) -> None:
    """Put a table between the marks of a card."""
    content = card.read_text(encoding="utf-8")
    if BEGIN not in content:
        content = f"{content.rstrip()}\n\n{BEGIN}\n{END}\n"
    before, _, rest = content.partition(BEGIN)
    after = rest.partition(END)[2]
    atomic_write(card, f"{before}{BEGIN}\n{text}\n{END}{after}")


def main() -> None:
    options = arguments()
    clips = reference(options)
    evaluator = Evaluator()
    prompts = options.work / "prompts.json"
    ceiling = evaluator.evaluate(clips, prompts=prompts)
    for name in options.models:
        if name not in bundled():
            raise SystemExit(f"{name} is no bundled model: {', '.join(sorted(bundled()))}")
        if fetched_family(name).generates:
            folder, what = generated(name, options), f"pieces of {SECONDS:g} s for held-out prompts"
        else:
            folder, what = through_codec(name, options), "held-out clips through it"
        found = evaluator.evaluate(folder, reference=clips, prompts=prompts)
        into_card(bundled()[name] / "README.md", table(found, ceiling, what))
        print(f"{name}: {found.size}")


if __name__ == "__main__":
    main()
