"""Measures the bundled model of sounds: whether what a prompt names is heard.

usage: python benchmarks/sounds.py [--prompts 87] [--split heldout] [--alone 4] [--model NAME] [--corpus DIR]
       [--json FILE]

A classifier of the corpus's kinds of sound, trained on corpus clips and the same through the codec, listens to what the
model makes of prompts that it never saw: of pairs of kinds that were never together in training (heldout), or of any
(valid). Beside it: the clips of these prompts (the ceiling), those clips through the codec, and the outputs against
other clips' prompts (chance). Where a prompt names one sound after another, the halves of each clip say whether they
come in this order (chance 50 %). With `--alone`, each kind that the model is told is made by itself so often, and
heard or not. The last line of stdout is one JSON document. Needs a corpus of sounds
(docs/corpus.md).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from nano import Audio, Coder, generate
from nano_parts import clips, codec
from nano_parts.classifier import load_or_train
from rich.console import Console
from rich.table import Table

from audiocraft.checkpoints.digest import weights_digest
from audiocraft.metrics import instruments
from audiocraft.models import AudioGen

REPOSITORY = Path(__file__).resolve().parent.parent


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=int, default=87, help="held-out prompts")
    parser.add_argument("--model", default="nano", help="name or path of the model")
    parser.add_argument(
        "--corpus", type=Path, default=REPOSITORY / "runs" / "scenes", help="a corpus of sounds"
    )
    parser.add_argument("--split", default="heldout", choices=["heldout", "valid"], help="which prompts")
    parser.add_argument("--ears", type=int, default=1800, help="clips that the classifier is trained on")
    parser.add_argument("--work", type=Path, default=REPOSITORY / "runs" / "bench", help="what is reused")
    parser.add_argument("--alone", type=int, default=0, help="pieces of each kind by itself")
    parser.add_argument("--seed", type=int, default=0, help="of the first prompt; prompt i gets seed + i")
    parser.add_argument("--json", type=Path, help="also write the JSON document to this file")
    return parser.parse_args()


def sounds(corpus: Path, split: str, *, wavs: bool = True) -> Iterator[clips.Example]:
    """Yield the clips of a split; what is heard stands where instruments do. Without `wavs` the clips are silent."""
    for path in sorted((corpus / "sound" / split).rglob("*.json")):
        labels = json.loads(path.read_text(encoding="utf-8"))
        wav = (
            soundfile.read(path.with_suffix(".wav"), dtype="float32")[0] if wavs else np.zeros(0, np.float32)
        )
        kinds = tuple(dict.fromkeys(event["kind"] for event in labels["events"]))
        yield clips.Example(wav, labels["description"], instruments=kinds)


def turns(corpus: Path, split: str) -> Iterator[tuple[str, str] | None]:
    """Yield for each clip which two kinds come one after the other; None where they do not."""
    for path in sorted((corpus / "sound" / split).rglob("*.json")):
        events = json.loads(path.read_text(encoding="utf-8"))["events"]
        ordered = len(events) == 2 and events[0]["end"] <= events[1]["start"]
        yield (events[0]["kind"], events[1]["kind"]) if ordered else None


@torch.inference_mode()
def in_order(
    ears: instruments.Classifier, wavs: Sequence[Audio], wanted: Sequence[tuple[str, str] | None]
) -> tuple[float, int]:
    """Return the share of the clips with two sounds in turn whose halves hear them in this order, and their number."""
    right = []
    for wav, pair in zip(wavs, wanted, strict=True):
        if pair is None:
            continue
        first, second = (ears.names.index(kind) for kind in pair)
        halves = (wav[: len(wav) // 2], wav[len(wav) // 2 :])
        before, after = (ears.probabilities(instruments.features(half)[None])[0].logit() for half in halves)
        right.append(float(before[first] - after[first] + after[second] - before[second]) > 0)
    return sum(right) / max(1, len(right)), len(right)


def kinds_of(corpus: Path) -> list[str]:
    """Return the kinds that the training clips of a corpus name, in order of the alphabet."""
    return sorted({kind for example in sounds(corpus, "train", wavs=False) for kind in example.instruments})


def score(
    ears: instruments.Classifier,
    wavs: Sequence[Audio],
    wanted: Sequence[clips.Example],
    ordered: Sequence[tuple[str, str] | None],
) -> dict[str, Any]:
    found = instruments.report(ears.heard(wavs), [example.instruments for example in wanted], ears.names)
    share, count = in_order(ears, wavs, ordered)
    return {**found, "in_order": share, "sequences": count}


def alone(model: AudioGen, ears: instruments.Classifier, count: int, seed: int) -> dict[str, Any]:
    """Return how often each kind that the model is told is heard where it is asked for by itself, in one of its ways to
    be said, and how many others are heard in a piece."""
    kinds = model.sound_kinds
    if kinds is None:
        raise SystemExit(f"model {model.name!r} is told no kinds of sound")
    asked = [(kind, ways[number % len(ways)]) for number in range(count) for kind, others in kinds.ways.items()
             for ways in [(kind, *others)]]  # fmt: skip
    wanted = [clips.Example(np.zeros(0, np.float32), way, instruments=(kind,)) for kind, way in asked]
    heard = [set(found) for found in ears.heard(generate(model, wanted, seed)[0])]
    right = {kind: 0 for kind in kinds.ways}
    for (kind, _), found in zip(asked, heard, strict=True):
        right[kind] += kind in found
    alarms = sum(len(found - {kind}) for (kind, _), found in zip(asked, heard, strict=True))
    return {
        "pieces": len(asked),
        "recall": sum(right.values()) / len(asked),
        "false_alarms_per_clip": alarms / len(asked),
        "kinds": {kind: times / count for kind, times in sorted(right.items(), key=lambda one: -one[1])},
    }


def shown(rows: dict[str, dict[str, Any]], console: Console) -> None:
    count = next(iter(rows.values()))["clips"]
    table = Table(
        "", "named sounds heard", "false alarms per clip", "in order", title=f"Sounds, {count} prompts"
    )
    for name, row in rows.items():
        table.add_row(
            name, f"{row['recall']:.1%}", f"{row['false_alarms_per_clip']:.2f}", f"{row['in_order']:.0%}"
        )
    console.print(table)


def show_kinds(rows: dict[str, dict[str, Any]], console: Console) -> None:
    """Print how often each kind is heard, the rarest first."""
    table = Table("kind", "clips", *rows)
    found = rows["model"]["instruments"]
    asked = [kind for kind in found if found[kind]["clips"]]
    for kind in sorted(asked, key=lambda kind: found[kind]["recall"]):
        shares = (f"{row['instruments'][kind]['recall']:.0%}" for row in rows.values())
        table.add_row(kind, str(found[kind]["clips"]), *shares)
    console.print(table)


def main() -> None:
    options, console = arguments(), Console(stderr=True)
    model = AudioGen.get_pretrained(options.model)
    keep: Coder = _through(model.compression_model)
    label = weights_digest(model.compression_model)[:12]
    ears = load_or_train(
        options.work / f"sounds-{options.corpus.name}-{label}-{options.ears}.safetensors",
        lambda: islice(sounds(options.corpus, "train"), options.ears),
        lambda: sounds(options.corpus, "valid"),
        keep,
        kinds_of(options.corpus),
    )
    wanted = list(islice(sounds(options.corpus, options.split), options.prompts))
    ordered = list(islice(turns(options.corpus, options.split), options.prompts))
    others, their_order = wanted[1:] + wanted[:1], ordered[1:] + ordered[:1]
    wavs = [example.wav for example in wanted]
    outputs, _, seconds = generate(model, wanted, options.seed)
    rows = {
        "corpus (ceiling)": score(ears, wavs, wanted, ordered),
        "corpus through the codec": score(ears, [keep(wav) for wav in wavs], wanted, ordered),
        "model": score(ears, outputs, wanted, ordered),
        "model, other prompts (chance)": score(ears, outputs, others, their_order),
    }
    shown(rows, console)
    show_kinds({name: row for name, row in rows.items() if "chance" not in name}, console)
    found: dict[str, Any] = {"model": options.model, "seconds": round(seconds, 1), "rows": rows}
    if options.alone:
        found["alone"] = alone(model, ears, options.alone, options.seed)
        console.print({name: value for name, value in found["alone"].items() if name != "pieces"})
    document = json.dumps(found)
    if options.json is not None:
        options.json.write_text(document + "\n", encoding="utf-8")
    print(document)


def _through(model: Any) -> Coder:
    def coder(wav: Audio) -> Audio:
        with torch.inference_mode():
            return np.asarray(codec.neural(model)(wav)[0], dtype=np.float32)

    return coder


if __name__ == "__main__":
    main()
