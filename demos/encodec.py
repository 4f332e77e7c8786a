# %% [markdown]
# # The codec: audio as codes, and files that are small
#
# A codec turns audio into a few codes a second and back. Language models predict these codes.

# %%
import torch
from listen import show

from audiocraft.models import CompressionModel, MusicGen

model = MusicGen.get_pretrained("nano")
model.set_generation_params(duration=5)
torch.manual_seed(9)
music = model.generate(["happy folk, acoustic guitar and violin, 110 bpm"])

codec = CompressionModel.get_pretrained("nano")
codes, scale = codec.encode(music)
print(f"{tuple(codes.shape)}: [batch, codebooks, frames], {codec.frame_rate} frames a second")
show(codec.decode(codes, scale)[0], codec.sample_rate, "through all codebooks")

# %% [markdown]
# Fewer codebooks, fewer bits.

# %%
for count in range(1, codec.num_codebooks + 1):
    heard = codec.decode(codes[:, :count], scale)
    bits = count * codec.frame_rate * torch.log2(torch.tensor(codec.cardinality)).item() / 1000
    show(heard[0], codec.sample_rate, f"{count} codebooks, {bits:.2f} kb/s", picture=count == 1)

# %% [markdown]
# ## Files
#
# `.acx` files hold codes with entropy coding, an index and checksums ([the format](../docs/codec-format.md)).

# %%
import tempfile
from pathlib import Path

from audiocraft.audio.files import audio_write
from audiocraft.codec import encode_file, open_acx

folder = Path(tempfile.mkdtemp())
wav = audio_write(folder / "song", music[0], model.sample_rate)
encode_file(wav, folder / "song.acx", codec="nano")
for file in (wav, folder / "song.acx"):
    print(file.name, file.stat().st_size, "bytes")

# %%
with open_acx(folder / "song.acx") as file:
    second = file.read(2 * file.header.source_rate, file.header.source_rate)
show(torch.as_tensor(second), file.header.source_rate, "one second, from second 2 on")
