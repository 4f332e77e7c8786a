"""Measures whether instruments play when a prompt says so: "a piano, drums at 5 s".

usage: python benchmarks/entrances.py [--prompts 48] [--denied 24] [--model NAME] [--codec NAME] [--corpus DIR]
       [--json FILE]

Each prompt names two or three instruments of the held-out pieces, one of which comes in, or goes, at the middle of ten
seconds. A classifier of instruments, trained on corpus clips as they are and through the codec, listens to both halves:
the one that it is more certain of should be the one in which the instrument was asked for (chance 50 %), and those that
play throughout should be heard in both. With `--denied`, so many pieces of the same instruments are asked for with "no
drums" and with "drums", and drums are heard in them or not. The last line of stdout is one JSON document. Needs a
corpus of music, as `nano.py` does.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nano import TRAINING_CLIPS, Audio, generate, prepare_ears
from nano_parts import clips, codec
from rich.console import Console
from rich.table import Table

from audiocraft.checkpoints.digest import weights_digest
from audiocraft.data.synthesis.instruments import INSTRUMENTS
from audiocraft.metrics import instruments, listening
from audiocraft.models.loaders import load_compression_model, load_model

REPOSITORY = Path(__file__).resolve().parent.parent
LATE = ("{others}, {one} at 5 s", "{others}, {one} enters at 5 s")
EARLY = ("{others}, {one} until 5 s", "{one} stops at 5 s, {others}")


@dataclass(frozen=True, slots=True)
class Wish:
    """This record says what is asked for: `one` is heard in a single half, the `others` in both."""

    prompt: str
    one: str
    late: bool
    others: tuple[str, ...]


def wishes(count: int, cache: Path) -> list[tuple[Wish, clips.Example]]:
    """Return wishes made of held-out pieces with two instruments or more, each with its piece."""
    found = []
    for number, example in enumerate(clips.music(100_000, cache)):
        if len(found) == count:
            break
        if len(example.instruments) < 2:
            continue
        rng = random.Random(f"entrances/{number}")
        one = rng.choice(example.instruments)
        others = tuple(name for name in example.instruments if name != one)
        late = rng.random() < 0.5
        named = " and ".join(INSTRUMENTS[name].words[0] for name in others)
        text = rng.choice(LATE if late else EARLY).format(one=INSTRUMENTS[one].words[0], others=named)
        wish = Wish(f"{text}, {example.bpm:g} bpm, {example.key}", one, late, others)
        found.append((wish, replace(example, prompt=wish.prompt)))
    return found


@torch.inference_mode()
def score(ears: instruments.Classifier, wavs: Sequence[Audio], wanted: Sequence[Wish]) -> dict[str, Any]:
    """Return the share of the clips in which `one` is heard in the half it was asked for, and of the `others` that are
    heard in either half."""
    right, kept = [], []
    for wav, wish in zip(wavs, wanted, strict=True):
        halves = [np.asarray(half, np.float32) for half in (wav[: len(wav) // 2], wav[len(wav) // 2 :])]
        early, late = (ears.probabilities(instruments.features(half)[None])[0] for half in halves)
        place = ears.names.index(wish.one)
        more = float(late[place].logit() - early[place].logit())
        right.append(more > 0 if wish.late else more < 0)
        kept += [name in heard for heard in ears.heard(halves) for name in wish.others]
    return {"clips": len(right), "right_half": sum(right) / len(right), "others_heard": sum(kept) / len(kept)}


def denied(count: int, cache: Path, *, drums: bool) -> list[clips.Example]:
    """Return prompts made of held-out pieces, each of which asks for drums or denies them."""
    found = []
    for example in clips.music(100_000, cache):
        if len(found) == count:
            break
        others = [INSTRUMENTS[name].words[0] for name in example.instruments if name != "drums"]
        if others:
            last = "drums" if drums else "no drums"
            prompt = f"{' and '.join(others)}, {last}, {example.bpm:g} bpm, {example.key}"
            found.append(replace(example, prompt=prompt))
    return found


def with_drums(ears: instruments.Classifier, wavs: Sequence[Audio]) -> float:
    """Return the share of the pieces in which drums are heard."""
    return sum("drums" in heard for heard in ears.heard(wavs)) / len(wavs)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=int, default=48, help="how many pieces are made")
    parser.add_argument("--denied", type=int, default=0, help="pieces with drums, and as many without")
    parser.add_argument(
        "--model", default="musicgen-nano", help="any model of music: a name, a folder, or a file"
    )
    parser.add_argument("--codec", default="nano", help="what the classifier also listens through")
    parser.add_argument(
        "--corpus", type=Path, default=REPOSITORY / "runs" / "corpus", help="a rendered corpus"
    )
    parser.add_argument("--training-clips", type=int, default=TRAINING_CLIPS, help="for the classifier")
    parser.add_argument("--work", type=Path, default=REPOSITORY / "runs" / "bench", help="what is reused")
    parser.add_argument("--seed", type=int, default=0, help="of the first prompt; prompt i gets seed + i")
    parser.add_argument("--json", type=Path, help="also write the JSON document to this file")
    options, console = parser.parse_args(), Console(stderr=True)
    through, model = load_compression_model(options.codec), load_model(options.model)
    neural = codec.neural(through)
    ears: listening.Ears = prepare_ears(
        lambda wav: neural(wav)[0], weights_digest(through)[:12], options, console
    )[0]
    wanted = wishes(options.prompts, options.work / "clips")
    outputs, _, seconds = generate(model, [example for _, example in wanted], options.seed)
    asked = [wish for wish, _ in wanted]
    rows = {
        "corpus, all throughout (chance)": score(
            ears.classifier, [example.wav for _, example in wanted], asked
        ),
        "model": score(ears.classifier, outputs, asked),
    }
    table = Table(
        "", "in the half that was asked for", "others heard in each half", title=f"{len(asked)} prompts"
    )
    for name, row in rows.items():
        table.add_row(name, f"{row['right_half']:.1%}", f"{row['others_heard']:.1%}")
    console.print(table)
    heard = {}
    if options.denied:
        for words, drums in (("no drums", False), ("drums", True)):
            examples = denied(options.denied, options.work / "clips", drums=drums)
            heard[words] = with_drums(ears.classifier, generate(model, examples, options.seed)[0])
            console.print(f"of {len(examples)} pieces with {words!r}, {heard[words]:.1%} have drums")
    document = json.dumps({"model": options.model, "seconds": round(seconds, 1), "rows": rows, "drums_heard": heard,
                           "prompts": [wish.prompt for wish in islice(asked, 8)]})  # fmt: skip
    if options.json is not None:
        options.json.write_text(document + "\n", encoding="utf-8")
    print(document)


if __name__ == "__main__":
    main()
