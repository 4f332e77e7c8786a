# %% [markdown]
# # Several takes, and a budget
#
# Of several takes the one is kept that is most like what was asked: faults, tempo, key, chords, instruments and style, as they
# are measured. `audiocraft generate "…" --takes 4`; on a server `"takes": 4`.

# %%
import time

from listen import show

from audiocraft.generation import GenerationRequest
from audiocraft.models.loaders import load_model
from audiocraft.workflows.quality.best import best_of

model = load_model("musicgen-nano")
request = GenerationRequest(prompts=("jazz with piano, 120 bpm, F major",), duration=6, seeds=(7,))
(best,) = best_of(model, request, takes=3)
print(best.compared.line())
print("totals:", best.compared.totals)
show(best.take.audio, best.take.result.sample_rate)

# %% [markdown]
# The chosen take has a seed of its own, which makes it alone.

# %%
(seed,) = best.take.result.seeds
alone = model.run(GenerationRequest(prompts=request.prompts, duration=6, seeds=(seed,)))
print(f"seed {seed}: the same audio, {bool((alone.audio[0] == best.take.audio).all())}")

# %% [markdown]
# ## As many takes as there is time for
#
# No further take is begun that would not be done in time; the first is always finished. On the command line `--budget 20s` also
# chooses model and precision by what they cost on this machine.

# %%
began = time.perf_counter()
(found,) = best_of(model, request, takes=8, until=began + 3)
print(found.compared.of > 0, found.compared.take <= found.compared.of)
