# %% [markdown]
# # The plan before the sound
#
# Tempo, key, sections and the chord of every bar are planned before anything is played. A plan is text that one can change:
# `audiocraft plan "…" -o plan.txt`, an editor, `audiocraft generate --plan plan.txt`. Here is the same in Python.

# %%
from listen import show

from audiocraft.generation import GenerationRequest
from audiocraft.models import MusicGen
from audiocraft.music.chart_text import read_chart, write_chart
from audiocraft.music.charts import chart_of
from audiocraft.music.planning import make_plan

prompt = "warm jazz, piano, bass, drums"
plan = make_plan(prompt, duration=8, seed=11)
chart = chart_of(plan, prompt=prompt, seed=11)
text = write_chart(chart)
print(text)

# %% [markdown]
# Change the chords, and play it.

# %%
symbols = [symbol for _, symbol in plan.chords]
changed = read_chart(text.replace(symbols[-1], "G7"))
print(write_chart(changed))

# %%
model = MusicGen.get_pretrained("nano")
request = GenerationRequest(
    prompts=(None,),
    schedule=changed.schedule(),
    plans=(changed.plan(),),
    duration=changed.plan().duration,
    seeds=(11,),
)
result = model.run(request)
show(result.audio[0], result.sample_rate, " ".join(symbol for _, symbol in result.plans[0].chords))
