"""The codes that a language model trains on are those of the audio that is there now, whatever its length."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from audiocraft.audio.files import audio_read
from audiocraft.config.training import TokenCacheConfig
from audiocraft.errors import InvalidInput
from audiocraft.models import CompressionModel
from audiocraft.models.codecs import long_audio
from audiocraft.solvers import token_cache
from audiocraft.solvers.token_cache import TokenCache
from audiocraft.types import AudioMeta

RATE = 32000


@pytest.fixture(scope="module")
def codec() -> CompressionModel:
    return CompressionModel.get_pretrained("debug").eval()


def write(folder: Path, seconds: list[float], rate: int = RATE, seed: int = 0) -> list[AudioMeta]:
    """Clips of noise of different levels, and the manifest's records of them."""
    metas = []
    random = np.random.default_rng(seed)
    for number, length in enumerate(seconds):
        path = folder / f"{number}.wav"
        wav = random.standard_normal(round(length * rate)) * np.linspace(0.01, 0.2, round(length * rate))
        soundfile.write(path, wav, rate, subtype="FLOAT")
        metas.append(AudioMeta(str(path), length, rate))
    return metas


def whole(codec: CompressionModel, meta: AudioMeta) -> Tensor:
    """The codes [K, T] of a clip by itself, with silence behind it."""
    wav = torch.nn.functional.pad(audio_read(meta.path)[0], (0, RATE))
    with torch.inference_mode():
        return codec.encode(wav[None])[0][0]


def test_codes_are_those_of_each_clip_alone(
    codec: CompressionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long clip is read and encoded in pieces, and no clip is padded to the longest."""
    for module in (token_cache, long_audio):
        monkeypatch.setattr(module, "LONG_S", 3.0)
    monkeypatch.setattr(long_audio, "_CONTEXT_S", 0.8)
    monkeypatch.setattr(token_cache, "_BATCH_S", 4.0)
    metas = write(tmp_path, [0.5, 9.3, 1.2, 0.7, 2.9, 1.0])
    metas.insert(2, AudioMeta(str(tmp_path / "absent.wav"), 1.0, RATE))
    heard: list[int] = []
    encode = codec.encode

    def counted(x: Tensor, **options: int) -> tuple[Tensor, Tensor | None]:
        heard.append(x.shape[0] * x.shape[-1])
        return encode(x, **options)

    monkeypatch.setattr(codec, "encode", counted)
    tokens = TokenCache(tmp_path / "tokens", codec, num_workers=2).load(tmp_path, metas)
    assert max(heard) <= 8 * RATE  # 4 s of audio, the silence behind it, and the context of a piece
    assert tokens.lengths.tolist() == [12, 233, 0, 30, 18, 72, 25]
    for meta, codes, length in zip(metas, tokens.codes, tokens.lengths.tolist(), strict=True):
        if length:
            expected = whole(codec, meta)[:, :length].to(torch.int16)
            assert float((codes[:, :length] == expected).float().mean()) > 0.99
        assert 20 <= codes.shape[-1] - length <= 27  # silence
    again = TokenCache(tmp_path / "tokens", codec).load(tmp_path, metas)
    assert all(torch.equal(one, other) for one, other in zip(tokens.codes, again.codes, strict=True))


def test_other_rates_are_resampled_in_pieces(
    codec: CompressionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metas = write(tmp_path, [2.5], rate=22050)
    at_once = TokenCache(tmp_path / "a", codec).load(tmp_path, metas)
    for module in (token_cache, long_audio):
        monkeypatch.setattr(module, "LONG_S", 2.0)
    monkeypatch.setattr(long_audio, "_CONTEXT_S", 0.8)
    pieces = TokenCache(tmp_path / "b", codec).load(tmp_path, metas)
    assert pieces.lengths.tolist() == at_once.lengths.tolist() == [62]
    assert float((pieces.codes[0] == at_once.codes[0])[:, :62].float().mean()) > 0.95


@pytest.mark.parametrize("same_time", [False, True])
def test_audio_that_was_replaced_is_encoded_again(
    codec: CompressionModel, tmp_path: Path, same_time: bool
) -> None:
    """Another sound of the same name and length, or of another size with its old time, as archives unpack it."""
    metas = write(tmp_path, [0.5, 0.4])
    cache = TokenCache(tmp_path / "tokens", codec)
    before = cache.load(tmp_path, metas)
    if same_time:
        changed = os.stat(metas[0].path)
        soundfile.write(metas[0].path, np.zeros(RATE // 2), RATE, subtype="PCM_16")
        os.utime(metas[0].path, ns=(changed.st_atime_ns, changed.st_mtime_ns))
    else:
        write(tmp_path, [0.5], seed=1)
        os.utime(metas[0].path, ns=(0, 10**9))  # a clock may be coarse
    after = cache.load(tmp_path, metas)
    assert not torch.equal(before.codes[0], after.codes[0])
    assert torch.equal(before.codes[1], after.codes[1])
    Path(metas[1].path).unlink()
    assert cache.load(tmp_path, metas).lengths.tolist() == [12, 0]


def test_codecs_take_integers_and_refuse_what_is_undefined(codec: CompressionModel) -> None:
    """Integers ended in an error from inside, undefined samples in the codes of a buzz."""
    tone = 0.3 * torch.sin(torch.arange(RATE) * 0.05)[None, None]
    with torch.inference_mode():
        codes = codec.encode((tone * 2**15).round() / 2**15)[0]
        assert torch.equal(codec.encode((tone * 2**15).round().short())[0], codes)
        tone[..., 100] = torch.nan
        with pytest.raises(InvalidInput, match="undefined samples"):
            codec.encode(tone)


def test_machines_share_the_work(
    codec: CompressionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_cache, "CLIPS_PER_SHARD", 2)
    metas = write(tmp_path, [0.3] * 5)
    for part in range(2):
        settings = TokenCacheConfig(write=True, write_shard=part, write_num_shards=2)
        TokenCache(tmp_path / "tokens", codec).write(tmp_path, metas, settings)
    assert len(list((tmp_path / "tokens").rglob("*.safetensors"))) == 3
    monkeypatch.setattr(codec, "encode", lambda *_, **__: pytest.fail("encoded again"))
    assert len(TokenCache(tmp_path / "tokens", codec).load(tmp_path, metas).codes) == 5
