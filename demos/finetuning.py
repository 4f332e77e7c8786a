# %% [markdown]
# # Fine-tuning: a model that knows your recordings
#
# `audiocraft finetune DIR` looks at a folder, says what it uses and what it leaves out, trains, and ends with a model that every
# command takes. Here a few steps on four short pieces that the model itself made, to see how it goes; a real folder and the
# default of 300 steps take some minutes ([the page on training](../docs/training.md)).

# %%
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from audiocraft.audio.files import audio_write
from audiocraft.models import MusicGen


def audiocraft(*words: str | Path) -> None:
    """Run the command as in a terminal."""
    done = subprocess.run(
        [sys.executable, "-m", "audiocraft", *map(str, words)], capture_output=True, text=True
    )
    print(done.stdout, done.stderr)
    done.check_returncode()


root = Path(tempfile.mkdtemp())
model = MusicGen.get_pretrained("nano")
model.set_generation_params(duration=6)
torch.manual_seed(0)
for number, wav in enumerate(model.generate(["choir and strings, 70 bpm, D minor"] * 4)):
    audio_write(root / "songs" / f"choir {number}", wav, model.sample_rate)

# %%
audiocraft(
    "finetune",
    root / "songs",
    "--caption",
    "{folder}, {bpm} bpm, {key}",
    "--dry-run",
    "--run",
    root / "run",
    "--out",
    root / "mine",
)

# %%
audiocraft(
    "finetune",
    root / "songs",
    "--caption",
    "{folder}, {bpm} bpm, {key}",
    "--steps",
    "2",
    "--batch-size",
    "2",
    "--crop",
    "3",
    "--run",
    root / "run",
    "--out",
    root / "mine",
)

# %%
from listen import show

mine = MusicGen.get_pretrained(str(root / "mine"))
mine.set_generation_params(duration=4)
torch.manual_seed(1)
show(mine.generate(["songs, 70 bpm, D minor"])[0], mine.sample_rate, "with the adapter")
