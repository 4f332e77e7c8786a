# %% [markdown]
# # MusicGen: music from a sentence
#
# The interface is the original's; `nano` is the small model that comes with the package and runs on any computer.
# With `facebook/musicgen-small` or another released model the same lines download it first.

# %%
import torch
from listen import show

from audiocraft.models import MusicGen

model = MusicGen.get_pretrained("nano")
model.set_generation_params(duration=6)
torch.manual_seed(7)
wav = model.generate(
    ["calm piano in A minor, 80 bpm", "energetic rock, electric guitar, bass, drums, 140 bpm"]
)
wav.shape  # [2, 1, N]

# %%
show(wav[0], model.sample_rate, "calm piano in A minor, 80 bpm")

# %%
show(wav[1], model.sample_rate, "energetic rock, 140 bpm")

# %% [markdown]
# ## Everything in one request
#
# A request says all of it and leaves nothing on the model, so one model can serve many threads. Equal requests with seeds
# give equal audio. The result knows what was planned.

# %%
from audiocraft.generation import GenerationRequest
from audiocraft.music.planning import ScoreSettings

request = GenerationRequest(
    prompts=("dreamy music box",), duration=6, seeds=(3,), score=ScoreSettings(tempo=96, key="D major")
)
result = model.run(request)
show(result.audio[0], result.sample_rate, f"{result.plans[0].tempo:g} bpm, {result.plans[0].key}")
print([symbol for _, symbol in result.plans[0].chords])

# %%
assert torch.equal(model.run(request).audio, result.audio)

# %% [markdown]
# ## While it is made
#
# `stream` hands on each piece as soon as it is there.

# %%
import time

began, first = time.monotonic(), None
pieces = []
for chunk in model.stream(request):
    first = first or time.monotonic() - began
    pieces.append(chunk.audio)
print(f"first sound after {first:.2f} s, {len(pieces)} pieces, {time.monotonic() - began:.2f} s in all")
assert torch.allclose(torch.cat(pieces, dim=-1), result.audio[0], atol=1e-4)
