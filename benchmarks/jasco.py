"""How exactly a flow plays what it is given: chords, drums and a tune of held-out clips, one kind at a time.

    python benchmarks/jasco.py --model jasco-nano --corpus runs/songs [--clips 40] [--seconds 10]

Clips are those of the split `heldout` of a corpus folder (`audiocraft data synthesize`), whose chords are known. Needs
`pip install '.[analysis]'`. What is printed, and as JSON in the last line:

  chords  a triad is heard in each beat of what was made with a clip's chords; it is right where root and mode are
          those of the chord there. The ceiling is how often that is so in the clip itself; chance is how often what
          was made with the chords of another clip is right by these. Goal: within 15 points of the
          ceiling, three times chance.
  drums   onsets of what is percussive in the output beside those in the drums it was given (F1, 70 ms), and beside
          those of another clip. Goal: 0.6, where the other has 0.3 at most. What recordings have with each other is
          printed beside it: less cannot be asked of music with as many strokes.
  tune    the highest pitch of each frame, as a pitch class, where a tune was given and something sounds; chance is the
          same beside the tune of another clip. Goal: twice chance. A model without tunes leaves it out.
  restyle the same tune in what `audiocraft edit restyle` makes of a clip in other words, with its plan, and where the
          tune is not given. Goal: 10 points more. A model without tunes or plans leaves it out.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from audiocraft.audio.convert import convert_audio
from audiocraft.audio.salience import melody_salience
from audiocraft.generation.controls import Controls
from audiocraft.generation.request import FlowSettings, GenerationRequest
from audiocraft.metrics.key import cqt_chroma
from audiocraft.metrics.onsets import SAMPLE_RATE, find_onsets, onset_f1
from audiocraft.models.loaders import load_model
from audiocraft.modules.conditioners.stems import percussive
from audiocraft.music.harmony import parse_chord
from audiocraft.types import ScorePlan
from audiocraft.workflows.editing.styles import restyle

CHROMA_RATE = SAMPLE_RATE / 1024
TOLERANCE_S = 0.07
STYLES = (
    "jazz with saxophone and piano",
    "classical with strings",
    "electronic with synth lead",
    "folk with flute",
)
NOBODY = -1  # of a beat whose chord has no triad, and of a frame without a tune
Audio = NDArray[np.float32]
Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Clip:
    """This record holds a held-out clip of the corpus, cut to the length of what is made."""

    wav: Audio
    prompt: str
    bpm: float
    first_beat: float
    chords: tuple[tuple[str, float], ...]
    instruments: tuple[str, ...]


def held_out(folder: Path, count: int, seconds: float) -> Iterator[Clip]:
    for path in sorted((folder / "music" / "heldout").rglob("*.json"))[:count]:
        told = json.loads(path.read_text(encoding="utf-8"))
        wav, rate = soundfile.read(path.with_suffix(".wav"), dtype="float32")
        audio = convert_audio(torch.from_numpy(np.atleast_2d(wav.T)), rate, SAMPLE_RATE, 1)[0].numpy()
        chords = tuple((symbol, float(at)) for at, symbol in told["chords"] if at < seconds)
        yield Clip(
            audio[: int(seconds * SAMPLE_RATE)], told["description"], float(told["bpm"]), float(told["first_beat"]),
            chords, tuple(told["instruments"]),
        )  # fmt: skip


def beats_of(clip: Clip, seconds: float) -> NDArray[np.float64]:
    """Return the edges of the beats that lie within a piece."""
    beat = 60 / clip.bpm
    return np.arange(clip.first_beat % beat, seconds + 1e-6, beat)


def triads_of(clip: Clip, seconds: float) -> Numbers:
    """Return the triad that each beat is told: its root, and 12 more where it is minor."""
    found = []
    for start in beats_of(clip, seconds)[:-1]:
        symbol = next((symbol for symbol, at in reversed(clip.chords) if at <= start + 1e-3), "N")
        chord = parse_chord(symbol)
        classes = {(note - chord.root) % 12 for note in chord.pitch_classes}
        major, minor = 4 in classes, 3 in classes
        found.append(chord.root + 12 * minor if major != minor else NOBODY)
    return np.asarray(found, np.int64)


def heard_triads(wav: Audio, clip: Clip, seconds: float) -> Numbers:
    """Return the triad that sounds in each beat of wav [N] at 24 kHz: the one whose notes have most of its chroma."""
    chroma = cqt_chroma(wav)
    shapes = np.zeros((24, 12))
    for root in range(12):
        for minor in (0, 1):
            shapes[root + 12 * minor, [root, (root + 4 - minor) % 12, (root + 7) % 12]] = 1
    edges = (beats_of(clip, seconds) * CHROMA_RATE).astype(int)
    means = [chroma[:, a : max(b, a + 1)].mean(1) for a, b in pairwise(edges)]
    return np.asarray([int(np.argmax(shapes @ mean)) for mean in means], np.int64)


def agreement(found: Numbers, wanted: Numbers) -> tuple[int, int]:
    """Return how many of the places that tell something are right, and how many there are."""
    length = min(len(found), len(wanted))
    told = wanted[:length] != NOBODY
    return int((found[:length] == wanted[:length])[told].sum()), int(told.sum())


def share(pairs: Sequence[tuple[int, int]]) -> float:
    return round(sum(right for right, _ in pairs) / max(1, sum(count for _, count in pairs)), 4)


def tune_of(wav: Audio) -> Numbers:
    """Return the pitch class of each frame, 50 a second, where something sounds."""
    salience, _ = melody_salience(torch.from_numpy(wav)[None], SAMPLE_RATE)
    strongest = salience.argmax(0).numpy()
    return np.where(
        salience.amax(0).numpy() > 0, (strongest + 7) % 12, NOBODY
    )  # the lowest of the matrix is a G


def strokes(wav: Audio) -> NDArray[np.float64]:
    """Find when what is percussive begins."""
    return find_onsets(percussive(torch.from_numpy(wav)[None, None], SAMPLE_RATE)[0, 0].numpy())


def made(
    model: Any, clips: Sequence[Clip], follow: Callable[[Clip], Controls], options: argparse.Namespace
) -> list[Audio]:
    """Make a piece for each clip, with the clip's words and what of it is followed; with seeds that count on."""
    found = []
    for number, clip in enumerate(clips):
        request = GenerationRequest(
            prompts=(clip.prompt,), duration=options.seconds, seeds=(options.seed + number,), controls=follow(clip),
            flow=FlowSettings(steps=options.steps),
        )  # fmt: skip
        result = model.run(request)
        audio = convert_audio(result.audio[0].float().cpu(), result.sample_rate, SAMPLE_RATE, 1)[0]
        found.append(audio.numpy())
    return found


