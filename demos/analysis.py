# %% [markdown]
# # Analysis: what is in a piece of audio

# %%
import torch
from listen import show

from audiocraft.analysis.report import analyse
from audiocraft.models import MusicGen
from audiocraft.models.detectors.detector import load_detector

model = MusicGen.get_pretrained("nano")
model.set_generation_params(duration=8)
torch.manual_seed(2)
wav = model.generate(["pop, piano, bass, drums, 110 bpm, C major"])[0]
show(wav, model.sample_rate)

# %%
report = analyse(wav, model.sample_rate, load_detector())
print(f"{report.music.tempo:.0f} bpm, {report.music.key}")
print(f"{report.level.loudness:.1f} LUFS, true peak {report.level.true_peak:.1f} dB")
print(f"verdict: {report.verdict}")

# %% [markdown]
# The chords that are heard, which an extension of somebody else's file goes on with.

# %%
from audiocraft.analysis.hearing import heard_plan

plan = heard_plan(wav, model.sample_rate)
print(f"{plan.tempo:.0f} bpm, {plan.key}: {' '.join(symbol for _, symbol in plan.chords)}")
