"""Where things are, by environment and team file."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from audiocraft.environment import AudioCraftEnvironment
from audiocraft.errors import ConfigError


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("TEAM", "CLUSTER", "CONFIG", "DORA_DIR", "REFERENCE_DIR"):
        monkeypatch.delenv(f"AUDIOCRAFT_{name}", raising=False)
    AudioCraftEnvironment.reset()
    yield
    AudioCraftEnvironment.reset()


def test_defaults() -> None:
    assert AudioCraftEnvironment.get_team() == "default"
    assert AudioCraftEnvironment.get_dora_dir() == Path("runs")
    assert AudioCraftEnvironment.resolve_reference_path("//reference/fad/x.pt") == Path("reference/fad/x.pt")
    assert AudioCraftEnvironment.resolve_reference_path("/else/x.pt") == Path("/else/x.pt")
    assert (
        AudioCraftEnvironment.get_slurm_partitions() == ""
        and AudioCraftEnvironment.get_slurm_exclude() is None
    )


def test_a_team_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "team.yaml"
    file.write_text(
        "default:\n  dora_dir: $PLACE/runs\n  slurm_exclude: n1,n2\n  partitions: {global: a, team: b}\n"
        "  dataset_mappers:\n    ^/old/: /new/\nrsc:\n  dora_dir: /rsc\n"
    )
    monkeypatch.setenv("AUDIOCRAFT_CONFIG", str(file))
    monkeypatch.setenv("PLACE", "/place")
    assert AudioCraftEnvironment.get_dora_dir() == Path("/place/runs")
    assert AudioCraftEnvironment.get_slurm_partitions() == "a,b"
    assert AudioCraftEnvironment.get_slurm_partitions(["team"]) == "b"
    assert AudioCraftEnvironment.get_slurm_exclude() == "n1,n2"
    assert AudioCraftEnvironment.apply_dataset_mappers("/old/a.wav") == "/new/a.wav"
    with pytest.raises(ConfigError, match="'night'"):
        AudioCraftEnvironment.get_slurm_partitions(["night"])
    monkeypatch.setenv("AUDIOCRAFT_CLUSTER", "rsc")
    AudioCraftEnvironment.reset()
    assert AudioCraftEnvironment.get_cluster() == "rsc" and AudioCraftEnvironment.get_dora_dir() == Path(
        "/rsc"
    )
    monkeypatch.setenv("AUDIOCRAFT_DORA_DIR", "/first")
    assert AudioCraftEnvironment.get_dora_dir() == Path("/first")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("CLUSTER", "moon", "not known"),
        ("TEAM", "nobody", "has no file"),
        ("CONFIG", "/nowhere.yaml", "cannot read"),
        ("CONFIG", "LIST", "not a table"),
        ("CONFIG", "BROKEN", "cannot be parsed"),
    ],
)
def test_mistakes_are_named(
    name: str, value: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {"LIST": "- a\n", "BROKEN": "a: [\n"}
    if value in texts:
        (tmp_path / "x.yaml").write_text(texts[value])
        value = str(tmp_path / "x.yaml")
    monkeypatch.setenv(f"AUDIOCRAFT_{name}", value)
    with pytest.raises(ConfigError, match=message):
        AudioCraftEnvironment.instance()


@pytest.mark.parametrize(
    ("said", "first", "expected"),
    [
        ({}, "audiocraft", "1000 None"),
        ({}, "torch", "None None"),
        ({"GOMP_SPINCOUNT": "50"}, "audiocraft", "50 None"),
        ({"OMP_WAIT_POLICY": "active"}, "audiocraft", "None active"),
    ],
)
def test_threads_wait_briefly_unless_the_program_says_how(
    said: dict[str, str], first: str, expected: str
) -> None:
    """A thread that spins keeps the thread that it waits for from running, wherever another program has a core."""
    unsaid = {
        name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    }
    code = (
        f"import os, {first}; import audiocraft; "
        "print(os.environ.get('GOMP_SPINCOUNT'), os.environ.get('OMP_WAIT_POLICY'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**unsaid, **said}, check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == expected
