"""Measures the bundled models: the codec beside Opus, and how far music is what its prompt asked for.

usage: python benchmarks/nano.py [--clips 100] [--prompts 60] [--codec NAME] [--model NAME] [--corpus DIR] [--json FILE]

Music is measured next to corpus clips composed for the same prompts (the ceiling), those clips through the codec, and
the same outputs against other clips' prompts (chance). What is missing (a model, opus-tools) is said and left out. The
last line of stdout is one JSON document. Needs FluidSynth, its sound font and opus-tools (`make bench-deps`);
renderings, the instrument classifier and the choice of measures are kept in `--work` and reused.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nano_parts import clips, codec
from nano_parts.classifier import load_or_train
from nano_parts.sheet import write_sheet
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from audiocraft.checkpoints.digest import weights_digest
from audiocraft.data.synthesis.instruments import INSTRUMENTS
from audiocraft.errors import AudioCraftError
from audiocraft.generation.request import GenerationRequest
from audiocraft.metrics import coding, following, instruments, listening
from audiocraft.models.loaders import load_compression_model, load_model

REPOSITORY = Path(__file__).resolve().parent.parent
SHEET_ROWS = 8
# (goal, floor) of the music measures.
TARGETS = {"tempo": (0.75, 0.45), "key": (0.60, 0.30), "instruments": (0.75, 0.50)}
TRAINING_CLIPS, CHOICE_CLIPS, BATCH = 2880, 92, 10
Audio = NDArray[np.float32]
Coder = Callable[[Audio], Audio]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--clips", type=int, default=100, help="held-out clips for the codec; 0 leaves this part out"
    )
    parser.add_argument(
        "--prompts", type=int, default=60, help="held-out prompts for music; 0 leaves this part out"
    )
    parser.add_argument("--codec", default="nano", help="name or path of the codec")
    parser.add_argument(
        "--model", default="musicgen-nano", help="any model of music: a name, a folder, or a file"
    )
    parser.add_argument(
        "--corpus", type=Path, default=REPOSITORY / "runs" / "corpus", help="a rendered corpus"
    )
    parser.add_argument(
        "--training-clips", type=int, default=TRAINING_CLIPS, help="for the instrument classifier"
    )
    parser.add_argument(
        "--work", type=Path, default=REPOSITORY / "runs" / "bench", help="what is reused, and the sheet"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the first prompt; prompt i gets seed + i")
    parser.add_argument("--json", type=Path, help="also write the JSON document to this file")
    return parser.parse_args()


def try_load(load: Callable[[], Any], what: str, console: Console) -> Any:
    try:
        return load()
    except AudioCraftError as error:
        console.print(f"[yellow]{what} is left out: {error}", markup=True, highlight=False)
        return None


def measure_codecs(model: Any, examples: Sequence[clips.Example], console: Console) -> dict[str, Any]:
    def measure(coder: coding.Coder) -> dict[str, float | None]:
        return coding.distances(coder, [one.wav for one in examples], [one.key for one in examples])

    rows: dict[str, Any] = {"original": measure(codec.original)}
    if model is not None:
        rows["codec"] = measure(codec.neural(model))
    if codec.has_opus():
        rows |= {f"opus_{rate}": measure(codec.opus(rate)) for rate in codec.OPUS_RATES}
    else:
        console.print("[yellow]Opus is left out: install opus-tools (opusenc, opusdec)")
    columns = ("", "kb/s", "log-mel distance, dB", "SI-SNR, dB", "key still right")
    table = Table(*columns, title=f"Codec, {len(examples)} held-out clips")
    for name, row in rows.items():
        kept = "-" if row["key"] is None else f"{row['key']:.1%}"
        table.add_row(name, f"{row['kbps']:.2f}", f"{row['log_mel_db']:.2f}", f"{row['si_snr_db']:.2f}", kept)
    console.print(table)
    return rows


def generate(
    model: Any, examples: Sequence[clips.Example], seed: int
) -> tuple[list[Audio], list[Any], float]:
    """Generate batches of prompts, each with its own seed -> (wavs, codes where it makes any, seconds taken)."""
    wavs: list[Audio] = []
    codes: list[Any] = []
    start = time.perf_counter()
    for first in range(0, len(examples), BATCH):
        batch = examples[first : first + BATCH]
        request = GenerationRequest(
            prompts=tuple(example.prompt for example in batch),
            duration=10.0,
            seeds=tuple(seed + first + row for row in range(len(batch))),
        )
        result = model.run(request)
        audio = codec.resampled(result.audio.mean(1).float().cpu(), model.sample_rate, clips.SAMPLE_RATE)
        wavs += list(audio.numpy())
        codes += [] if result.codes is None else [row.cpu().numpy() for row in result.codes]
    return wavs, codes, time.perf_counter() - start


def prepare_ears(
    coder: Coder | None, name: str, options: argparse.Namespace, console: Console
) -> tuple[listening.Ears, dict[str, Any]]:
    """Prepare the measures, and say how far they can be trusted."""
    cache = options.work / "clips"

    def known(split: str, limit: int) -> Iterator[clips.Example]:
        return clips.learnable(options.corpus, split, limit, cache)

    def valid() -> Iterator[clips.Example]:
        return known("valid", CHOICE_CLIPS)

    accuracies = listening.choose(valid, coder, options.work / f"measures-{name}.json")
    chosen = {kind: listening.best(accuracies["as they are"][kind]) for kind in ("tempo", "key")}
    for kind, method in chosen.items():
        shares = [
            f"{found[kind][method]:.1%} of corpus clips {sounds}"
            for sounds, found in accuracies.items()
            if isinstance(found, dict) and found[kind]
        ]
        console.print(f"{kind} by {method}: right on {', '.join(shares)}", highlight=False)
    label = hashlib.sha256(f"{instruments.NAMES}{options.training_clips}".encode()).hexdigest()[:8]
    classifier = load_or_train(
        options.work / f"instruments-{name}-{label}.safetensors",
        lambda: known("train", options.training_clips),
        valid,
        coder,
    )
    report = instruments.evaluate(classifier, known("heldout", CHOICE_CLIPS))
    show_classifier(report, console)
    chroma, profile = chosen["key"].split(" + ")
    measures = {**chosen, "accuracy": accuracies, "classifier": report}
    return listening.Ears(chosen["tempo"], (chroma, profile), classifier), measures


def show_classifier(found: dict[str, Any], console: Console) -> None:
    title = f"Instrument classifier on {found['clips']} held-out corpus clips: F1 {found['f1']:.3f}"
    table = Table("instrument", "clips", "precision", "recall", "F1", title=title)
    for name, row in found["instruments"].items():
        cells = ("-" if row[cell] is None else f"{row[cell]:.2f}" for cell in ("precision", "recall", "f1"))
        table.add_row(name, str(row["clips"]), *cells)
    console.print(table)


def show_music(rows: dict[str, dict[str, float]], count: int, console: Console) -> None:
    table = Table("", *next(iter(rows.values())), title=f"Music, {count} held-out prompts of 10 s")
    for name, row in rows.items():
        table.add_row(
            name, *(f"{value:.1%}" if "per_clip" not in key else f"{value:.2f}" for key, value in row.items())
        )
    goals = (
        f"{TARGETS[key][0]:.0%} / {TARGETS[key][1]:.0%}" if key in TARGETS else ""
        for key in next(iter(rows.values()))
    )
    table.add_row("goal / floor", *goals)
    console.print(table)


def measure_music(
    model: Any, coder: Coder | None, ears: listening.Ears, options: argparse.Namespace, console: Console
) -> dict[str, Any]:
    examples = list(clips.music(options.prompts, options.work / "clips"))
    wavs = [example.wav for example in examples]
    heard = listening.listen(ears, wavs)
    rows = {"corpus (ceiling)": following.score(heard, examples)}
    faults = {"corpus": following.faults(heard)}
    if coder is not None:
        coded = listening.listen(ears, [coder(wav) for wav in wavs])
        rows["corpus through the codec"] = following.score(coded, examples)
    rows["corpus, other prompts (chance)"] = following.chance(heard, examples)
    result: dict[str, Any] = {"faults": faults}
    if model is not None:
        outputs, codes, seconds = generate(model, examples, options.seed)
        heard = listening.listen(ears, outputs, codes or None, model.frame_rate)
        rows["model"] = following.score(heard, examples)
        rows["model, other prompts (chance)"] = following.chance(heard, examples)
        faults["model"] = following.faults(heard)
        sheet = options.work / "outputs.png"
        shown = zip(examples, outputs, strict=True)
        write_sheet(sheet, [(one.prompt, wav, one.wav) for one, wav in list(shown)[:SHEET_ROWS]])
        result |= {"sheet": str(sheet), "generation_s": round(seconds, 1), "verdict": verdict(rows["model"])}
        console.print(f"spectrograms of {min(SHEET_ROWS, len(outputs))} outputs beside corpus clips: {sheet}")
    show_music(rows, len(examples), console)
    for name, found in faults.items():
        console.print(
            f"{name}: " + ", ".join(f"{fault} {count}" for fault, count in found.items()), highlight=False
        )
    return result | {"scores": rows}


def verdict(scores: dict[str, float]) -> dict[str, str]:
    def place(value: float, goal: float, floor: float) -> str:
        return "goal" if value >= goal else "floor" if value >= floor else "below"

    return {name: place(scores[name], *target) for name, target in TARGETS.items()}


def main() -> None:
    options = arguments()
    console = Console(width=max(110, Console().width))
    torch.manual_seed(0)
    codec_model = try_load(lambda: load_compression_model(options.codec), f"codec {options.codec!r}", console)
    model = None
    if options.prompts > 0:
        model = try_load(lambda: load_model(options.model), f"model {options.model!r}", console)
    coder: Coder | None = None
    if codec_model is not None:
        neural = codec.neural(codec_model)
        coder = lambda wav: neural(wav)[0]  # noqa: E731
    document: dict[str, Any] = {
        "benchmark": "nano",
        "machine": f"{platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads",
        "codec": options.codec,
        "codec_weights": "none" if codec_model is None else weights_digest(codec_model)[:12],
        "model": options.model if model is not None else None,
        "clips": options.clips,
        "prompts": options.prompts,
        "instruments_known": len(INSTRUMENTS),
    }
    if options.clips > 0:
        examples = clips.mixture(options.clips, options.work / "clips")
        document["codecs"] = measure_codecs(codec_model, examples, console)
    if options.prompts > 0:
        ears, document["measures"] = prepare_ears(coder, document["codec_weights"], options, console)
        document["music"] = measure_music(model, coder, ears, options, console)
    text = json.dumps(document, ensure_ascii=False)
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
