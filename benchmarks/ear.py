"""Measures whether anything bad reaches an ear: bursts, peaks, tones that stay, ends that click, silence.

usage: python benchmarks/ear.py [--prompts bare|detailed|sounds] [--seeds 32] [--seconds 8] [--forms wav stream ...]

Each prompt is made with each seed, as the command line makes it. A burst is a sample above four times the 99th
percentile of the clip's magnitudes, in what the model makes; everything else is measured in what is written or
streamed. Each clip is made once and then written in every form. The last line of stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import soundfile
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from audiocraft.audio.encoders import open_encoder
from audiocraft.audio.files import audio_read
from audiocraft.audio.finishing import USUAL, find_faults, finished
from audiocraft.audio.loudness import true_peak
from audiocraft.errors import AudioCraftError
from audiocraft.generation.held_tones import longest_tone_of
from audiocraft.generation.request import GenerationRequest, GenerationResult
from audiocraft.metrics.health import ending_level, has_burst
from audiocraft.models.generator import GeneratorModel
from audiocraft.models.loaders import load_model
from audiocraft.workflows.render import render
from audiocraft.workflows.takes import SILENT_TAKES, take_seed

PROMPTS = {
    "bare": ("happy music", "jazz", "pop", "lofi hip hop", "orchestra", "flute", "rock", "sad song"),
    "detailed": (
        "calm piano in A minor, 80 bpm",
        "jazz trio, piano, upright bass and drums, 120 bpm, F major",
        "techno, synth lead and drums, 128 bpm, E minor",
        "folk, acoustic guitar, 100 bpm, D major",
        "slow strings, 60 bpm, G minor",
        "lofi beat, electric piano and drums, 75 bpm, C minor",
        "rock, guitar, bass and drums, 120 bpm, A minor",
        "waltz, flute and harp, 90 bpm, G major",
    ),
    "sounds": (
        "rain", "thunder", "wind", "stream", "waves", "crickets", "birds", "dog barking", "footsteps", "door",
        "clock ticking", "typing", "engine", "helicopter", "siren", "alarm", "bell", "fire", "explosion",
        "water drops", "whoosh",
    ),
}  # fmt: skip
FILES, STREAMS = ("wav", "flac", "mp3", "ogg", "opus"), ("stream", "mp3 stream", "opus stream")
LOSSY = {"mp3", "ogg", "opus", "mp3 stream", "opus stream"}
_ROWS = 8


@dataclass
class Heard:
    """This record holds what was measured so far."""

    clips: int = 0
    bursts: list[str] = field(default_factory=list)
    peaks: dict[str, float] = field(default_factory=dict)
    endings: dict[str, float] = field(default_factory=dict)
    retried: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    longest_tone: float = 0.0
    longest_streamed: float = 0.0
    streamed: list[str] = field(default_factory=list)

    def note_form(self, form: str, wav: Tensor, rate: int) -> None:
        """Note a clip as it is in a form that reaches an ear."""
        self.peaks[form] = max(self.peaks.get(form, -99.0), true_peak(wav, rate))
        self.endings[form] = max(self.endings.get(form, -99.0), ending_level(wav, rate))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", choices=sorted(PROMPTS), default="bare")
    parser.add_argument("--model", help="by default the bundled one for these prompts")
    parser.add_argument("--seeds", type=int, default=32)
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--every", type=int, default=1, help="lossy forms of every so many seeds")
    parser.add_argument("--forms", nargs="+", default=["wav", "stream"], choices=[*FILES, *STREAMS])
    return parser.parse_args()


def streamed(wav: Tensor, rate: int, form: str) -> tuple[Tensor, int]:
    """Return wav [C, N] as a listener of this stream hears it."""
    wav = finished(wav, rate, USUAL)
    if form == "stream":
        return wav, rate
    encoder = open_encoder(form.removesuffix(" stream"), rate, wav.shape[0])
    content = (
        b"".join(encoder.encode(part.numpy()) for part in wav.split(rate // 5, dim=-1)) + encoder.finish()
    )
    found, held = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    return torch.from_numpy(found.T.copy()), held


class Once:
    """This model makes a clip only once, several seeds in one pass, so that its forms are those of one take. In
    company a clip is the same as alone."""

    def __init__(self, model: GeneratorModel, prompt: str, seconds: float, seeds: tuple[int, ...]) -> None:
        self._model = model
        prompts = (prompt,) * len(seeds)
        made = model.run(
            GenerationRequest(
                prompts=prompts, duration=seconds, seeds=seeds, longest_tone=longest_tone_of([prompt])
            )
        )
        self._made = {
            (prompts[:1], (seed,)): replace(
                made, audio=made.audio[row : row + 1], seeds=(seed,), plans=made.plans[row : row + 1]
            )
            for row, seed in enumerate(seeds)
        }

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def run(self, request: GenerationRequest, **how: Any) -> GenerationResult:
        """Return what `request` gives, remembered by its prompts and seeds."""
        assert request.seeds is not None
        key = (request.prompts, request.seeds)
        if key not in self._made:
            self._made[key] = self._model.run(request, **how)
        return self._made[key]


def listen(
    model: GeneratorModel, prompt: str, options: argparse.Namespace, heard: Heard, folder: Path
) -> None:
    """Make one prompt with all seeds, and measure."""
    seeds = range(options.first, options.first + options.seeds)
    for place, seed in enumerate(seeds):
        if place % _ROWS == 0:
            rows = tuple(seeds[place : place + _ROWS])
            once = cast(GeneratorModel, Once(model, prompt, options.seconds, rows))
        request = GenerationRequest(
            prompts=(prompt,), duration=options.seconds, seeds=(seed,), longest_tone=longest_tone_of([prompt])
        )
        forms = options.forms if place % options.every == 0 else set(options.forms) - LOSSY
        for form in (form for form in FILES if form in forms):
            _listen_to_file(once, request, heard, folder / f"x.{form}")
        made = once.run(request)
        heard.clips += 1
        if has_burst(made.audio[0]):
            heard.bursts.append(f"{prompt} {seed}")
        made = _first_heard(once, request)
        faults = find_faults(made.audio[0], made.sample_rate, music=model.makes_music)
        heard.longest_streamed = max(heard.longest_streamed, faults.held)
        if faults.reason is not None:
            heard.streamed.append(f"{prompt} {seed}: {faults.reason}")
        for form in (form for form in STREAMS if form in forms):
            heard.note_form(form, *streamed(made.audio[0], made.sample_rate, form))


def _first_heard(model: GeneratorModel, request: GenerationRequest) -> GenerationResult:
    """Return the take that a stream is: the first one that is neither silent nor broken, whatever else it is."""
    assert request.seeds is not None
    for number in range(SILENT_TAKES):
        made = model.run(replace(request, seeds=(take_seed(request.seeds[0], number),)))
        faults = find_faults(made.audio[0], made.sample_rate)
        if not (faults.silent or faults.broken):
            break
    return made


def _listen_to_file(model: GeneratorModel, request: GenerationRequest, heard: Heard, path: Path) -> None:
    """Write one clip as the command line does, and measure the file."""
    try:
        (done,) = render(model, request, [path])
    except AudioCraftError as error:
        heard.faults[str(error)] += 1
        return
    wav, rate = audio_read(done.path)
    heard.note_form(path.suffix[1:], wav, rate)
    if path.suffix != ".wav":
        return
    if done.recipe.asked_seed is not None:
        heard.retried.append(f"{request.prompts[0]} {done.recipe.asked_seed}")
    faults = find_faults(wav, rate, music=model.makes_music)
    heard.longest_tone = max(heard.longest_tone, faults.held)
    heard.faults[faults.reason or "none"] += 1


def main() -> None:
    options = arguments()
    model = load_model(options.model or ("audiogen-nano" if options.prompts == "sounds" else "nano"))
    heard, console = Heard(), Console(stderr=True)
    with tempfile.TemporaryDirectory() as folder:
        for prompt in track(PROMPTS[options.prompts], "listening", console=console):
            listen(model, prompt, options, heard, Path(folder))
    print(f"bursts in {len(heard.bursts)} of {heard.clips}: {', '.join(heard.bursts) or 'none'}")
    for form, peak in heard.peaks.items():
        print(
            f"{form:<12} true peak {peak:6.2f} dBTP at most, last 5 ms {heard.endings[form]:6.1f} dB below the peak"
        )
    print(f"longest tone {heard.longest_tone:.2f} s; made again: {', '.join(heard.retried) or 'none'}")
    print(
        f"streamed: longest tone {heard.longest_streamed:.2f} s; {', '.join(heard.streamed) or 'no faults'}"
    )
    print(
        json.dumps(
            {
                "prompts": options.prompts, "clips": heard.clips, "bursts": len(heard.bursts), "peaks": heard.peaks,
                "endings": heard.endings, "longest_tone": heard.longest_tone, "retried": heard.retried,
                "faults": dict(heard.faults), "longest_streamed": heard.longest_streamed, "streamed": heard.streamed,
            }
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
