# %% [markdown]
# # Editing a piece
#
# Seamless loops, a part made anew, more bars, endings, layers that fit together. The command line has the same:
# `audiocraft edit loop|redo|extend|layers`, and so have the server and its page.

# %%
import torch
from listen import show

from audiocraft.generation import GenerationRequest
from audiocraft.models.loaders import load_model
from audiocraft.workflows.editing.layers import layers
from audiocraft.workflows.editing.loops import loop
from audiocraft.workflows.editing.regions import Source, extend_after, redo

model = load_model("musicgen-nano")
house = GenerationRequest(prompts=("house with bass and drums, 124 bpm, A minor",), seeds=(7,))
(two_bars,) = loop(model, house, bars=2)
print(f"two bars are {two_bars.seconds:.3f} s at {two_bars.plan.tempo:g} bpm")
print(f"change where it joins {two_bars.joint.flux:.1f} dB, usual {two_bars.usual:.1f} dB")
show(torch.cat([two_bars.audio, two_bars.audio], dim=-1), two_bars.sample_rate, "the loop, twice")

# %% [markdown]
# ## A part made anew
#
# Every sample outside the region stays as it is.

# %%
made = model.run(GenerationRequest(prompts=("folk with guitar, 120 bpm, G major",), duration=6, seeds=(3,)))
piece = Source(audio=made.audio[0], sample_rate=made.sample_rate, plan=made.plans[0])
anew = redo(model, GenerationRequest(prompts=("folk with flute",), seeds=(5,)), piece, 2.0, 4.0)
start, end = anew.changed
same = torch.equal(anew.audio[:, :start], piece.audio[:, :start]) and torch.equal(
    anew.audio[:, end:], piece.audio[:, end:]
)
print(
    f"changed from {start / anew.sample_rate:.2f} to {end / anew.sample_rate:.2f} s; the same outside: {same}"
)
show(anew.audio, anew.sample_rate)

# %% [markdown]
# ## More bars, with an end

# %%
request = GenerationRequest(prompts=("folk with guitar",), seeds=(4,), ending="ring")
longer = extend_after(model, request, piece, 2)
print(f"{longer.audio.shape[-1] / longer.sample_rate:.1f} s, {longer.plan.tempo:g} bpm, {longer.plan.key}")
show(longer.audio, longer.sample_rate)

# %% [markdown]
# ## Layers of one plan
#
# Each is a take of its own; they add up to their mix.

# %%
parts = layers(
    model,
    GenerationRequest(prompts=("funk in E minor, 104 bpm",), duration=5, seeds=(7,)),
    ("drums", "bass"),
)
for layer in parts.layers:
    show(layer.audio, parts.sample_rate, layer.name, picture=False)
show(parts.mix, parts.sample_rate, "together")
