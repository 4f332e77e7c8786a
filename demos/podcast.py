# %% [markdown]
# # A podcast around a voice
#
# Music before it, softer music under it, a sound before each chapter, and the loudness that players expect. The command line
# does it in one line: `audiocraft podcast make voice.wav --theme "science, calm" -o episode.mp3`.
#
# There is no voice in this package, so a hum that comes and goes stands for one here; take your own recording.

# %%
import math

import torch
from listen import show

from audiocraft.audio.chapters import Chapter
from audiocraft.workflows.studio.podcast import PodcastAudioProcessor, PodcastSettings

rate = 16000
time = torch.arange(9 * rate) / rate
said = ((time % 4 < 3) & (time > 0.3)).float()
voice = (0.2 * torch.sin(2 * math.pi * 160 * time) * (1 + torch.sin(25 * time)) * said)[None]

studio = PodcastAudioProcessor("musicgen-nano", theme="science, calm", seed=7, sample_rate=24000)
show(studio.create_intro_music(duration=4), studio.sample_rate, "the opening")

# %%
show(studio.generate_transition_sounds(1)[0], studio.sample_rate, "a sound between two chapters")

# %%
episode = studio.make(
    voice,
    rate,
    chapters=[Chapter(0.0, "Welcome"), Chapter(4.0, "Second part")],
    settings=PodcastSettings(intro=4, outro=3, channels=1),
)
print(f"{episode.duration:.1f} s, {episode.loudness:.1f} LUFS, true peak {episode.true_peak:.1f} dB")
for chapter in episode.chapters:
    print(f"{chapter.start:6.2f} s  {chapter.title}")
show(episode.audio, episode.sample_rate)
