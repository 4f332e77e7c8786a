"""Fine-tuning, measured as a musician would use it: songs of two unusual styles, made here by rule; adapters and all
weights; the cross-entropy of what was held out and of other music, before and after; a folder of odd files.

    python benchmarks/finetune.py --out runs/finetune-bench                  # as `audiocraft finetune` does it
    python benchmarks/finetune.py --out runs/finetune-small --size small     # 60 steps of 5 s; tiny: 4 of 1 s
    python benchmarks/finetune.py --out runs/finetune-bench --part bells-lora    # one part after the other

Parts are bells-lora, buzz-lora, bells-full, measure (of these three) and odd; all, where none is named. A run that was
stopped goes on, and one that is done is not repeated. What is held out are four songs of each style that no run sees.
Needs `pip install '.[train,analysis]'`; for other music, FluidSynth and a General MIDI sound font. It prints one JSON
document, and keeps it as figures.json in the folder.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from audiocraft.cli.main import main as command
from audiocraft.data.manifest import load_audio_meta, save_audio_meta
from audiocraft.solvers.builders import build_solver
from audiocraft.types import AudioMeta
from audiocraft.workflows.finetune import Base, Settings, configure

RATE, SECONDS, SONGS, UNHEARD = 24000, 30.0, 8, 4
SIZES: dict[str, list[str]] = {
    "full": [],
    "small": ["--steps", "60", "--crop", "5"],
    "tiny": ["--steps", "4", "--crop", "1", "--batch-size", "2"],
}
CROPS = {"full": None, "small": 5.0, "tiny": 1.0}
PARTS = ("bells-lora", "buzz-lora", "bells-full", "measure", "odd")
Samples = NDArray[np.float64]


def bells(song: int) -> Samples:
    """Play inharmonic bells in steps of a fifth of an octave, seven beats to a bar."""
    random, total = np.random.default_rng(100 + song), int(RATE * SECONDS)
    wave = np.zeros(total)
    beat = 60 / (90 + 5 * song)
    for number in range(int(SECONDS / beat)):
        if number % 7 in (0, 2, 3, 5):
            frequency = 180 * 2 ** (random.integers(0, 11) / 5)
            time_ = np.arange(int(RATE * 1.5)) / RATE
            tone = sum(
                np.exp(-(3 + 2 * k) * time_) * np.sin(2 * np.pi * frequency * ratio * time_) / (k + 1)
                for k, ratio in enumerate((0.56, 1.0, 1.51, 2.76, 3.33))
            )
            start = int(number * beat * RATE)
            wave[start : start + len(tone)] += 0.2 * tone[: total - start]
    return np.clip(wave, -0.95, 0.95)


def buzz(song: int) -> Samples:
    """Play a sawtooth that glides, chopped sixteen times a second, above bursts of noise."""
    random, total = np.random.default_rng(200 + song), int(RATE * SECONDS)
    time_ = np.arange(total) / RATE
    steps = np.repeat(random.integers(0, 24, int(SECONDS * 2) + 1), RATE // 2)[:total]
    smooth = np.convolve(steps, np.ones(4000) / 4000, mode="same")
    phase = np.cumsum(70 * 2 ** (smooth / 12) / RATE)
    saw = 2 * (phase % 1) - 1
    chopped = saw * (np.sin(2 * np.pi * (14 + song % 4) * time_) > 0)
    noise = random.standard_normal(total) * (time_ % 0.5 < 0.03)
    return np.clip(0.25 * chopped + 0.1 * noise, -0.95, 0.95)


def audiocraft(words: list[str]) -> int:
    """Run a command, whose results are no part of ours."""
    with contextlib.redirect_stdout(sys.stderr):
        return command(words)


STYLES = {"bells": (bells, "strange bells"), "buzz": (buzz, "buzzing machine")}


def write_style(name: str, folder: Path) -> Path:
    """Write eight songs of a style, with words beside them."""
    make, words = STYLES[name]
    folder.mkdir(parents=True, exist_ok=True)
    for song in range(SONGS):
        path = folder / f"{name} {song}.wav"
        if not path.is_file():
            soundfile.write(path, make(song), RATE, subtype="PCM_16")
            path.with_suffix(".txt").write_text(words)
    return folder


def write_unheard(name: str, folder: Path) -> Path:
    """Write further songs of a style, which nothing is trained on, as a data set `egs/all`."""
    make, words = STYLES[name]
    folder.mkdir(parents=True, exist_ok=True)
    metas = []
    for song in range(SONGS, SONGS + UNHEARD):
        path = folder / f"{song}.wav"
        soundfile.write(path, make(song), RATE, subtype="PCM_16")
        path.with_suffix(".json").write_text(json.dumps({"description": words}))
        metas.append(AudioMeta(str(path.resolve()), SECONDS, RATE))
    save_audio_meta(folder / "egs" / "all" / "data.jsonl.gz", metas)
    return folder


def write_odd(folder: Path) -> Path:
    """Write twelve files as people keep them; five of them cannot be used, and one is cut."""
    folder.mkdir(parents=True, exist_ok=True)

    def put(name: str, rate: int, channels: int, seconds: float = 12.0, told: bool = True) -> Path:
        time_ = np.arange(int(rate * seconds)) / rate
        beat = np.exp(-8 * (time_ % 0.5))
        wave = 0.3 * beat * np.sin(2 * np.pi * (180 + 20 * len(name)) * time_)
        soundfile.write(folder / name, np.repeat(wave[:, None], channels, axis=1), rate)
        if told:
            (folder / name).with_suffix(".txt").write_text("a plucked tone")
        return folder / name

    put("my song.wav", 44100, 2)
    put("second.flac", 48000, 1)
    put("third.wav", 22050, 1)
    put("fourth.ogg", 16000, 1)
    put("fifth.mp3", 32000, 2)
    put("\ub178\ub798.wav", 96000, 1, told=False)
    put("short.wav", 24000, 1, seconds=0.2, told=False)
    soundfile.write(folder / "silent.wav", np.zeros(24000 * 5), 24000)
    soundfile.write(folder / "nan.wav", np.full(24000 * 5, np.nan, dtype=np.float32), 24000, subtype="FLOAT")
    (folder / "text.wav").write_text("this is a text")
    cut = put("cut.flac", 24000, 1, told=False)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 3])
    (folder / "empty.wav").touch()
    return folder


def other_music(folder: Path) -> Path | None:
    """Make music of the kind that the base was trained on, which none of this is; None without a sound font."""
    words = [
        "data",
        "synthesize",
        "--out",
        str(folder),
        "--hours",
        "0.02",
        "--seed",
        "77",
        "--sounds-share",
        "0",
    ]
    if audiocraft(words) != 0:
        return None
    metas = [
        meta for split in ("train", "valid", "heldout") for meta in load_audio_meta(_manifest(folder, split))
    ]
    target = folder / "egs" / "all" / "data.jsonl.gz"
    save_audio_meta(target, [AudioMeta(meta.path, meta.duration, meta.sample_rate) for meta in metas])
    return folder


def _manifest(folder: Path, split: str) -> Path:
    return next((folder / "egs").rglob(f"music/{split}/data.jsonl.gz"))


def tune(base: str, songs: Path, run: Path, method: str, options: argparse.Namespace) -> float:
    """Run `audiocraft finetune` on a folder -> minutes it took."""
    begun = time.monotonic()
    words = ["finetune", str(songs), "--base", base, "--method", method, "--run", str(run)]
    words += ["--out", str(run / "model"), *SIZES[options.size]]
    code = audiocraft(words)
    if code != 0:
        raise SystemExit(code)
    return (time.monotonic() - begun) / 60


def cross_entropy(base: Base, weights: str, root: Path, valid: str, options: argparse.Namespace) -> float:
    """Return the cross-entropy of the clips in a manifest, with the weights of any model of the base's shape."""
    config = configure(base, root, Settings(method="full", batch_size=8, crop=CROPS[options.size]))
    tree = {"datasource": {"valid": valid}}
    from audiocraft.config.decode import decode, encode
    from audiocraft.solvers.run_config import merged

    changed: Any = decode(type(config), merged(encode(config), tree))
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        solver = build_solver(changed, Path(folder))
        solver.load_from(weights)
        solver.model.eval()
        torch.manual_seed(0)
        return float(solver.validate()["ce"])


