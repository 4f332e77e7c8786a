# %% [markdown]
# # The audio of a game
#
# Music whose layers follow tension and location at bar lines, and sounds of places without end.
# `audiocraft game bank` writes all of it for Godot and Web Audio.

# %%
import tempfile

from listen import show

from audiocraft.workflows.studio.dynamic import GamePiece
from audiocraft.workflows.studio.game import GameAudioSystem

folder = tempfile.TemporaryDirectory()
game = GameAudioSystem(piece=GamePiece(prompt="fantasy, 140 bpm", bars=4, seed=3), folder=folder.name)
calm, tense = {"tension": 0.1, "location": "forest"}, {"tension": 0.9, "location": "forest"}
loop = game.generate_dynamic_music(tense)
show(loop.audio, loop.sample_rate, "a tense moment in the forest: a loop")

# %% [markdown]
# ## Tension rises while it plays
#
# What is asked for at any moment is heard from a bar line on.

# %%
scene, changes = game.play([(0.0, calm), (4.0, tense)], 12.0)
for change in changes:
    print(
        f"asked at {change.asked:.1f} s, heard at {change.heard:.2f} s, bar {change.bar}: {change.state.name}"
    )
show(scene, loop.sample_rate, "calm, then tense")

# %% [markdown]
# ## The sound of a place

# %%
forest = game.generate_ambient_sound("forest", seconds=20)
show(forest.audio[:, : 8 * forest.sample_rate], forest.sample_rate, "a forest")
