# %% [markdown]
# # AudioGen: sounds from a sentence

# %%
import torch
from listen import show

from audiocraft.models import AudioGen

model = AudioGen.get_pretrained("audiogen-nano")
model.set_generation_params(duration=5)
torch.manual_seed(5)
prompts = ["rain and thunder"]
for prompt, wav in zip(prompts, model.generate(prompts), strict=True):
    show(wav, model.sample_rate, prompt)

# %% [markdown]
# The model is told frame by frame which sounds are heard, so words may say what comes first, and when.

# %%
prompts = ["a door, then a dog barking", "wind until 3 s, then birds"]
for prompt, wav in zip(prompts, model.generate(prompts), strict=True):
    show(wav, model.sample_rate, prompt)

# %% [markdown]
# What was understood of a prompt?

# %%
from audiocraft.music.scenes import read_scene, scene_line

for prompt in [
    *prompts,
    "an ambulance after a storm",
    "rain, a bell every 2 s",
    "Regen bis 2 s, dann Donner",
]:
    reading = read_scene(prompt, model.sound_kinds, duration=5, seed=5)
    print(f"{prompt}: {scene_line(reading.scene)}")

# %% [markdown]
# What does the model know? Words that it was taught are in its vocabulary; others mean nothing to it, and the command line
# says so.

# %%
from audiocraft.checkpoints.facts import find_facts

for group, terms in find_facts("audiogen-nano").vocabulary.groups.items():
    print(f"{group}: {', '.join(terms)}")
