"""What was asked for is never passed, and what is printed is what the file has, to the byte."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from audiocraft.cli.main import main
from audiocraft.codec import DamagedFile, KnownCodec, encode_file, open_acx
from audiocraft.codec.rate import Rate
from audiocraft.errors import InvalidInput

from .conftest import CODECS, made, sound, write


@cache
def known_of(name: str) -> KnownCodec:
    return KnownCodec.of(made(name), "small")


def random_ask(
    generator: np.random.Generator, least: int, bytes_of_all: int, seconds: float
) -> dict[str, float]:
    """A size or a bit rate, from impossible to more than there is."""
    share = float(generator.choice([-0.2, 0.0, 0.05, 0.3, 0.6, 0.9, 1.0, 1.5]))
    size = max(1, int(least + share * (bytes_of_all - least)) + int(generator.integers(-2, 3)))
    return {"size": size} if generator.random() < 0.5 else {"bitrate": size * 8e-3 / seconds}


def check_one(seed: int, folder: Path, known: KnownCodec | None = None) -> str:
    """One random file, one random wish -> what became of it."""
    generator = np.random.default_rng(seed)
    known = known or known_of(str(generator.choice(list(CODECS))))
    rate, channels = int(generator.choice([8000, 16000, 44100])), int(generator.choice([1, 2]))
    seconds = float(generator.choice([0.01, 0.3, 1.7]))
    source = write(folder / "in.wav", sound(seconds, rate, channels, seed), rate)
    exact = round(seconds * rate) / rate
    whole = encode_file(source, folder / "whole.acx", codec=known)
    assert whole.bytes == (folder / "whole.acx").stat().st_size
    least = encode_file(source, folder / "least.acx", codec=known, codebooks=1).bytes
    ask = random_ask(generator, least, whole.bytes, exact)
    most = ask["size"] if "size" in ask else ask["bitrate"] * 125 * exact
    target = folder / "out.acx"
    target.unlink(missing_ok=True)
    try:
        facts = encode_file(source, target, codec=known, **ask)
    except InvalidInput as error:
        # Refused only where one codebook already is too large, and that size is said.
        assert not target.exists()
        said = re.search(r"with one codebook the file has (\d+)", str(error))
        assert said is not None and int(said[1]) == least > most - 1
        return "refused"
    size = target.stat().st_size
    assert facts.bytes == size <= most + 1e-6
    assert facts.bitrate == pytest.approx(size * 8e-3 / exact)
    with open_acx(target, known, strict=True) as file:
        assert file.bitrate == pytest.approx(facts.bitrate) and file.samples == round(seconds * rate)
        assert list(file.verify()) == []
    return "made"


@pytest.mark.parametrize("seed", range(10))
def test_never_above_what_was_asked(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audiocraft.codec.known.BLOCK_SECONDS", 0.5)
    check_one(seed, tmp_path)


@pytest.mark.parametrize("name", ["causal", "predicting"])
def test_more_distance_takes_less(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The more distance is allowed, the smaller the file and the farther the sound."""
    monkeypatch.setattr("audiocraft.codec.known.BLOCK_SECONDS", 0.5)
    known = known_of(name)
    source = write(tmp_path / "in.wav", sound(1.5, 16000, 1), 16000)
    every = [
        encode_file(source, tmp_path / "a.acx", codec=known, target_mel=limit)
        for limit in (0.0, 5.0, 15.0, 200.0)
    ]
    assert [facts.bytes for facts in every] == sorted((facts.bytes for facts in every), reverse=True)
    assert every[-1].codebooks == 1.0
    distances = [facts.distance for facts in every if facts.distance is not None]
    assert len(distances) == 4 and distances == sorted(distances)


def test_the_rate_that_is_printed_is_that_of_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path / "in.wav", sound(2.0, 16000, 1), 16000)
    assert main(["codec", "encode", str(source), "--model", "debug", "--bitrate", "6"]) == 0
    size = (tmp_path / "in.acx").stat().st_size
    said = capsys.readouterr().err
    assert f"{size:,} bytes" in said or f"{size} bytes" in said
    found = re.search(r"([\d.]+) kb/s", said)
    assert (
        found is not None and float(found[1]) == pytest.approx(size * 8e-3 / 2, rel=0.01) and size * 4e-3 <= 6
    )


def test_two_wishes_are_refused() -> None:
    with pytest.raises(InvalidInput, match="give one"):
        Rate(size=5, quality=3)
    with pytest.raises(DamagedFile):
        open_acx(__file__)


@pytest.mark.parametrize("known", [KnownCodec.load("nano"), known_of("causal")], ids=["tables", "none"])
def test_a_short_file_is_as_large_as_can_be(known: KnownCodec, tmp_path: Path) -> None:
    """What a number of codebooks makes, the same number of bytes gets, and one less is the number below."""
    source = write(tmp_path / "in.wav", sound(2.0, 44100, 2), 44100)
    target = tmp_path / "a.acx"
    every = [encode_file(source, target, codec=known, codebooks=count).bytes for count in (1, 2, 3, 4)]
    for count, size in enumerate(every, 1):
        facts = encode_file(source, target, codec=known, size=size)
        assert (facts.codebooks, facts.bytes) == (count, size)
        if count > 1:
            assert encode_file(source, target, codec=known, size=size - 1).bytes < size
    with pytest.raises(
        InvalidInput, match=f"with one codebook the file has {every[0]},.* ask for that or more"
    ):
        encode_file(source, target, codec=known, size=every[0] - 1)


def test_a_distance_that_is_missed_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "in.wav", sound(1.0, 16000, 1), 16000)
    wish = ("--target-mel", "0.01dB", "-m", "debug", "-q")
    for words in (["encode", str(source)], ["batch", str(tmp_path), "--out", str(tmp_path / "out")]):
        assert main(["codec", *words, *wish]) == 0
        said = capsys.readouterr().err
        assert re.search(r"in.wav: target_mel cannot be reached everywhere: .* [\d.]+ dB away", said)
    assert main(["codec", "encode", str(source), "--target-mel", "200dB", "-m", "debug", "-q"]) == 0
    assert capsys.readouterr().err == ""
