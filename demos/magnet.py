# %% [markdown]
# # MAGNeT: all at once, and a part made anew
#
# A masked model begins with codes that are all unknown and fills them in over a few passes, the surest first. The interface is
# the original's; `magnet-nano` comes with the package. With `facebook/magnet-small-10secs` the same lines download that one.

# %%
import torch
from listen import show

from audiocraft.models import MAGNeT

model = MAGNeT.get_pretrained("magnet-nano")
torch.manual_seed(7)
wav = model.generate(["calm piano in A minor, 80 bpm"])
show(wav[0], model.sample_rate, "calm piano in A minor, 80 bpm")

# %% [markdown]
# ## Keep the start and the end, redo what is between
#
# What is kept is simply not masked, so its codes stay as they are, and the model hears both sides of the gap.

# %%
from audiocraft.generation import GenerationRequest

piece = model.run(GenerationRequest(prompts=("folk with guitar, 120 bpm, G major",), duration=8, seeds=(3,)))
show(piece.audio[0], piece.sample_rate, "before", picture=False)

# %%
request = GenerationRequest(
    prompts=("folk with flute, 120 bpm, G major",),
    duration=8,
    seeds=(5,),
    keep=((0, 2), (6, 8)),
    audio=piece.audio,
    audio_sample_rate=piece.sample_rate,
)
anew = model.run(request)
heard, _ = model.compression_model.encode(piece.audio)
frame = anew.codes.shape[-1] / 8
same = all(
    torch.equal(anew.codes[..., int(a * frame) : int(b * frame)], heard[..., int(a * frame) : int(b * frame)])
    for a, b in ((0, 2), (6, 8))
)
print(f"the codes of the kept seconds are those of the recording: {same}")
show(anew.audio[0], anew.sample_rate, "two to six seconds made anew")

# %% [markdown]
# ## How many passes
#
# Each number is the passes of one codebook. More passes look at more of what is there already; fewer are faster.

# %%
import time

from audiocraft.generation.request import MaskedSettings

for steps in ((4, 1, 1, 1), (6, 2, 1, 1), (20, 8, 6, 4)):
    request = GenerationRequest(
        prompts=("calm piano in A minor, 80 bpm",), duration=6, seeds=(1,), masked=MaskedSettings(steps=steps)
    )
    began = time.monotonic()
    result = model.run(request)
    print(f"{sum(steps)} passes: {time.monotonic() - began:.1f} s")
show(result.audio[0], result.sample_rate, "with the most passes", picture=False)
