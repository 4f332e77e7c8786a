"""Atomic writing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from audiocraft.utils.files import atomic_path, atomic_write


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "x.json"
    atomic_write(target, "old")
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        assert temporary.suffix == ".json"
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old" and os.listdir(tmp_path) == ["x.json"]


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    atomic_write(tmp_path / "x", b"1")
    (tmp_path / "y").write_bytes(b"1")
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "y").stat().st_mode
    (tmp_path / "x").chmod(0o640)
    atomic_write(tmp_path / "x", b"2")
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640 and (tmp_path / "x").read_bytes() == b"2"


def test_errors_name_the_target(tmp_path: Path) -> None:
    """Not the temporary file, which nobody has heard of."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for target, kind in (
        ("folder", IsADirectoryError),
        ("none/x.wav", FileNotFoundError),
        ("file/x.wav", NotADirectoryError),
    ):
        with pytest.raises(kind) as caught:
            atomic_write(tmp_path / target, b"1")
        assert caught.value.filename == str(tmp_path / target)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_the_longest_name_that_a_file_may_have(tmp_path: Path) -> None:
    target = tmp_path / ("x" * 251 + ".wav")
    atomic_write(target, b"1")
    assert os.listdir(tmp_path) == [target.name]
