# %% [markdown]
# # Continuation: go on from what is there
#
# The beginning stays as it is; the model goes on from it. Tempo, key and chords are known for pieces of ours, and heard in
# any other file by the command line: `audiocraft generate --continue song.wav -d 30`.

# %%
import torch
from listen import show

from audiocraft.models import MusicGen

model = MusicGen.get_pretrained("nano")
model.set_generation_params(duration=4)
torch.manual_seed(1)
start = model.generate(["folk, acoustic guitar and violin, 100 bpm, G major"])
show(start[0], model.sample_rate, "four seconds to begin with")

# %%
model.set_generation_params(duration=8)
torch.manual_seed(2)
longer = model.generate_continuation(
    start, model.sample_rate, ["folk, acoustic guitar and violin, 100 bpm, G major"]
)
show(longer[0], model.sample_rate, "and four more")

# %% [markdown]
# ## Longer than the model hears at once
#
# Long pieces are made in windows that overlap; a schedule says what they become.

# %%
from audiocraft.generation import GenerationRequest

request = GenerationRequest(
    prompts=("100 bpm, D minor",),
    schedule=((0, "calm piano"), (8, "electronic with drums and bass")),
    duration=16,
    seeds=(4,),
)
result = model.run(request)
show(result.audio[0], result.sample_rate, "piano, and from second 8 on drums and bass")
