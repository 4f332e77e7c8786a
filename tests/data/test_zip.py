"""Members of archives, opened again and again."""

from __future__ import annotations

import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from audiocraft.data.zip import DEFAULT_SIZE, PathInZip, open_file_in_zip, set_zip_cache_size
from audiocraft.errors import InvalidInput


@pytest.fixture
def archives(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.zip" for number in range(4)]
    for path in paths:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("inner/a.txt", path.stem * 1000)
    return paths


def read(path: Path) -> bytes:
    with open_file_in_zip(PathInZip(f"{path}:inner/a.txt")) as file:
        return file.read()


@pytest.mark.parametrize("size", [0, 1, 32])
def test_reading_with_any_number_of_open_archives(archives: list[Path], size: int) -> None:
    set_zip_cache_size(size)
    try:
        with ThreadPoolExecutor(4) as pool:
            contents = list(pool.map(read, archives * 5))
        assert contents == [(path.stem * 1000).encode() for path in archives] * 5
    finally:
        set_zip_cache_size(DEFAULT_SIZE)


def test_paths() -> None:
    path = PathInZip("/a/b.zip:c/d.json")
    assert (path.zip_path, path.file_path, str(path)) == ("/a/b.zip", "c/d.json", "/a/b.zip:c/d.json")
    assert PathInZip.from_paths("/a/b.zip", "c/d.json") == path and len({path, PathInZip(str(path))}) == 1
    for wrong in ("no separator", ":x", "x:"):
        with pytest.raises(InvalidInput):
            PathInZip(wrong)


def test_mistakes_are_named(archives: list[Path], tmp_path: Path) -> None:
    for wrong in (f"{archives[0]}:absent.txt", f"{tmp_path / 'absent.zip'}:x"):
        with pytest.raises(InvalidInput, match="absent"):
            open_file_in_zip(PathInZip(wrong))
    with pytest.raises(InvalidInput, match="mode"):
        open_file_in_zip(PathInZip(f"{archives[0]}:inner/a.txt"), "w")
