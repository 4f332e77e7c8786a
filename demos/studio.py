# %% [markdown]
# # A song of sections
#
# Sections have words of their own and share key, tempo and bars. What was made is kept by what it depends on, so that changing
# one section makes that one again and no other. The command line: `audiocraft song new|set|make`.

# %%
import tempfile
from dataclasses import replace
from pathlib import Path

from listen import show

from audiocraft.music.planning import ScoreSettings
from audiocraft.workflows.studio.song import MusicProductionPipeline

folder = tempfile.TemporaryDirectory()
pipeline = MusicProductionPipeline()
song = pipeline.create_song_structure(
    {"verse": "calm piano", "chorus": "piano with strings and drums"},
    bars=2,
    score=ScoreSettings(tempo=120.0, key="A minor"),
    seed=5,
    path=Path(folder.name, "tune.acproj"),
)
for name, audio in song.items():
    print(f"{name}: {audio.shape[-1] / song.sample_rate:.2f} s")
print("made now:", ", ".join(song.fresh))

# %%
mixed = pipeline.mix_audio(song)
print(f"{mixed.loudness:.1f} LUFS, true peak {mixed.true_peak:.1f} dB")
show(mixed.audio, song.sample_rate, "the song")

# %% [markdown]
# ## Another chorus
#
# Only the chorus is made again.

# %%
project = song.project
chorus = replace(project.section("chorus"), prompt="electric guitar and drums")
changed = replace(
    project, sections=tuple(chorus if one.name == "chorus" else one for one in project.sections)
)
again = pipeline.render(changed, folder=Path(folder.name, "tune.parts"))
print("made now:", ", ".join(again.fresh))
show(pipeline.mix_audio(again).audio, again.sample_rate, "the song with another chorus")
