"""Every public name and parameter of the original is here, or the page on compatibility says that it is not."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_LINE = re.compile(r"(?P<module>[\w.]+):(?P<name>[\w.]+)(?:\((?P<parameters>.*)\))?")
_PACKAGES = ("adversarial", "data", "losses", "models", "modules", "optim", "quantization", "utils")

# What later milestones bring. Each name stands in the page's section of what is not here yet.
_ABSENT_MODULES = (
    "data.jasco_dataset", "models.flow_matching", "models.jasco", "models.lm_magnet", "models.magnet",
    "models.multibanddiffusion", "models.unet", "models.watermark", "modules.diffusion_schedule",
    "modules.jasco_conditioners", "modules.watermark", "utils.audio_effects",
)  # fmt: skip
_ABSENT_NAMES = (
    "DiffusionUnet", "FlowMatchingModel", "JASCO", "JascoCondConst", "MAGNeT", "MagnetLMModel", "MultiBandDiffusion",
    "WMModel", "get_diffusion_model", "get_jasco_model", "get_processor", "get_watermark_model",
    "load_audioseal_models", "load_diffusion_models", "load_jasco_model", "load_lm_model_magnet", "load_mbd_ckpt",
)  # fmt: skip
# Named one by one instead.
_OPEN_ARGUMENTS = {"audiocraft.modules.transformer:StreamingTransformerLayer": {"**kwargs"}}


def interface() -> Iterator[tuple[str, str, list[str] | None]]:
    """(module, dotted name, parameters) of the original; None where there is nothing to call."""
    for line in (Path(__file__).parent / "interface.txt").read_text(encoding="utf-8").splitlines():
        match = _LINE.fullmatch(line)
        assert match is not None, line
        text = match["parameters"]
        yield match["module"], match["name"], None if text is None else text.split(", ") if text else []


def expected(package: str) -> list[tuple[str, str, list[str] | None]]:
    return [
        entry
        for entry in interface()
        if entry[0].split(".")[1] == package
        and entry[0].removeprefix("audiocraft.") not in _ABSENT_MODULES
        and entry[1].split(".")[0] not in _ABSENT_NAMES
    ]


def found(module: str, name: str) -> Any:
    value = importlib.import_module(module)
    for part in name.split("."):
        value = getattr(value, part)
    return value


def lacking(target: Any, wanted: list[str]) -> set[str]:
    """Parameters that cannot be given to `target` by their names."""
    try:
        parameters = inspect.signature(target).parameters
    except (TypeError, ValueError):
        return set()
    open_ended = {kind: any(p.kind is kind for p in parameters.values())
                  for kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)}  # fmt: skip
    missing = set()
    for name in wanted:
        if name.startswith("*"):
            keyword = (
                inspect.Parameter.VAR_KEYWORD if name.startswith("**") else inspect.Parameter.VAR_POSITIONAL
            )
            accepted = open_ended[keyword]
        else:
            accepted = name in parameters or open_ended[inspect.Parameter.VAR_KEYWORD]
        if not accepted:
            missing.add(name)
    return missing


@pytest.mark.parametrize("package", _PACKAGES)
def test_names_and_parameters(package: str) -> None:
    problems = []
    for module, name, parameters in expected(package):
        try:
            target = found(module, name)
        except (ImportError, AttributeError):
            problems.append(f"{module}:{name}")
            continue
        missing = lacking(target, parameters or []) - _OPEN_ARGUMENTS.get(f"{module}:{name}", set())
        problems += [f"{module}:{name} takes no {parameter}" for parameter in sorted(missing)]
    assert not problems, "\n".join(problems)


def test_what_is_absent_is_on_the_page(repository: Path) -> None:
    page = (repository / "docs" / "compatibility.md").read_text(encoding="utf-8")
    section = page[page.index("## What is not here yet") :]
    for name in (*_ABSENT_MODULES, *_ABSENT_NAMES):
        assert f"`{name}" in section, f"docs/compatibility.md does not say that {name} is missing"


def test_what_is_called_absent_really_is() -> None:
    """Otherwise the list hides what it should check."""
    names = [(module, name) for module, name, _ in interface()]
    for wanted in _ABSENT_NAMES:
        for module, name in names:
            if name == wanted and module.removeprefix("audiocraft.") not in _ABSENT_MODULES:
                with pytest.raises((ImportError, AttributeError)):
                    found(module, name)


def test_tests_named_on_the_page_exist(repository: Path) -> None:
    page = (repository / "docs" / "compatibility.md").read_text(encoding="utf-8")
    section = page[page.index("## What is fixed") : page.index("## What is not here yet")]
    everything = "\n".join(
        path.read_text(encoding="utf-8") for path in (repository / "tests").rglob("test_*.py")
    )
    named = re.findall(r"`(test_\w+)`", section)
    missing = [name for name in named if f"def {name}(" not in everything]
    assert named and not missing, missing
