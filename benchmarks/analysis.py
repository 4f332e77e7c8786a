"""Measures the bundled detector: AUC per kind of fake on held-out clips, calibration, and what it must not judge.

usage: python benchmarks/analysis.py [--clips 100] [--generated 24] [--detector NAME] [--corpus DIR] [--sounds DIR]
                                     [--json FILE] [--card FILE]

Real: held-out clips of the corpora. Fakes: the same clips through the bundled codec with all and with half of its
codebooks, and pieces of the bundled models for captions of those clips, as they are and after MP3 and Opus; music is
compared with music, sounds with sounds. Same clips through Opus and MP3, without treble, or quieter, are no fakes:
their share called generated is an error. Speech (espeak-ng), noise and tones are no sounds of the corpora: their share
called foreign should be all. The last line of stdout is one JSON document; `--card` writes the model's README.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from nano_parts import codec as coders
from rich.console import Console
from rich.table import Table
from torch import Tensor

from audiocraft.analysis.report import Report, analyse
from audiocraft.audio.convert import convert_audio
from audiocraft.audio.files import encode_audio
from audiocraft.data.manifest import load_audio_meta, manifest_file
from audiocraft.generation.request import GenerationRequest
from audiocraft.models import AudioGen, MusicGen
from audiocraft.models.detectors.calibration import auc, calibration_error
from audiocraft.models.detectors.detector import Detector, load_detector
from audiocraft.models.loaders import load_compression_model

REPOSITORY = Path(__file__).resolve().parent.parent
RATE = 24000
SECONDS = 10.0
SPEECH = (
    ("en", "The quick brown fox jumps over the lazy dog, and nobody knows why it should do that every day."),
    ("de", "Heute scheint die Sonne, und morgen wird es regnen; so steht es jedenfalls in der Zeitung."),
    ("fr", "Il était une fois, dans un petit village, un homme qui parlait seulement aux oiseaux."),
    ("es", "La biblioteca está abierta todos los días desde las nueve de la mañana hasta la noche."),
)
# What generated pieces are also heard after, and the seeds of those pieces.
AFTERWARDS = ("MP3, 64 kb/s", "Opus")
FIRST_SEED, BATCH = 10_000_000, 8
Change = Callable[[Tensor], Tensor]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=100, help="held-out clips, half music and half sounds")
    parser.add_argument("--generated", type=int, default=32, help="pieces of each model; 0 leaves them out")
    parser.add_argument("--detector", default="analysis-nano")
    parser.add_argument("--codec", default="nano")
    parser.add_argument("--model", default="musicgen-nano")
    parser.add_argument("--sound-model", default="audiogen-nano")
    parser.add_argument("--corpus", type=Path, default=REPOSITORY / "runs" / "corpus")
    parser.add_argument("--sounds", type=Path, default=REPOSITORY / "runs" / "sounds")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--card", type=Path, help="write the model's README here")
    return parser.parse_args()


@dataclass(frozen=True)
class Clip:
    """This record holds a held-out clip [N] at 24 kHz: "music" or "sound", and its caption."""

    wav: Tensor
    kind: str
    caption: str


def held_out(options: argparse.Namespace) -> list[Clip]:
    """Return as many held-out clips of each kind."""
    clips = []
    for folder, kind in ((options.corpus, "music"), (options.sounds, "sound")):
        files = load_audio_meta(manifest_file(folder / "egs" / kind / "heldout"))[: options.clips // 2]
        for meta in files:
            frames, rate = soundfile.read(meta.path, dtype="float32", always_2d=True)
            wav = convert_audio(torch.from_numpy(frames.T), rate, RATE, 1)[0]
            clips.append(Clip(wav, kind, _caption(Path(meta.path))))
    return clips


def _caption(path: Path) -> str:
    labels = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    return str(labels["captions"][0])


def changes(options: argparse.Namespace) -> tuple[dict[str, Change], dict[str, Change]]:
    """Return (what makes a fake of a clip, what leaves it real)."""
    network = load_compression_model(options.codec)

    @torch.inference_mode()
    def decoded(wav: Tensor, share: float) -> Tensor:
        codes, scale = network.encode(wav[None, None])
        return network.decode(codes[:, : max(1, round(share * codes.shape[1]))], scale)[
            0, 0, : len(wav)
        ].clone()

    def stored(wav: Tensor, format: str, kbps: float | None) -> Tensor:
        with tempfile.NamedTemporaryFile(suffix=f".{format}") as file:
            file.write(encode_audio(wav[None], RATE, format, kbps))
            file.flush()
            frames, rate = soundfile.read(file.name, dtype="float32", always_2d=True)
        return convert_audio(torch.from_numpy(frames.T), rate, RATE, 1)[0]

    def dull(wav: Tensor) -> Tensor:
        return convert_audio(convert_audio(wav[None], RATE, 11025, 1), 11025, RATE, 1)[0]

    fakes: dict[str, Change] = {
        "codec, all codebooks": lambda wav: decoded(wav, 1.0),
        "codec, half of them": lambda wav: decoded(wav, 0.5),
    }
    real: dict[str, Change] = {
        "MP3, 64 kb/s": lambda wav: stored(wav, "mp3", 64),
        "Opus": lambda wav: stored(wav, "opus", None),
        "without treble (11 kHz rate)": dull,
        "20 dB quieter": lambda wav: wav * 0.1,
    }
    if coders.has_opus():
        low = coders.opus(6)
        real["Opus, 6 kb/s"] = lambda wav: torch.from_numpy(low(wav.numpy())[0])
    return fakes, real


def strangers() -> Iterator[tuple[str, Tensor]]:
    """Yield sounds of kinds that are not in the corpora: (kind, wav)."""
    random = np.random.default_rng(5)
    samples = int(SECONDS * RATE)
    time = np.arange(samples) / RATE
    for power, name in ((0.0, "white noise"), (0.5, "pink noise"), (1.0, "brown noise")):
        for _ in range(4):
            spectrum = np.fft.rfft(random.standard_normal(samples))
            spectrum[1:] /= np.arange(1, len(spectrum)) ** power
            spectrum[0] = 0
            wave = np.fft.irfft(spectrum, samples)
            yield name, torch.from_numpy((0.2 * wave / wave.std()).clip(-1, 1).astype(np.float32))
    for hertz in (110.0, 440.0, 1000.0, 3520.0):
        yield "tone", torch.from_numpy((0.3 * np.sin(2 * np.pi * hertz * time)).astype(np.float32))
    for low, high in ((100.0, 8000.0), (8000.0, 100.0)):
        phase = 2 * np.pi * np.cumsum(np.geomspace(low, high, samples)) / RATE
        yield "sweep", torch.from_numpy((0.3 * np.sin(phase)).astype(np.float32))
    if shutil.which("espeak-ng"):
        for voice, text in SPEECH:
            for speed in (130, 175):
                yield "speech", _speech(voice, text, speed)


def _speech(voice: str, text: str, speed: int) -> Tensor:
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        subprocess.run(["espeak-ng", "-v", voice, "-s", str(speed), "-w", file.name, text], check=True)
        frames, rate = soundfile.read(file.name, dtype="float32", always_2d=True)
    return convert_audio(torch.from_numpy(frames.T), rate, RATE, 1)[0]


def generated(options: argparse.Namespace, clips: list[Clip], kind: str) -> list[Tensor]:
    """Return pieces of the bundled model of that kind, for captions of held-out clips; no training piece has their
    seeds."""
    prompts = [clip.caption for clip in clips if clip.kind == kind][: options.generated]
    if not prompts:
        return []
    model: MusicGen | AudioGen
    if kind == "music":
        model = MusicGen.get_pretrained(options.model)
    else:
        model = AudioGen.get_pretrained(options.sound_model)
    pieces = []
    for first in range(0, len(prompts), BATCH):
        rows = tuple(prompts[first : first + BATCH])
        seeds = tuple(range(FIRST_SEED + first, FIRST_SEED + first + len(rows)))
        result = model.run(GenerationRequest(prompts=rows, duration=SECONDS, seeds=seeds))
        pieces += [convert_audio(made.float().cpu(), result.sample_rate, RATE, 1)[0] for made in result.audio]
    return pieces


def listen(detector: Detector, wavs: list[Tensor]) -> list[Report]:
    return [analyse(wav[None], RATE, detector, music=False) for wav in wavs]


def areas(real: list[Report], fake: list[Report]) -> dict[str, float]:
    """Return AUC of each score over clips, and of the joint score over windows; foreign clips count like all others."""
    row = {}
    for name in ("score", "mpd_score", "msd_score", "msstftd_score"):
        row[name] = auc(_values(real, name), _values(fake, name))
    windows = [
        torch.tensor([w.score for r in side for w in r.windows if w.score is not None])
        for side in (real, fake)
    ]
    row["windows"] = auc(*windows)
    row["called generated"] = float(np.mean([report.verdict == "generated" for report in fake]))
    row["called foreign"] = float(np.mean([not report.in_domain for report in fake]))
    return {name: round(value, 4) for name, value in row.items()}


def _values(reports: list[Report], name: str) -> Tensor:
    return torch.tensor([getattr(report, name) for report in reports if getattr(report, name) is not None])


def verdicts(reports: list[Report]) -> dict[str, Any]:
    count = max(1, len(reports))
    shares = {kind: sum(r.verdict == kind for r in reports) / count for kind in ("real", "generated")}
    return {"clips": len(reports), **{k: round(v, 4) for k, v in shares.items()},
            "foreign": round(sum(not r.in_domain for r in reports) / count, 4)}  # fmt: skip


def calibration(real: list[Report], fake: list[Report]) -> dict[str, float]:
    """Return expected calibration error of clips and of windows, real against decoded."""
    clips = torch.cat([_values(real, "score"), _values(fake, "score")])
    truth = torch.cat([torch.ones(len(_values(real, "score"))), torch.zeros(len(_values(fake, "score")))])
    pairs = [(w.score, float(side)) for side, reports in ((1, real), (0, fake)) for r in reports for w in r.windows
             if w.score is not None]  # fmt: skip
    scores, sides = torch.tensor(pairs).T
    return {
        "clips": round(calibration_error(clips, truth), 4),
        "windows": round(calibration_error(scores, sides), 4),
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    detector = load_detector(options.detector)
    clips = held_out(options)
    wavs = [clip.wav for clip in clips]
    real = listen(detector, wavs)
    fakes, harmless = changes(options)
    found: dict[str, Any] = {"benchmark": "analysis", "clips": len(wavs), "real": {}, "fakes": {}}
    found["generated"] = options.generated
    for name, change in fakes.items():
        reports = listen(detector, [change(wav) for wav in wavs])
        found["fakes"][name] = areas(real, reports)
        found.setdefault("calibration", calibration(real, reports))
    for kind in ("music", "sound"):
        own = [report for report, clip in zip(real, clips, strict=True) if clip.kind == kind]
        found["real"][kind] = verdicts(own)
        pieces = generated(options, clips, kind) if own else []
        for name, change in {"": _same, **{key: harmless[key] for key in AFTERWARDS}}.items():
            if pieces:
                heard = listen(detector, [change(wav) for wav in pieces])
                found["fakes"][f"{kind} model{name and ', ' + name}"] = areas(own, heard)
    found["harmless"] = {
        name: verdicts(listen(detector, [do(wav) for wav in wavs])) for name, do in harmless.items()
    }
    kinds: dict[str, list[Tensor]] = {}
    for kind, wav in strangers():
        kinds.setdefault(kind, []).append(wav)
    found["strangers"] = {kind: verdicts(listen(detector, sounds)) for kind, sounds in kinds.items()}
    found["threshold"] = round(detector.config.calibration.threshold, 4)
    found["domain_limit"] = round(detector.config.domain.limit, 3)
    found["parameters"] = sum(parameter.numel() for parameter in detector.parameters())
    return found


def _same(wav: Tensor) -> Tensor:
    return wav


def show(found: dict[str, Any], console: Console) -> None:
    for title, rows in (("Fakes: AUC against real clips", found["fakes"]), ("Real clips, changed", found["harmless"]),
                        ("Other kinds of sound", found["strangers"])):  # fmt: skip
        if rows:
            table = Table("", *next(iter(rows.values())), title=title)
            for name, row in rows.items():
                table.add_row(
                    name,
                    *(f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values()),
                )
            console.print(table)
    console.print(f"calibration error: {found['calibration']}, real clips: {found['real']}", highlight=False)


def card(found: dict[str, Any]) -> str:
    """Return the README of the model, with these figures."""
    fakes = "\n".join(
        f"| {name} | {row['score']:.3f} | {row['mpd_score']:.3f} | {row['msd_score']:.3f} | {row['msstftd_score']:.3f} "
        f"| {row['windows']:.3f} | {row['called generated']:.0%} |"
        for name, row in found["fakes"].items()
    )
    others = "\n".join(
        f"| {name} | {row['clips']} | {row['real']:.0%} | {row['generated']:.0%} | {row['foreign']:.0%} |"
        for name, row in {
            **{f"held-out {kind} as it is": row for kind, row in found["real"].items()},
            **found["harmless"],
            **found["strangers"],
        }.items()
    )
    error = found["calibration"]
    template = Path(__file__).with_name("analysis_card.txt").read_text(encoding="utf-8")
    return template.format(
        millions=found["parameters"] / 1e6,
        threshold=found["threshold"],
        clips=found["clips"],
        generated=found["generated"],
        fakes=fakes,
        others=others,
        error_clips=error["clips"],
        error_windows=error["windows"],
    )


def main() -> None:
    options = arguments()
    torch.manual_seed(0)
    found = measure(options)
    show(found, Console(width=max(120, Console().width)))
    if options.card is not None:
        options.card.write_text(card(found), encoding="utf-8")
    text = json.dumps(found, ensure_ascii=False)
    if options.json is not None:
        options.json.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