def others(count: int) -> Iterator[tuple[int, int]]:
    """Yield every clip beside every other one."""
    return ((one, other) for one in range(count) for other in range(count) if one != other)


def chords(model: Any, clips: Sequence[Clip], options: argparse.Namespace) -> dict[str, Any]:
    seconds = options.seconds
    outputs = made(model, clips, lambda clip: Controls(chords=clip.chords), options)
    wanted = [triads_of(clip, seconds) for clip in clips]
    right = [
        agreement(heard_triads(wav, clip, seconds), triads)
        for wav, clip, triads in zip(outputs, clips, wanted, strict=True)
    ]
    ceiling = [
        agreement(heard_triads(clip.wav, clip, seconds), triads)
        for clip, triads in zip(clips, wanted, strict=True)
    ]
    chance = [
        agreement(heard_triads(outputs[one], clips[other], seconds), wanted[other])
        for one, other in others(len(clips))
        if (other - one) % len(clips) <= options.chances
    ]
    return {
        "right": share(right),
        "ceiling": share(ceiling),
        "chance": share(chance),
        "beats": sum(n for _, n in right),
    }


def drums(model: Any, clips: Sequence[Clip], options: argparse.Namespace) -> dict[str, Any]:
    beating = [clip for clip in clips if any("drum" in name for name in clip.instruments)]
    outputs = made(
        model, beating,
        lambda clip: Controls(drums=torch.from_numpy(clip.wav)[None], drums_sample_rate=SAMPLE_RATE), options,
    )  # fmt: skip
    given, heard = [strokes(clip.wav) for clip in beating], [strokes(wav) for wav in outputs]
    own = [onset_f1(one, other, TOLERANCE_S) for one, other in zip(heard, given, strict=True)]
    else_ = [onset_f1(heard[one], given[other], TOLERANCE_S) for one, other in others(len(beating))]
    between = [onset_f1(given[one], given[other], TOLERANCE_S) for one, other in others(len(beating))]
    return {
        "f1": round(float(np.mean(own)), 4) if own else None,
        "f1_of_others": round(float(np.mean(else_)), 4) if else_ else None,
        "f1_between_given": round(float(np.mean(between)), 4) if between else None,
        "clips": len(beating),
    }


