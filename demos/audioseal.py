# %% [markdown]
# # AudioSeal: a mark that nobody hears

# %%
import torch
from listen import show

from audiocraft.models import AudioSeal, MusicGen

music = MusicGen.get_pretrained("nano")
music.set_generation_params(duration=6)
torch.manual_seed(4)
wav = music.generate(["jazz with piano, bass and drums, 120 bpm"])

seal = AudioSeal.get_pretrained("audioseal-nano")
message = torch.tensor([0, 1, 1, 0] * 4)
marked = seal(wav, message=message, sample_rate=music.sample_rate)
show(marked[0], music.sample_rate, "marked")

# %%
difference = marked - wav
print(
    f"the mark lies {10 * torch.log10(wav.square().mean() / difference.square().mean()):.1f} dB below the music"
)
show(difference[0] * 10, music.sample_rate, "the mark alone, 20 dB louder")

# %% [markdown]
# Who is marked, and what does the mark say?

# %%
from audiocraft.analysis.watermark import find_watermark

for name, audio in (("marked", marked), ("unmarked", wav)):
    report = find_watermark(seal, [audio[0]], music.sample_rate)
    print(f"{name}: probability of each second", *(f"{likely:.2f}" for likely in report.seconds))
    if report.bits is not None:
        print("  message", [round(bit) for bit in report.bits], "as it was hidden", message.tolist())
