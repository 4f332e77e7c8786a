"""Finding and compiling the kernels."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from audiocraft.kernels import build, compiling


def test_the_best_level_that_the_processor_has() -> None:
    zen5 = frozenset(
        {"avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "mmx"}
    )
    assert compiling.level_of(zen5) == "v4-vnni"
    assert compiling.level_of(zen5 | {"amx_tile", "amx_int8"}) == "v4-amx"
    assert compiling.level_of(zen5 | {"amx_tile"}) == "v4-vnni"
    assert compiling.level_of(zen5 - {"avx512_vnni"}) == "v4"
    assert compiling.level_of(zen5 - {"avx512bw"}) == "v3"
    assert compiling.level_of(frozenset({"avx2", "fma", "f16c", "avx_vnni"})) == "v3-vnni"
    assert compiling.level_of(frozenset({"avx2", "fma"})) == "plain"
    assert compiling.level_of(frozenset()) == "plain"
    assert compiling.level_of(frozenset({"asimd", "asimddp"}), "aarch64") == "dotprod"
    assert compiling.level_of(frozenset({"asimd"}), "aarch64") == "plain"
    assert compiling.level_of(frozenset({"avx2"}), "riscv64") == "plain"


@pytest.mark.parametrize("allowed", [True, False])
def test_tiles_count_where_the_system_allows_them(allowed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "processor : 0\nflags : avx2 amx_tile amx_int8\n")
    monkeypatch.setattr(build, "_allows_tiles", lambda: allowed)
    monkeypatch.setattr(build.sys, "platform", "linux")
    assert build.features() == {"avx2", *(("amx_tile", "amx_int8") if allowed else ())}


def test_names_tell_levels_and_sources_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = {compiling.file_name(level) for level, _ in compiling.LEVELS}
    assert len(names) == len(compiling.LEVELS)
    other = tmp_path / "kernels.c"
    other.write_bytes(compiling.SOURCE.read_bytes() + b"\n")
    monkeypatch.setattr(compiling, "SOURCE", other)
    assert compiling.file_name("v3") not in names


def test_without_a_compiler_there_are_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert build.build(tmp_path, "plain") is None
    assert not list(tmp_path.iterdir())


def test_a_compiler_that_fails_is_no_disaster(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "kernels.c"
    broken.write_text("this is not C")
    monkeypatch.setattr(compiling, "SOURCE", broken)
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        pytest.skip("no C compiler")
    with caplog.at_level(logging.WARNING):
        assert build.build(tmp_path / "cache", "plain") is None
    assert "plain" in caplog.text and "this is not C" in caplog.text
    assert not list((tmp_path / "cache").iterdir())


def test_a_damaged_library_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    damaged = tmp_path / "kernels.so"
    damaged.write_bytes(b"no library")
    assert build._opened(damaged) is None
    assert str(damaged) in caplog.text


def test_a_lower_level_is_better_than_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A wheel from an old compiler lacks the newest level, and there is no compiler here to make it."""
    best, lower = "v4-vnni", "v3"
    monkeypatch.setattr(build, "BUNDLED", tmp_path)
    monkeypatch.setattr(build, "cache_dir", lambda: tmp_path / "cache")
    monkeypatch.setattr(build, "features", lambda: frozenset(dict(compiling.LEVELS)[best]))
    monkeypatch.setattr(build, "build", lambda folder, level: None)
    monkeypatch.setattr(build, "_opened", lambda path: path.name)
    (tmp_path / compiling.file_name(lower)).touch()
    build.library.cache_clear()
    try:
        assert build.library() == compiling.file_name(lower)
    finally:
        build.library.cache_clear()


def test_a_compiler_without_the_newest_level_makes_the_next(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nobody loses the kernels because a newer level exists than their compiler knows."""
    asked: list[str] = []

    def build_without_vnni(folder: Path, level: str) -> Path | None:
        asked.append(level)
        return None if level.endswith("vnni") else folder / level

    monkeypatch.setattr(build, "BUNDLED", tmp_path)
    monkeypatch.setattr(build, "cache_dir", lambda: tmp_path / "cache")
    monkeypatch.setattr(build, "levels", lambda: ("v3-vnni", "v3", "plain"))
    monkeypatch.setattr(build, "build", build_without_vnni)
    monkeypatch.setattr(build, "find_compiler", lambda: ("cc",))
    monkeypatch.setattr(build, "_opened", lambda path: path.name)
    build.library.cache_clear()
    try:
        assert build.library() == compiling.file_name("v3")
    finally:
        build.library.cache_clear()
    assert asked == ["v3-vnni", "v3"]


@pytest.mark.parametrize("switch", ["0", "/nowhere/kernels.so"])
def test_the_switch(switch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIOCRAFT_NATIVE", switch)
    build.library.cache_clear()
    try:
        assert build.library() is None
    finally:
        build.library.cache_clear()
