"""Measures the bundled model of sounds: whether what a prompt names is heard.

usage: python benchmarks/sounds.py [--prompts 87] [--model NAME] [--corpus DIR] [--json FILE]

A classifier of the corpus's kinds of sound, trained on corpus clips and the same through the codec, listens to what the
model makes of held-out prompts. Beside it: the clips of these prompts (the
ceiling), those clips through the codec, and the outputs against other clips' prompts (chance). The last line of
stdout is one JSON document. Needs a corpus of sounds (docs/corpus.md).
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
TRAINING_CLIPS = 1800


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=int, default=87, help="held-out prompts")
    parser.add_argument("--model", default="nano", help="name or path of the model")
    parser.add_argument(
        "--corpus", type=Path, default=REPOSITORY / "runs" / "scenes", help="a corpus of sounds"
    )
    parser.add_argument("--work", type=Path, default=REPOSITORY / "runs" / "bench", help="what is reused")
    parser.add_argument("--seed", type=int, default=0, help="of the first prompt; prompt i gets seed + i")
    parser.add_argument("--json", type=Path, help="also write the JSON document to this file")
    return parser.parse_args()


def sounds(corpus: Path, split: str, *, wavs: bool = True) -> Iterator[clips.Example]:
    """The clips of a split; what is heard stands where instruments do. Without `wavs` the clips are silent."""
    for path in sorted((corpus / "sound" / split).rglob("*.json")):
        labels = json.loads(path.read_text(encoding="utf-8"))
        wav = (
            soundfile.read(path.with_suffix(".wav"), dtype="float32")[0] if wavs else np.zeros(0, np.float32)
        )
        kinds = tuple(dict.fromkeys(event["kind"] for event in labels["events"]))
        yield clips.Example(wav, labels["description"], instruments=kinds)


def kinds_of(corpus: Path) -> list[str]:
    """The kinds that the training clips of a corpus name, in order of the alphabet."""
    return sorted({kind for example in sounds(corpus, "train", wavs=False) for kind in example.instruments})


def score(
    ears: instruments.Classifier, wavs: Sequence[Audio], wanted: Sequence[clips.Example]
) -> dict[str, Any]:
    return instruments.report(ears.heard(wavs), [example.instruments for example in wanted], ears.names)


def shown(rows: dict[str, dict[str, Any]], console: Console) -> None:
    count = next(iter(rows.values()))["clips"]
    table = Table(
        "", "named sounds heard", "false alarms per clip", title=f"Sounds, {count} held-out prompts"
    )
    for name, row in rows.items():
        table.add_row(name, f"{row['recall']:.1%}", f"{row['false_alarms_per_clip']:.2f}")
    console.print(table)


def show_kinds(rows: dict[str, dict[str, Any]], console: Console) -> None:
    """How often each kind is heard, the rarest first."""
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
        options.work / f"sounds-{options.corpus.name}-{label}.safetensors",
        lambda: islice(sounds(options.corpus, "train"), TRAINING_CLIPS),
        lambda: sounds(options.corpus, "valid"),
        keep,
        kinds_of(options.corpus),
    )
    wanted = list(islice(sounds(options.corpus, "heldout"), options.prompts))
    others = wanted[1:] + wanted[:1]
    wavs = [example.wav for example in wanted]
    outputs, _, seconds = generate(model, wanted, options.seed)
    rows = {
        "corpus (ceiling)": score(ears, wavs, wanted),
        "corpus through the codec": score(ears, [keep(wav) for wav in wavs], wanted),
        "model": score(ears, outputs, wanted),
        "model, other prompts (chance)": score(ears, outputs, others),
    }
    shown(rows, console)
    show_kinds({name: row for name, row in rows.items() if "chance" not in name}, console)
    document = json.dumps({"model": options.model, "seconds": round(seconds, 1), "rows": rows})
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
