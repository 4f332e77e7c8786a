"""Files of any audio come back exactly as long, from any moment on, and are as large as was asked."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from audiocraft.codec import KnownCodec, encode_file, open_acx
from audiocraft.codec.container import DamagedFile
from audiocraft.codec.files import decode_file
from audiocraft.codec.writer import Notes
from audiocraft.errors import InvalidInput

from .conftest import CODECS, made, sound, write

SUBTYPES = ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT")


def random_wav(seed: int) -> tuple[np.ndarray, int, str]:
    """Audio [N, C] as users have it: any rate, silence, a constant, clipped."""
    generator = np.random.default_rng(seed)
    rate = int(generator.choice([8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000, 96000, 192000]))
    channels = int(generator.choice([1, 2, 6]))
    seconds = float(generator.choice([0.0, 1 / rate, generator.uniform(0, 0.5)]))
    wav = sound(seconds, rate, channels, seed)
    kind = generator.integers(4)
    wav = (wav, 0 * wav, 0 * wav + 0.7, np.clip(20 * wav, -1, 1))[kind]
    return wav, rate, str(generator.choice(SUBTYPES))


@pytest.mark.parametrize("seed", range(24))
def test_random_files_come_back_as_long(seed: int, known: KnownCodec, tmp_path: Path) -> None:
    wav, rate, subtype = random_wav(seed)
    source = write(tmp_path / "in.wav", wav, rate, subtype)
    facts = encode_file(source, tmp_path / "a.acx", codec=known)
    assert facts.bytes == (tmp_path / "a.acx").stat().st_size and facts.samples == len(wav)
    file = decode_file(tmp_path / "a.acx", tmp_path / "out.wav", codec=known, strict=True)
    assert not file.problems
    back, found = soundfile.read(tmp_path / "out.wav", always_2d=True)
    assert found == rate and back.shape == wav.shape and np.isfinite(back).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_undefined_samples_leave_no_file(bad: float, known: KnownCodec, tmp_path: Path) -> None:
    wav = sound(0.1, 16000, 1)
    wav[100] = bad
    with pytest.raises(InvalidInput):
        encode_file(write(tmp_path / "in.wav", wav, 16000), tmp_path / "a.acx", codec=known)
    assert not (tmp_path / "a.acx").exists()


@pytest.mark.parametrize("name", CODECS)
def test_every_codec_has_files_and_any_moment_of_them(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A seek gives the slice of the whole, and does not decode the whole."""
    monkeypatch.setattr("audiocraft.codec.known.BLOCK_SECONDS", 0.5)
    known = KnownCodec.of(made(name), "small")
    rate = known.codec.sample_rate
    for source_rate, channels in ((rate, 1), (44100, 2)):
        wav = sound(12.0, source_rate, channels)
        encode_file(write(tmp_path / "in.wav", wav, source_rate), tmp_path / "a.acx", codec=known)
        with open_acx(tmp_path / "a.acx", known) as file:
            whole = torch.cat(list(file.pieces()), dim=-1)
            assert whole.shape == wav.T.shape
            generator = np.random.default_rng(0)
            for start in [0, len(wav) - 100, *generator.integers(0, len(wav), 6).tolist()]:
                part = file.read(start, 3000)
                wanted = whole[:, start : start + 3000]
                assert part.shape == wanted.shape
                assert (part - wanted).abs().max() <= 1e-4 * max(1.0, float(whole.abs().max()))
            assert file.read(len(wav) + 5, 10).shape == (channels, 0) and not file.problems


def test_the_bundled_codec_seeks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = KnownCodec.load("nano")
    encode_file(write(tmp_path / "in.wav", sound(25.0, 24000, 1), 24000), tmp_path / "a.acx", codec=known)
    with open_acx(tmp_path / "a.acx") as file:
        whole = torch.cat(list(file.pieces()), dim=-1)
        for start in (0, 7777, 17 * 24000 + 5, 599000):
            assert (file.read(start, 2400) - whole[:, start : start + 2400]).abs().max() < 1e-4


def test_a_pipe_has_the_bytes_of_a_file(known: KnownCodec, tmp_path: Path) -> None:
    source = write(tmp_path / "in.wav", sound(0.5, 16000, 1), 16000)
    sink = io.BytesIO()
    encode_file(source, sink, codec=known)
    encode_file(source, tmp_path / "a.acx", codec=known)
    assert sink.getvalue() == (tmp_path / "a.acx").read_bytes()


def test_tags_and_cover_come_back(known: KnownCodec, tmp_path: Path) -> None:
    source = write(tmp_path / "in.wav", sound(0.1, 16000, 1), 16000)
    notes = Notes({"title": "Größe ♫", "artist": "x"}, b"\xff\xd8\xff picture")
    encode_file(source, tmp_path / "a.acx", codec=known, notes=notes)
    with open_acx(tmp_path / "a.acx") as file:
        assert file.tags == notes.tags and file.cover == ("image/jpeg", notes.cover)
    with pytest.raises(InvalidInput, match="PNG, JPEG or WebP"):
        encode_file(source, tmp_path / "b.acx", codec=known, notes=Notes(cover=b"GIF89a"))