def measure(out: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Measure the cross-entropy of unheard songs of both styles and of other music, of every model."""
    base = Base.find(options.base)
    runs = {name: out / name for name in ("bells-lora", "bells-full", "buzz-lora")}
    adapters = {style: runs[f"{style}-lora"] / "adapter.safetensors" for style in STYLES}
    models = {
        "base": options.base,
        **{name: str(run) for name, run in runs.items()},
        "half of both": f"{options.base}+{adapters['bells']}:0.5+{adapters['buzz']}:0.5",
    }
    data = {style: write_unheard(style, out / f"{style}-unheard") for style in STYLES}
    corpus = other_music(out / "corpus")
    if corpus is not None:
        data["other music"] = corpus
    table = {
        place: {name: cross_entropy(base, model, root, "egs/all", options) for name, model in models.items()}
        for place, root in data.items()
    }
    change = {
        place: {name: f"{100 * (value / row['base'] - 1):+.1f} %" for name, value in row.items()}
        for place, row in table.items()
    }
    size = sum(path.stat().st_size for path in (runs["bells-full"] / "model").rglob("*.safetensors"))
    return {
        "cross-entropy": table,
        "beside the base": change,
        "adapter's share of the model": adapters["bells"].stat().st_size / size,
    }


def part(name: str, out: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Run one part -> what it found, by what it is called."""
    if name == "measure":
        return measure(out, options)
    if name == "odd":
        return {
            "odd folder, minutes": tune(
                options.base, write_odd(out / "odd"), out / "odd-run", "lora", options
            )
        }
    style, method = name.split("-")
    minutes = tune(options.base, write_style(style, out / style), out / name, method, options)
    return {f"{name}, minutes": minutes}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--base", default="musicgen-nano")
    parser.add_argument("--size", choices=tuple(SIZES), default="full")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this; repeat it")
    options = parser.parse_args()
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s", datefmt="%H:%M:%S"
    )
    kept = options.out / "figures.json"
    found: dict[str, Any] = json.loads(kept.read_text()) if kept.is_file() else {"size": options.size}
    if found["size"] != options.size:
        raise SystemExit(f"{options.out} holds figures of size {found['size']}; choose another --out")
    for name in options.part or PARTS:
        # A run that is done takes no time when it is asked for again, and its minutes were measured before.
        found |= {
            key: value
            for key, value in part(name, options.out, options).items()
            if key not in found or name == "measure"
        }
        options.out.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(found, indent=1) + "\n")
    sys.stdout.write(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
