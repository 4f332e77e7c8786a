"""Speech for the training of the watermark: this project's own texts, read by `espeak-ng` in many voices.

    apt-get install espeak-ng
    python recipes/speak.py --out runs/speech

Half an hour for training, and a few minutes each of other voices for validation and for measuring: 16-bit WAV files of
some seconds, and a manifest per split.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np

from audiocraft.data.manifest import find_audio_files, save_audio_meta

HOME = Path(__file__).resolve().parents[1]
LANGUAGES = ("en-us", "en-gb", "de", "fr-fr", "es", "it", "pt-br", "nl", "pl", "ru", "cmn", "tr", "sv")
VOICES = {
    "train": ("m1", "m2", "m3", "m5", "m6", "f1", "f2", "f4", "john", "linda", "Alicia", "robert"),
    "valid": ("m4", "f3"),
    "heldout": ("m7", "f5", "Annie", "edward"),
}
CLIPS = {"train": 240, "valid": 24, "heldout": 64}


def sentences() -> list[str]:
    """Return sentences of the documentation, without code, tables and links."""
    found: list[str] = []
    for page in sorted((HOME / "docs").glob("*.md")):
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        prose = " ".join(line for line in text.splitlines() if line and not line.startswith(("|", "#", "-")))
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", prose).translate({ord("`"): None, ord("*"): None})
        found += [part for part in re.split(r"(?<=[.!?])\s+", plain) if 40 < len(part) < 200]
    return found


def speak(text: str, path: Path, *, voice: str, speed: int, pitch: int) -> None:
    """Read `text` aloud into the file `path`."""
    options = ["-v", voice, "-s", str(speed), "-p", str(pitch), "-w", str(path)]
    subprocess.run(["espeak-ng", *options, text], check=True, capture_output=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/speech"), help="folder of the speech")
    parser.add_argument("--seed", type=int, default=5)
    given = parser.parse_args()
    if shutil.which("espeak-ng") is None:
        parser.error("espeak-ng is not installed: apt-get install espeak-ng")
    random, texts = np.random.default_rng(given.seed), sentences()
    for split, voices in VOICES.items():
        folder = given.out / split
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(CLIPS[split]):
            chosen = random.choice(len(texts), size=2, replace=False)
            voice = f"{random.choice(LANGUAGES)}+{random.choice(voices)}"
            speed, pitch = int(random.integers(130, 210)), int(random.integers(25, 75))
            path = folder / f"{number:04d}.wav"
            if not path.exists():
                speak(" ".join(texts[index] for index in chosen), path, voice=voice, speed=speed, pitch=pitch)
        metas = [
            replace(meta, path=str(Path(meta.path).relative_to(given.out.resolve())))
            for meta in find_audio_files(folder)
        ]
        manifest = given.out / "egs" / split / "data.jsonl.gz"
        manifest.parent.mkdir(parents=True, exist_ok=True)
        save_audio_meta(manifest, metas)
        print(f"{split}: {len(metas)} files, {sum(meta.duration for meta in metas) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