def test_other_weights_are_refused(known: KnownCodec, tmp_path: Path) -> None:
    """Their codes would be noise."""
    source = write(tmp_path / "in.wav", sound(0.1, 16000, 1), 16000)
    encode_file(source, tmp_path / "a.acx", codec=known)
    other = KnownCodec.of(made("dac"), "small")
    with pytest.raises(InvalidInput, match="other weights make noise"):
        open_acx(tmp_path / "a.acx", other)


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../x", "http://localhost/x", "org/unknown", "~/x", "a\\b", ""]
)
def test_the_name_in_a_file_is_never_followed(name: str, tmp_path: Path) -> None:
    """A file from a stranger makes nobody fetch, and opens no path."""
    known = KnownCodec.of(made("causal"), "small")
    stranger = KnownCodec(name, known.codec, known.digest)
    source = write(tmp_path / "in.wav", sound(0.1, 16000, 1), 16000)
    encode_file(source, tmp_path / "a.acx", codec=stranger)
    with open_acx(tmp_path / "a.acx") as file, pytest.raises(InvalidInput, match="not on this machine"):
        file.read()


# ---------------------------------------------------------------------- how large


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("audiocraft.codec.known.BLOCK_SECONDS", 0.5)
    return write(tmp_path / "in.wav", sound(8.0, 32000, 1), 32000)


@pytest.mark.parametrize("share", [0.7, 0.9, 2.0])
def test_a_size_or_a_rate_is_never_passed(
    share: float, source: Path, known: KnownCodec, tmp_path: Path
) -> None:
    whole = encode_file(source, tmp_path / "a.acx", codec=known)
    for asked in ({"size": int(share * whole.bytes)}, {"bitrate": share * whole.bitrate}):
        facts = encode_file(source, tmp_path / "b.acx", codec=known, **asked)
        size = (tmp_path / "b.acx").stat().st_size
        assert facts.bytes == size <= max(1, int(share * whole.bytes))
        assert facts.bitrate == pytest.approx(size * 8e-3 / 8.0)
        assert size >= 0.8 * min(1.0, share) * whole.bytes  # and is used
        with open_acx(tmp_path / "b.acx", known, strict=True) as file:
            assert not file.verify()


def test_what_cannot_be_reached_is_said(source: Path, known: KnownCodec, tmp_path: Path) -> None:
    for asked in ({"size": 100}, {"bitrate": 0.01}):
        with pytest.raises(InvalidInput, match="with one codebook the file has"):
            encode_file(source, tmp_path / "b.acx", codec=known, **asked)
    with pytest.raises(InvalidInput, match="give one"):
        encode_file(source, tmp_path / "b.acx", codec=known, size=100, bitrate=1.0)
    with pytest.raises(InvalidInput, match="between 0 and 10"):
        encode_file(source, tmp_path / "b.acx", codec=known, quality=11)
    with pytest.raises(InvalidInput, match="1 to 4 codebooks"):
        encode_file(source, tmp_path / "b.acx", codec=known, codebooks=5)


def test_more_quality_takes_more(tmp_path: Path) -> None:
    known = KnownCodec.load("nano")
    source = write(tmp_path / "in.wav", sound(4.0, 24000, 1), 24000)
    found = [encode_file(source, tmp_path / "a.acx", codec=known, quality=quality) for quality in (0, 5, 10)]
    assert found[0].codebooks <= found[1].codebooks <= found[2].codebooks
    distances = [facts.distance for facts in found]
    assert all(distance is not None for distance in distances)
    middle = distances[1]
    assert middle is not None
    asked = encode_file(source, tmp_path / "a.acx", codec=known, target_mel=middle + 0.01)
    assert asked.distance is not None and asked.distance <= middle + 0.01


# ---------------------------------------------------------------------- others


def test_the_reference_reads_the_same_codes(file_bytes: bytes, known: KnownCodec) -> None:
    place = Path(__file__).resolve().parents[2] / "docs" / "acx_reader.py"
    assert place.read_text(encoding="utf-8").count("\n") <= 200
    spec = importlib.util.spec_from_file_location("acx_reader", place)
    assert spec is not None and spec.loader is not None
    reader = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reader)
    tables = known.tables
    assert tables is not None
    found = {"static": np.diff(np.array(tables.starts), axis=1)}
    reader.tables_of_codec = lambda data: found
    header, blocks = reader.read_acx(file_bytes, b"")
    with open_acx(io.BytesIO(file_bytes), known, strict=True) as file:
        assert header["samples"] == file.samples and header["model"] == file.header.model
        assert len(blocks) == file.blocks > 15
        for number, (codes, volumes) in enumerate(blocks):
            block = file.block(number)
            assert block is not None and volumes is None and (block.codes.numpy() == codes).all()
    for place in range(0, len(file_bytes), 97):
        damaged = bytearray(file_bytes)
        damaged[place] ^= 0x10
        with pytest.raises((reader.Damaged, ValueError)):
            reader.read_acx(bytes(damaged), b"")


def test_no_acx_file_is_said(tmp_path: Path) -> None:
    source = write(tmp_path / "in.wav", sound(0.1, 16000, 1), 16000)
    with pytest.raises(DamagedFile, match=r"no \.acx file"):
        open_acx(source)


def test_a_file_has_tables_of_its_own_where_they_pay(tmp_path: Path) -> None:
    """Codecs that nobody measured have smaller files too."""
    known = KnownCodec.of(made("causal"), "small")
    assert known.tables is None
    source = write(tmp_path / "in.wav", 0.0 * sound(200.0, 8000, 1), 8000)
    facts = encode_file(source, tmp_path / "a.acx", codec=known)
    with open_acx(tmp_path / "a.acx", known, strict=True) as file:
        assert not file.verify()
        first, last = file.block(0), file.block(file.blocks - 1)
        assert first is not None and last is not None
    packed = encode_file(source, tmp_path / "b.acx", codec=known, profile=0)
    assert facts.bytes < 0.5 * packed.bytes
