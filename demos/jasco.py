# %% [markdown]
# # JASCO: the chords, the beat and the tune that you give
#
# A flow makes all frames of a piece at once, and hears at each frame which chord is asked for, what the drums do and which note
# the tune is at. The interface is the original's; `jasco-nano` comes with the package. With
# `facebook/jasco-chords-drums-melody-400M` the same lines download that one.

# %%
import torch
from listen import show

from audiocraft.models import JASCO

model = JASCO.get_pretrained("jasco-nano")
model.set_generation_params(cfg_coef_all=1.5, cfg_coef_txt=1.0, euler=True, euler_steps=30)
torch.manual_seed(4)
chords = [("Am", 0.0), ("F", 2.0), ("C", 4.0), ("G", 6.0)]
wav = model.generate_music(["folk with guitar and bass, 120 bpm"], chords=chords, segment_duration=8)
show(wav[0], model.sample_rate, "Am F C G, two seconds each")

# %% [markdown]
# ## The beat of another recording
#
# Any audio will do: what is percussive in it is followed, the rest is not heard. Here it is a beat of `musicgen-nano`.

# %%
from audiocraft.generation import GenerationRequest
from audiocraft.models import MusicGen

beat = MusicGen.get_pretrained("musicgen-nano").run(
    GenerationRequest(prompts=("drums, 100 bpm",), duration=8, seeds=(2,))
)
show(beat.audio[0], beat.sample_rate, "the beat")

# %%
from audiocraft.generation.controls import Controls

request = GenerationRequest(
    prompts=("rock with electric guitar and drums, 100 bpm",),
    duration=8,
    seeds=(11,),
    controls=Controls(
        chords=(("Em", 0.0), ("C", 2.4), ("D", 4.8)),
        drums=beat.audio[0],
        drums_sample_rate=beat.sample_rate,
    ),
)
followed = model.run(request)
show(followed.audio[0], followed.sample_rate, "chords of ours, to that beat")

# %% [markdown]
# ## A tune
#
# A row for each of 53 pitches from G2 upwards, 50 columns a second; a recording or a MIDI file
# works too (`reference_audio=`, `audiocraft generate --tune`).

# %%
tune = torch.zeros(53, 400)
for place, note in enumerate((64, 67, 69, 67, 64, 62, 60, 62)):  # MIDI numbers; the lowest row is 43
    tune[note - 43, place * 50 : place * 50 + 45] = 1.0
request = GenerationRequest(
    prompts=("calm piece with flute and piano, 60 bpm",),
    duration=8,
    seeds=(5,),
    controls=Controls(chords=(("Am", 0.0), ("C", 4.0)), melody=tune),
)
sung = model.run(request)
show(sung.audio[0], sung.sample_rate, "E G A G E D C D")
