"""Small codecs of each kind, and files of them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from audiocraft.codec.entropy import EntropyTables
from audiocraft.codec.entropy_training import static_tables
from audiocraft.codec.files import encode_file
from audiocraft.codec.known import KnownCodec
from audiocraft.codec.rans import starts_of
from audiocraft.config.networks import (
    ChunkingConfig,
    CompressionConfig,
    DACConfig,
    EncodecConfig,
    HarmonicConfig,
    RVQConfig,
)
from audiocraft.models import CompressionModel, debug
from audiocraft.models.builders import build_codec
from audiocraft.models.codecs.encodec import EncodecModel
from audiocraft.modules.harmonic.encoder import SpectralEncoder


def _encodec(*, causal: bool, chunked: bool = False, renormalize: bool = False) -> CompressionModel:
    from dataclasses import replace

    config = debug.codec_config()
    seanet = replace(config.seanet, causal=causal)
    encodec = replace(config.encodec, causal=causal, renormalize=renormalize)
    chunking = ChunkingConfig(seconds=0.2, overlap=0.1) if chunked else ChunkingConfig()
    return build_codec(
        CompressionConfig(
            sample_rate=config.sample_rate, encodec=encodec, seanet=seanet, rvq=config.rvq, chunking=chunking
        )
    )


def _dac() -> CompressionModel:
    small = DACConfig(
        sample_rate=16000, n_filters=2, decoder_filters=32, n_q=4, bins=32, codebook_dim=4, ratios=(8, 5, 4, 2)
    )  # fmt: skip
    return build_codec(CompressionConfig(compression_model="dac", sample_rate=16000, dac=small))


def _predicting() -> CompressionModel:
    """A small one of the bundled kind whose codes leave out what the frame before says, and that reassigns."""
    config = CompressionConfig(
        sample_rate=8000,
        encodec=EncodecConfig(autoencoder="harmonic", sample_rate=8000, causal=True),
        harmonic=HarmonicConfig(
            dimension=12, hop_length=320, width=16, num_blocks=1, lowest=65.4, per_octave=6, octaves=5.0, bands=8,
            reassign=True, bounded=True,
        ),
        rvq=RVQConfig(n_q=4, bins=32, prediction=0.6),
    )  # fmt: skip
    codec = build_codec(config)
    assert isinstance(codec, EncodecModel) and isinstance(codec.encoder, SpectralEncoder)
    wav = torch.from_numpy(sound(8.0, 8000, 1).T)[None]
    with torch.no_grad():
        codec.encoder.fit(codec.encoder.features(wav)[0])
        codec.quantizer.fit(codec.encoder(wav), codec.frame_rate)
    return codec


CODECS: dict[str, Callable[[], CompressionModel]] = {
    "causal": lambda: _encodec(causal=True),
    "not causal": lambda: _encodec(causal=False),
    "chunked": lambda: _encodec(causal=False, chunked=True, renormalize=True),
    "renormalising": lambda: _encodec(causal=False, renormalize=True),
    "dac": _dac,
    "predicting": _predicting,
}


def made(name: str) -> CompressionModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CODECS[name]().eval().requires_grad_(False)


@pytest.fixture(params=CODECS)
def codec(request: pytest.FixtureRequest) -> CompressionModel:
    return made(request.param)


@pytest.fixture(scope="session")
def known() -> KnownCodec:
    """A causal codec with static tables that its codes do not suit."""
    plain = KnownCodec.of(made("causal"), "small")
    codes = np.random.default_rng(0).integers(
        0, plain.codec.cardinality, (4, plain.codec.total_codebooks, 100)
    )
    rows = static_tables(codes, plain.codec.cardinality).astype(np.int64).tolist()
    tables = EntropyTables(tuple(map(starts_of, rows)), None, b"tables00")
    return KnownCodec(plain.name, plain.codec, plain.digest, tables)


def sound(seconds: float, rate: int, channels: int, seed: int = 0) -> np.ndarray:
    """[N, C]: a tone that moves, and noise."""
    generator = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    tone = 0.3 * np.sin(2 * np.pi * 300 * time * (1 + time / 10))
    return (tone[:, None] + 0.05 * generator.standard_normal((len(time), channels))).astype(np.float32)


def write(path: Path, wav: np.ndarray, rate: int, subtype: str = "FLOAT") -> Path:
    soundfile.write(path, wav, rate, subtype=subtype)
    return path


@pytest.fixture(scope="session")
def file_bytes(known: KnownCodec, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An .acx file of 20 blocks."""
    folder = tmp_path_factory.mktemp("acx")
    source = write(folder / "in.wav", sound(4.0, 16000, 1), 16000)
    sink = io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("audiocraft.codec.known.BLOCK_SECONDS", 0.2)
        encode_file(source, sink, codec=known, notes=_notes())
    return sink.getvalue()


def _notes() -> object:
    from audiocraft.codec.writer import Notes

    return Notes({"title": "a tone"}, b"\x89PNG\r\n\x1a\nso on.")
