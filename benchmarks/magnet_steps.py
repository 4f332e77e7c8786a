"""How many passes a masked model needs: its steps against tempo, key, instruments, log-mel and time, beside a model
that predicts one code after the other.

    python benchmarks/magnet_steps.py --model magnet-nano [--beside musicgen-nano] [--corpus runs/songs] [--prompts 60]
        [--steps 10,2 20,5 20,10 40,10] [--threads 2] [--plot FILE.png] [--json FILE]

Prompts are those of held-out clips, and the ears those of benchmarks/nano.py, with which it shares its folder `--work`.
The distance of log-mel is that between the mean spectra of what was made and of the clips, in dB. Times are of one
piece of 10 s, both models in turns, the least of three. A point of the plot is a schedule; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nano import BATCH, CHOICE_CLIPS, REPOSITORY, TRAINING_CLIPS, prepare_ears
from nano_parts import clips, codec
from numpy.typing import NDArray
from rich.console import Console

from audiocraft.checkpoints.digest import weights_digest
from audiocraft.generation.request import GenerationRequest, MaskedSettings
from audiocraft.losses.specloss import MelSpectrogramWrapper
from audiocraft.metrics import following, listening
from audiocraft.models.loaders import load_model

SECONDS, ROUNDS, POINTS = 10.0, 3, 10.0
SHOWN = ("tempo", "key", "instruments", "log_mel_db", "seconds")
Audio = NDArray[np.float32]


def asked(prompts: Sequence[str], seed: int, steps: tuple[int, ...] | None) -> GenerationRequest:
    masked = MaskedSettings() if steps is None else MaskedSettings(steps=steps)
    seeds = tuple(range(seed, seed + len(prompts)))
    return GenerationRequest(prompts=tuple(prompts), duration=SECONDS, seeds=seeds, masked=masked)


def made(model: Any, prompts: Sequence[str], seed: int, steps: tuple[int, ...] | None) -> list[Audio]:
    """Make a piece for each prompt, at 24 kHz."""
    found: list[Audio] = []
    for first in range(0, len(prompts), BATCH):
        result = model.run(asked(prompts[first : first + BATCH], seed + first, steps))
        audio = codec.resampled(result.audio.mean(1).float().cpu(), result.sample_rate, clips.SAMPLE_RATE)
        found += list(audio.numpy())
    return found


def spectrum(wavs: Sequence[Audio]) -> torch.Tensor:
    """Return the mean log-mel spectrum [80] of some pieces, dB."""
    mel = MelSpectrogramWrapper(
        n_fft=1024, hop_length=256, n_mels=80, sample_rate=clips.SAMPLE_RATE, floor_level=1e-5
    )
    levels = [10 * mel(torch.from_numpy(wav)[None, None]) for wav in wavs]
    return torch.stack([level.reshape(80, -1).mean(-1) for level in levels]).mean(0)


def seconds_of(model: Any, steps: tuple[int, ...] | None) -> float:
    """Return how many seconds one piece takes."""
    began = time.perf_counter()
    model.run(asked(["calm piano, 90 bpm"], 1, steps))
    return time.perf_counter() - began


def total(steps: tuple[int, ...], codebooks: int) -> int:
    """Return how many passes all codebooks take; the last number holds for the further ones."""
    return sum(steps[min(place, len(steps) - 1)] for place in range(codebooks))


def plot(path: Path, rows: Sequence[dict[str, Any]], beside: dict[str, float], name: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, places = pyplot.subplots(1, len(SHOWN), figsize=(3 * len(SHOWN), 3), layout="constrained")
    for place, what in zip(places, SHOWN, strict=True):
        place.plot([row["passes"] for row in rows], [row[what] for row in rows], "o-")
        place.axhline(beside[what], color="gray", linestyle="--", label=name)
        place.set_title(what)
        place.set_xlabel("passes")
        place.set_ylim(bottom=0)
    places[0].legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="a masked model: a name, a folder, or a file")
    parser.add_argument("--beside", default="musicgen-nano")
    parser.add_argument("--corpus", type=Path, default=REPOSITORY / "runs" / "songs")
    parser.add_argument("--prompts", type=int, default=60)
    parser.add_argument("--steps", nargs="+", default=["10,2", "10,5", "20,5", "20,10", "40,10"])
    parser.add_argument("--training-clips", type=int, default=TRAINING_CLIPS)
    parser.add_argument("--work", type=Path, default=REPOSITORY / "runs" / "bench")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", type=Path, metavar="FILE")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    console = Console(width=110)
    schedules = [tuple(int(one) for one in text.split(",")) for text in options.steps]
    model, other = load_model(options.model), load_model(options.beside)
    examples = list(clips.from_corpus(options.corpus, "heldout", min(options.prompts, CHOICE_CLIPS)))
    neural = codec.neural(model.compression_model)
    ears, _ = prepare_ears(
        lambda wav: neural(wav)[0], weights_digest(model.compression_model)[:12], options, console
    )
    wanted = spectrum([one.wav for one in examples])
    prompts = [one.prompt for one in examples]

    def measured(one: Any, steps: tuple[int, ...] | None) -> dict[str, float]:
        wavs = made(one, prompts, options.seed, steps)
        scores = following.score(listening.listen(ears, wavs), examples)
        return {**scores, "log_mel_db": round(float((spectrum(wavs) - wanted).abs().mean()), 3)}

    beside = measured(other, None)
    rows = [
        {"steps": list(steps), "passes": total(steps, model.lm.n_q), **measured(model, steps)}
        for steps in schedules
    ]
    times = [
        [seconds_of(other, None), *(seconds_of(model, steps) for steps in schedules)] for _ in range(ROUNDS)
    ]
    least = np.min(times, axis=0)
    beside["seconds"] = round(float(least[0]), 3)
    for row, took in zip(rows, least[1:], strict=True):
        row["seconds"] = round(float(took), 3)
        near = all(row[what] >= beside[what] - POINTS / 100 for what in ("tempo", "key", "instruments"))
        told = ", ".join(f"{what} {row[what]:g} ({beside[what]:g})" for what in SHOWN)
        print(
            f"{row['steps']}, {row['passes']} passes: {told}; within {POINTS:g} points: {'yes' if near else 'no'}"
        )
    if options.plot is not None:
        plot(options.plot, rows, beside, options.beside)
    text = json.dumps(
        {
            "benchmark": "magnet steps", "model": options.model, "beside": {"model": options.beside, **beside},
            "prompts": len(examples), "threads": options.threads, "rows": rows,
        }
    )  # fmt: skip
    if options.json is not None:
        options.json.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
