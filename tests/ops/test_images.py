"""The Dockerfile, the compose files and the scripts, by rules of the kind that hadolint has; no engine is needed."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
_INSTRUCTIONS = {
    "FROM", "ARG", "ENV", "WORKDIR", "RUN", "COPY", "USER", "EXPOSE", "VOLUME", "HEALTHCHECK", "STOPSIGNAL", "CMD",
}  # fmt: skip


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile as (instruction, arguments), continued lines joined, without comments."""
    lines = [
        line for line in (DOCKER / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")
    ]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    return [
        (line.split(None, 1)[0], " ".join(line.split(None, 1)[1].split()))
        for line in joined.splitlines()
        if line.strip()
    ]


def stages() -> dict[str, list[tuple[str, str]]]:
    """The instructions of each stage by its name, those of the stage it starts from first."""
    found: dict[str, list[tuple[str, str]]] = {}
    current: list[tuple[str, str]] = []
    for name, arguments in instructions():
        if name == "FROM":
            match = re.fullmatch(r"(\S+) AS (\S+)", arguments)
            assert match, f"FROM {arguments}: a stage needs a name"
            current = found[match[2]] = list(found.get(match[1], []))
        current.append((name, arguments))
    return found


def test_only_known_instructions() -> None:
    assert {
        name for name, _ in instructions()
    } <= _INSTRUCTIONS  # no ADD, no MAINTAINER, no SHELL, no ONBUILD


def test_base_images_are_pinned() -> None:
    values = dict(
        arguments.split("=", 1) for name, arguments in instructions() if name == "ARG" and "=" in arguments
    )
    known = set(stages())
    for name, arguments in instructions():
        if name == "FROM":
            image = arguments.split()[0]
            image = re.sub(r"\$\{(\w+)\}", lambda match: values[match[1]], image)
            assert image in known or (":" in image and not image.endswith(":latest")), image


def test_what_runs_is_no_root_and_says_when_it_is_ill() -> None:
    for target in ("cpu", "cuda"):
        stage = stages()[target]
        users = [arguments for name, arguments in stage if name == "USER"]
        assert users[-1] == "10001:10001", "a number: Kubernetes cannot check names"
        assert any(name == "HEALTHCHECK" and "/healthz" in arguments for name, arguments in stage)
        after = stage[[name for name, _ in stage].index("USER") :]
        assert not any(name == "RUN" for name, _ in after)
        assert {arguments for name, arguments in stage if name == "VOLUME"} == {'["/data", "/models"]'}
        commands = [arguments for name, arguments in stage if name == "CMD"]
        assert commands[-1].startswith("["), "a shell in front would not pass signals on"
        assert "apt-get" not in str(stage)


def test_nothing_secret_is_in_an_image() -> None:
    for name, arguments in instructions():
        if name in ("ARG", "ENV"):
            assert not re.search(r"(?i)(token|secret|password|api_key)\s*=", arguments), arguments
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*", "only what is named is sent to the builder"


def test_installations_are_pinned_and_leave_no_cache() -> None:
    for stage in ("cpu-libraries", "cuda-libraries"):
        text = str(stages()[stage])
        assert "PIP_NO_CACHE_DIR=1" in text
        assert "--constraint /tmp/constraints.txt" in text
    constraints = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    )
    for version in re.findall(r"torch==([\d.]+)", (DOCKER / "Dockerfile").read_text()):
        assert constraints["torch"].startswith(version)


def test_extras_of_the_image_exist_and_are_those_that_prove_installs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = set(re.findall(r"\$\{wheel\}\[([\w,]+)\]", (DOCKER / "Dockerfile").read_text()))
    assert len(wanted) == 1
    extras = wanted.pop()
    assert set(extras.split(",")) <= set(project["optional-dependencies"])
    assert f"[{extras}]" in (DOCKER / "prove.sh").read_text()


def test_copied_files_exist_and_are_sent() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for name, arguments in instructions():
        if name == "COPY" and "--from" not in arguments:
            *sources, _ = [word for word in arguments.split() if not word.startswith("--")]
            for source in sources:
                assert (ROOT / source).exists(), source
                assert source in allowed, f"{source} is not sent to the builder"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    return found


def test_compose_has_a_server_two_workers_and_postgresql(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert set(services) == {"postgres", "server", "worker"}
    assert services["worker"]["deploy"]["replicas"] == 2
    assert services["server"]["command"][-2:] == ["--workers", "0"]
    assert services["postgres"]["image"].startswith("postgres:")
    assert services["server"]["depends_on"]["postgres"]["condition"] == "service_healthy"


def test_compose_services_are_confined(compose: dict[str, Any]) -> None:
    for name in ("server", "worker"):
        service = compose["services"][name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert service["user"] == "10001:10001"
        assert service["deploy"]["resources"]["limits"]["memory"]
        assert int(service["stop_grace_period"].rstrip("s")) > 30
    assert compose["services"]["server"]["ports"] == ["127.0.0.1:8000:8000"]
    assert "ports" not in compose["services"]["postgres"]
    assert compose["networks"]["inside"]["internal"] is True


def test_compose_names_only_what_it_defines(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert set(service.get("networks", [])) <= set(compose["networks"])
        assert set(service.get("secrets", [])) <= set(compose["secrets"])
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in compose["volumes"] or (DOCKER / source).exists(), source
    assert "PASSWORD=" not in (DOCKER / "compose.yaml").read_text()
    more = yaml.safe_load((DOCKER / "compose.cuda.yaml").read_text())
    assert set(more["services"]) <= set(compose["services"])


@pytest.mark.parametrize("script", ["prove.sh", "run.sh"])
def test_scripts_are_well_formed(script: str) -> None:
    path = DOCKER / script
    text = path.read_text()
    assert re.search(r"^set -eu", text, re.MULTILINE)
    assert path.stat().st_mode & 0o111, "must be executable"
    shell = shutil.which("bash" if "bash" in text.splitlines()[0] else "sh")
    if shell is not None:
        assert subprocess.run([shell, "-n", str(path)], check=False).returncode == 0


def test_run_puts_secrets_into_the_environment_of_the_command_only(tmp_path: Path) -> None:
    """The script with a stand-in for the program, which prints what it got."""
    (tmp_path / "secrets").mkdir()
    for name, value in {"postgres_password": "pw\n", "api_key": "key\n", "hf_token": ""}.items():
        (tmp_path / "secrets" / name).write_text(value)
    stand_in = tmp_path / "audiocraft"
    stand_in.write_text(
        '#!/bin/sh\necho "$@"\necho "$AUDIOCRAFT_DATABASE $AUDIOCRAFT_API_KEY ${HF_TOKEN:-none}"\n'
    )
    stand_in.chmod(0o755)
    done = subprocess.run(
        ["sh", str(DOCKER / "run.sh"), "serve", "--port", "1"],
        env={
            "PATH": f"{tmp_path}:/usr/bin:/bin",
            "SECRETS_DIR": str(tmp_path / "secrets"),
            "POSTGRES_HOST": "db",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "serve --port 1 --log-format json",
        "postgresql://audiocraft:pw@db/audiocraft key none",
    ]
