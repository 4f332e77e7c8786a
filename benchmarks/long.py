"""Measures whether a minute of music stays what its prompt asked for, and whether seeds differ.

usage: python benchmarks/long.py [--pieces 8] [--seconds 60] [--seeds 8] [--model NAME] [--corpus DIR] [--json FILE]

This program makes pieces of `--seconds` from the prompts of held-out clips. It prints the windows of ten seconds that
have the tempo and the key that were asked for; the bars in which the chord of the plan is heard, beside those of the
corpus, which is what the measure finds at most (its bars have four beats); how often the same two seconds come; and,
for `--seeds` pieces of one prompt, the share of equal codes of two of them. The last line of stdout is one JSON
document. It needs a corpus of music, as `nano.py` does.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from jasco import Clip, agreement, heard_triads, held_out, share, triads_of
from nano_parts.clips import SAMPLE_RATE, from_corpus, music
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from audiocraft.audio.convert import convert_audio
from audiocraft.generation.request import GenerationRequest, GenerationResult
from audiocraft.metrics import key, tempo
from audiocraft.metrics.listening import best, choose
from audiocraft.models.loaders import load_model
from audiocraft.music.harmony import parse_key

REPOSITORY = Path(__file__).resolve().parent.parent
WINDOW_S, LOOP_S, CHOICE_CLIPS = 10.0, 2.0, 92
SAME = 0.8  # of the codes of two seconds: what codec and sampling leave of a loop that comes round
Codes = NDArray[np.int64]


def times_that_return(codes: Codes, frame_rate: float) -> int:
    """Return how often the two seconds that come most often in codes [K, T] come, without overlap."""
    length = round(LOOP_S * frame_rate)
    places = codes.shape[1] - length + 1
    most = 1
    for begin in range(0, places, max(1, length // 4)):
        part = codes[:, begin : begin + length]
        equal = np.asarray([(codes[:, at : at + length] == part).mean() for at in range(places)])
        found, at = 0, 0
        while at < places:
            if equal[at] >= SAME:
                found, at = found + 1, at + length
            else:
                at += 1
        most = max(most, found)
    return most


def equal_codes(rows: Sequence[Codes]) -> float:
    """Return the mean share of equal codes of two of the pieces."""
    pairs = [float((one == other).mean()) for one, other in combinations(rows, 2)]
    return sum(pairs) / max(1, len(pairs))


def made(model: Any, prompts: Sequence[str], seeds: Sequence[int], seconds: float) -> list[GenerationResult]:
    """Make a piece for each prompt, one at a time."""
    return [
        model.run(GenerationRequest(prompts=(prompt,), duration=seconds, seeds=(seed,)))
        for prompt, seed in zip(prompts, seeds, strict=True)
    ]


def audio_of(result: GenerationResult) -> NDArray[np.float32]:
    """Return the piece [N] at 24 kHz."""
    wav = convert_audio(result.audio[0].float().cpu(), result.sample_rate, SAMPLE_RATE, 1)[0]
    return np.asarray(wav.numpy(), np.float32)


def planned(result: GenerationResult, seconds: float) -> Clip | None:
    """Return a piece as a clip whose beats are the bars of its plan; None for a model without plans."""
    plan = result.plans[0]
    if plan is None:
        return None
    chords = tuple((symbol, at) for at, symbol in plan.chords if at < seconds)
    clip = Clip(audio_of(result), "", plan.tempo, plan.first_beat, chords, ())
    return replace(clip, bpm=plan.tempo / plan.beats_per_bar)


def right_bars(clip: Clip, seconds: float) -> tuple[int, int]:
    """Return in how many bars the chord of the plan is heard, and how many there are."""
    return agreement(heard_triads(clip.wav, clip, seconds), triads_of(clip, seconds))


def measure(model: Any, options: argparse.Namespace) -> dict[str, Any]:
    """Measure the figures of the minute, of the chords and of the seeds."""
    cache = options.work / "clips"
    accuracies = choose(
        lambda: from_corpus(options.corpus, "valid", CHOICE_CLIPS), None, options.work / "measures-long.json"
    )
    methods = {kind: best(accuracies["as they are"][kind]) for kind in ("tempo", "key")}
    chroma, profile = methods["key"].split(" + ")
    examples = list(music(options.pieces, cache))
    results = made(
        model,
        [one.prompt for one in examples],
        range(options.seed, options.seed + options.pieces),
        options.seconds,
    )
    tempos, keys, returns, whole = [], [], [], 0
    for example, result in zip(examples, results, strict=True):
        wav, length = audio_of(result), round(WINDOW_S * SAMPLE_RATE)
        windows = [wav[at : at + length] for at in range(0, len(wav) - length + 1, length)]
        right = [tempo.agrees(tempo.METHODS[methods["tempo"]](part), example.bpm) for part in windows]
        same = [
            key.agrees(key.key_of(key.CHROMAS[chroma](part), profile), parse_key(example.key))
            for part in windows
        ]
        tempos, keys = tempos + right, keys + same
        whole += all(right) and all(same)
        if result.codes is not None:
            returns.append(times_that_return(result.codes[0].cpu().numpy(), model.frame_rate))
    clips = [clip for clip in (planned(one, options.seconds) for one in results) if clip is not None]
    corpus = [
        replace(clip, bpm=clip.bpm / 4) for clip in held_out(options.corpus, 4 * options.pieces, WINDOW_S)
    ]
    first = examples[0].prompt
    several = made(
        model, [first] * options.seeds, range(options.seed, options.seed + options.seeds), WINDOW_S
    )
    codes = [one.codes[0].cpu().numpy() for one in several if one.codes is not None]
    return {
        "pieces": len(results),
        "windows": len(tempos),
        "tempo": round(sum(tempos) / len(tempos), 4),
        "key": round(sum(keys) / len(keys), 4),
        "pieces_right_throughout": whole,
        "most_returns_of_two_seconds": returns,
        "chords_per_bar": share([right_bars(clip, options.seconds) for clip in clips]) if clips else None,
        "chords_of_the_corpus": share([right_bars(clip, WINDOW_S) for clip in corpus]),
        "equal_codes_of_two_seeds": round(equal_codes(codes), 4) if codes else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", default="musicgen-nano", help="any model of music: a name, a folder, or a file"
    )
    parser.add_argument("--pieces", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seeds", type=int, default=8, help="pieces of ten seconds of one prompt")
    parser.add_argument("--seed", type=int, default=0, help="of the first piece")
    parser.add_argument(
        "--corpus", type=Path, default=REPOSITORY / "runs" / "corpus", help="a rendered corpus"
    )
    parser.add_argument("--work", type=Path, default=REPOSITORY / "runs" / "bench", help="what is reused")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here too")
    options = parser.parse_args()
    found = measure(load_model(options.model), options)
    table = Table("", "", title=f"{found['pieces']} pieces of {options.seconds:g} s")
    for name, value in found.items():
        table.add_row(name.replace("_", " "), str(value))
    Console(stderr=True).print(table)
    text = json.dumps({"benchmark": "long", "model": options.model, "seed": options.seed, **found})
    if options.json is not None:
        options.json.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
