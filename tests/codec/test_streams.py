"""Streams make what the codec makes of the whole, whatever the pieces are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from audiocraft.codec import Decoder, Encoder
from audiocraft.codec.coding import together
from audiocraft.codec.streams import CodeFrames, CodeStream, SampleStream, layout_of
from audiocraft.errors import InvalidInput
from audiocraft.models import CompressionModel, InterleaveStereoCompressionModel
from audiocraft.models.encodec import EncodecModel

from .conftest import made, sound


def pieces(wav: Tensor, sizes: tuple[int, ...]) -> list[Tensor]:
    found, place, number = [], 0, 0
    while place < wav.shape[-1]:
        size = sizes[number % len(sizes)]
        found.append(wav[..., place : place + size])
        place, number = place + size, number + 1
    return found


def wav_of(codec: CompressionModel, seconds: float) -> Tensor:
    return torch.from_numpy(sound(seconds, codec.sample_rate, codec.channels).T)[None].contiguous()


@pytest.mark.parametrize("sizes", [(1000,), (1, 7, 40000), (100000,)])
def test_pieces_give_the_codes_of_the_whole(codec: CompressionModel, sizes: tuple[int, ...]) -> None:
    wav = wav_of(codec, 2.3)
    stream = CodeStream(codec)
    found = together([*[stream.push(piece) for piece in pieces(wav, sizes)], stream.finish()])
    layout = layout_of(codec)
    assert found.frames == -(-wav.shape[-1] // layout.unit_samples) * layout.unit_frames
    if layout.chunk_samples:
        assert found.volumes is not None and found.volumes.shape[1] * layout.unit_frames == found.frames
    else:
        whole = codec.encode(wav)[0]
        assert (found.codes == whole).float().mean() > 0.999


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_pieces_give_the_audio_of_the_whole(codec: CompressionModel, size: int) -> None:
    layout = layout_of(codec)
    coder = CodeStream(codec)
    frames = together([coder.push(wav_of(codec, 1.0)), coder.finish()])
    size = -(-size // layout.unit_frames) * layout.unit_frames
    stream, parts = SampleStream(codec), []
    for first in range(0, frames.frames, size):
        volumes = frames.volumes
        if volumes is not None:
            volumes = volumes[:, first // layout.unit_frames : (first + size) // layout.unit_frames]
        parts.append(stream.push(CodeFrames(frames.codes[..., first : first + size], volumes)))
    audio = torch.cat([*parts, stream.finish()], dim=-1)
    again = SampleStream(codec)
    whole = torch.cat([again.push(frames), again.finish()], dim=-1)
    assert audio.shape == whole.shape and (audio - whole).abs().max() < 1e-5
    if not layout.chunk_samples:
        assert (audio - codec.decode(frames.codes)).abs().max() < 1e-5


def test_a_stream_that_begins_later_is_the_rest_of_the_whole() -> None:
    """Oscillators know the time of the piece: without it, a seek would be out of phase."""
    codec = CompressionModel.get_pretrained("nano")
    codes = torch.randint(0, codec.cardinality, (1, 4, 200), generator=torch.Generator().manual_seed(0))
    memory, start = codec.decode_memory, 150
    whole = codec.decode(codes)
    stream = SampleStream(codec, first_frame=start - memory)
    late = stream.push(CodeFrames(codes[..., start - memory :]))
    hop = round(codec.sample_rate / codec.frame_rate)
    assert (late[..., memory * hop :] - whole[..., start * hop :]).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("rate", "channels", "length"),
    [(44100, 2, 30001), (8000, 1, 7), (48000, 6, 9000), (22051, 3, 4000), (192000, 1, 1)],
)
def test_any_rate_and_channels_come_back_as_long(rate: int, channels: int, length: int) -> None:
    codec = made("causal")
    wav = torch.from_numpy(sound(length / rate, rate, channels).T)
    encoder = Encoder(codec, rate, channels)
    frames = together([encoder.push(wav), encoder.finish()])
    assert encoder.samples == length and frames.codes.shape[0] == channels
    decoder = Decoder(codec, rate, channels, samples=length)
    audio = torch.cat([decoder.push(frames), decoder.finish()], dim=-1)
    assert audio.shape == (channels, length) and audio.isfinite().all()


def test_undefined_samples_are_refused() -> None:
    encoder = Encoder(made("causal"), 16000, 1)
    for bad in (float("nan"), float("inf")):
        with pytest.raises(InvalidInput, match="infinite or undefined"):
            encoder.push(torch.tensor([[0.0, bad]]))


def test_a_codec_that_mixes_channels_names_the_one_inside() -> None:
    with pytest.raises(InvalidInput, match="use the codec inside it"):
        CodeStream(InterleaveStereoCompressionModel(made("causal")))


def test_what_is_held_back_is_stated() -> None:
    """A listener can be told how late it is."""
    causal = CodeStream(made("causal"))
    assert causal.lookahead == causal.layout.unit_samples - 1
    other = CodeStream(made("not causal"))
    codec = made("not causal")
    assert isinstance(codec, EncodecModel)
    wav = wav_of(codec, 1.0 + 2 * other.lookahead / codec.sample_rate)
    before = other.push(wav[..., : other.lookahead]).frames
    assert before == 0 and other.push(wav[..., other.lookahead :]).frames > 0


@torch.no_grad()
def test_the_decoder_plays_all_that_codes_have_said() -> None:
    """What a diffusion decoder is told of a codec that predicts: the sound's own frames, not differences."""
    codec = made("predicting")
    assert isinstance(codec, EncodecModel)
    wav = torch.from_numpy(sound(2.0, codec.sample_rate, 1, seed=3).T)[None]
    codes, wanted = codec.encode(wav)[0], codec.encode_latent(wav)
    errors = [
        (found - wanted).square().mean()
        for found in (codec.decoder_frames(codes), codec.decode_latent(codes))
    ]
    assert errors[0] < 0.5 * errors[1]
    plain = made("causal")
    codes = torch.zeros(1, plain.num_codebooks, 5, dtype=torch.long)
    assert torch.equal(plain.decoder_frames(codes), plain.decode_latent(codes))