def tunes(model: Any, clips: Sequence[Clip], options: argparse.Namespace) -> dict[str, Any]:
    def follow(clip: Clip) -> Controls:
        matrix, rate = melody_salience(torch.from_numpy(clip.wav)[None], SAMPLE_RATE)
        return Controls(melody=matrix, melody_frame_rate=rate)

    heard = [tune_of(wav) for wav in made(model, clips, follow, options)]
    given = [tune_of(clip.wav) for clip in clips]
    right = [agreement(one, other) for one, other in zip(heard, given, strict=True)]
    chance = [agreement(heard[one], given[other]) for one, other in others(len(clips))]
    return {"right": share(right), "chance": share(chance), "frames": sum(count for _, count in right)}


def restyled(model: Any, clips: Sequence[Clip], options: argparse.Namespace) -> dict[str, Any]:
    def right(with_tune: bool) -> float:
        pairs = []
        for number, clip in enumerate(clips):
            plan = ScorePlan(
                tempo=clip.bpm, first_beat=clip.first_beat, duration=options.seconds,
                chords=tuple((second, symbol) for symbol, second in clip.chords),
            )  # fmt: skip
            wav = torch.from_numpy(clip.wav)[None]
            asked = GenerationRequest(
                prompts=(STYLES[number % len(STYLES)],), seeds=(options.seed + number,),
                flow=FlowSettings(steps=options.steps),
            )  # fmt: skip
            made = restyle(model, asked, plan, tune_of=(wav, SAMPLE_RATE) if with_tune else None)
            audio = convert_audio(made.audio[0].float().cpu(), made.sample_rate, SAMPLE_RATE, 1)[0]
            pairs.append(agreement(tune_of(audio.numpy()), tune_of(clip.wav)))
        return share(pairs)

    return {"right": right(True), "without": right(False), "clips": len(clips)}


def verdicts(found: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield what was asked for, and whether it is there."""
    for name, figures in found.items():
        if name == "chords":
            met = figures["right"] >= figures["ceiling"] - 0.15 and figures["right"] >= 3 * figures["chance"]
            goal = "within 15 points of the ceiling and 3 x chance"
        elif name == "drums":
            own, others_ = figures["f1"], figures["f1_of_others"]
            met = own is not None and others_ is not None and own >= 0.6 and others_ <= 0.3
            goal = "0.6, beside 0.3 at most"
        elif name == "restyle":
            met, goal = figures["right"] >= figures["without"] + 0.1, "10 points more than without"
        else:
            met, goal = figures["right"] >= 2 * figures["chance"], "2 x chance"
        told = ", ".join(
            f"{key} {'none' if value is None else format(value, 'g')}" for key, value in figures.items()
        )
        yield f"{name}: {told} (goal: {goal}): {'met' if met else 'missed'}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="a name, a folder, or a file")
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--chances", type=int, default=5, help="other clips that each output is heard beside")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--steps", type=int, help="of the solver; default: the model's own")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here too")
    options = parser.parse_args()
    torch.manual_seed(0)
    model: Any = load_model(options.model)
    clips = list(held_out(options.corpus, options.clips, options.seconds))
    if len(clips) < 2:
        raise SystemExit(
            f"{options.corpus} has {len(clips)} held-out clips of music; two are needed for chance"
        )
    began, found = time.perf_counter(), {}
    for name, measure in (("chords", chords), ("drums", drums), ("melody", tunes)):
        if name in model.takes:
            found[name] = measure(model, clips, options)
    if {"melody", "plan"} <= model.takes:
        found["restyle"] = restyled(model, clips, options)
    for line in verdicts(found):
        print(line, flush=True)
    document = {
        "benchmark": "jasco", "model": options.model, "clips": len(clips), "seconds": options.seconds,
        "seed": options.seed, "took_s": round(time.perf_counter() - began, 1), **found,
    }  # fmt: skip
    text = json.dumps(document)
    if options.json is not None:
        options.json.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
