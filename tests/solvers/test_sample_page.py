"""The page of a run's samples: every step a column, every prompt a row, and nothing in it that a name could break."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

from audiocraft.solvers.sample_page import PAGE_FILE, write_page


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
