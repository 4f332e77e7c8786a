# %% [markdown]
# # AudioGen: sounds from a sentence

# %%
import torch
from listen import show

from audiocraft.models import AudioGen

model = AudioGen.get_pretrained("audiogen-nano")
model.set_generation_params(duration=4)
torch.manual_seed(5)
prompts = ["rain and thunder", "footsteps and a creaking door", "birds singing"]
for prompt, wav in zip(prompts, model.generate(prompts), strict=True):
    show(wav, model.sample_rate, prompt)

# %% [markdown]
# What does the model know? Words that it was taught are in its vocabulary; others mean nothing to it, and the command line
# says so.

# %%
from audiocraft.checkpoints.facts import find_facts

for group, terms in find_facts("audiogen-nano").vocabulary.groups.items():
    print(f"{group}: {', '.join(terms)}")
