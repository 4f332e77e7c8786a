"""The page of a run's samples: every step a column, every prompt a row, and nothing in it that a name could break."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import torch

from audiocraft.audio.files import audio_read
from audiocraft.audio.loudness import true_peak
from audiocraft.config.training import SampleAudioConfig
from audiocraft.solvers.sample_page import PAGE_FILE, write_page
from audiocraft.solvers.samples import write_sample


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name == "src"]


def test_samples_stand_beside_each_other(tmp_path: Path) -> None:
    for step, names in ((0, ["0_calm-piano.wav"]), (50, ["0_calm-piano.wav", "1_<b>loud&.wav", "notes.txt"])):
        folder = tmp_path / "samples" / f"step_{step:06d}"
        folder.mkdir(parents=True)
        for name in names:
            (folder / name).touch()
    text = write_page(
        tmp_path, tmp_path / "samples", [{"step": 50, "stage": "valid", "ce": 4.25}]
    ).read_text()
    page = Page(text)
    assert (tmp_path / PAGE_FILE).is_file() and len(page.sources) == 3
    assert "samples/step_000050/1_%3Cb%3Eloud%26.wav" in page.sources and "b" not in page.tags
    assert "calm piano" in text and "4.25" in text and "notes" not in text
    assert page.tags.count("tr") == 4  # steps, a figure, two samples


def test_a_run_has_one(codec_run: Path) -> None:
    page = Page((codec_run / PAGE_FILE).read_text())
    assert page.sources and all((codec_run / source).is_file() for source in page.sources)


def test_samples_of_a_run_are_limited_and_not_cut(tmp_path: Path) -> None:
    """Quiet music with loud strokes is 12 dB above full scale at the usual loudness; the file is below -1 dBTP."""
    time = torch.arange(24000) / 24000
    audio = 0.02 * torch.sin(2 * torch.pi * 220 * time)
    audio[::4800] = 1.0
    path = write_sample(tmp_path, "strokes", audio[None], 24000, SampleAudioConfig(sample_rate=24000))
    written, rate = audio_read(path)
    assert rate == 24000 and written.shape == (1, 24000)
    assert true_peak(written, rate) <= -0.99
    assert int((written.abs() >= 0.89).sum()) <= 5  # a stroke is turned down as a whole
