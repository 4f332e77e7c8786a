"""`audiocraft doctor`: what is installed, which device, where things are kept, what is missing."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

import typer

from audiocraft.cli import options
from audiocraft.cli.output import document, result
from audiocraft.environment import VERSION

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_REQUIRED = (
    "torch",
    "numpy",
    "einops",
    "safetensors",
    "soundfile",
    "filelock",
    "soxr",
    "julius",
    "tokenizers",
    "typer",
    "rich",
    "pyyaml",
)
_EXTRAS = {
    "kernels": ("ziglang",),
    "train": ("hydra",),
    "tensorboard": ("tensorboard",),
    "wandb": ("wandb",),
    "mlflow": ("mlflow",),
    "text": ("spacy",),
    "notebook": ("IPython",),
    "hub": ("huggingface_hub",),
    "av": ("av",),
    "melody": ("demucs",),
    "onnx": ("onnx",),
    "podcast": ("silero_vad", "onnxruntime"),
    "style": ("transformers",),
    "clap": ("transformers",),
    "play": ("sounddevice",),
    "analysis": ("librosa", "matplotlib"),
    "pesq": ("pesq",),
    "serve": ("fastapi", "starlette", "uvicorn", "websockets", "python_multipart", "sqlalchemy", "alembic",
              "prometheus_client"),
    "postgres": ("pg8000",),
    "ray": ("ray",),
    "client": ("httpx2",),
    "browser": ("playwright", "axe_playwright_python"),
}  # fmt: skip


@app.command()
def doctor(as_json: options.Document = False) -> None:
    """Look at this installation; exit code 1 if something that is always needed is missing."""
    report = examine()
    if as_json:
        document(report)
    else:
        _show(report)
    if report["problems"]:
        raise typer.Exit(1)


def examine() -> dict[str, Any]:
    """Return everything that a bug report should say."""
    from audiocraft.checkpoints.sources import bundled, cache_dir

    versions = {name: _version(name) for name in _REQUIRED}
    models = {name: str(folder) for name, folder in bundled().items()}
    problems = [f"{name} is not installed" for name, version in versions.items() if version is None]
    if not models:
        problems.append("no model is bundled with this installation; pass --model with a folder or file")
    return {
        "audiocraft": VERSION,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "packages": versions,
        "extras": {extra: all(map(_installed, modules)) for extra, modules in _EXTRAS.items()},
        "device": _device(),
        "kernels": _kernels(),
        "cores": os.cpu_count(),
        "models": models,
        "families": _families(),
        "cache": str(cache_dir()),
        "free_gigabytes": round(shutil.disk_usage(_existing(cache_dir())).free / 1e9, 1),
        "problems": problems,
    }


def _families() -> dict[str, dict[str, Any]]:
    """Return what each family of models makes and takes, and which extras of this package its inputs need."""
    from audiocraft.checkpoints.families import families

    return {
        family.name: {
            "title": family.title,
            "kind": family.kind.title,
            "makes": family.makes,
            "takes": sorted({*family.always_takes, *family.inputs.values()}),
            "precisions": list(family.precisions),
            "needs": {
                what: {"extra": extra, "installed": all(map(_installed, _EXTRAS.get(extra, ())))}
                for what, extra in family.needs.items()
            },
        }
        for family in families()
    }


def _device() -> dict[str, Any]:
    import torch

    if torch.cuda.is_available():
        return {"kind": "cuda", "name": torch.cuda.get_device_name(), "count": torch.cuda.device_count()}
    return {
        "kind": "cpu",
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
    }


def _kernels() -> dict[str, Any]:
    """Return whether music is made in compiled code, on which level of processors, and why not."""
    from audiocraft.kernels.build import NO_COMPILER, SWITCH, levels, library
    from audiocraft.kernels.compiling import find_compiler

    compiler, found, (level, *_) = find_compiler(), library(), levels()
    slow = []
    if os.environ.get(SWITCH) == "0":
        slow.append(f"{SWITCH}=0 switches the CPU kernels off: music is made in torch, several times slower")
    elif found is None:
        slow.append(
            NO_COMPILER if compiler is None else "the CPU kernels do not compile here; the log says why"
        )
    if level == "plain" and platform.machine().lower() in ("x86_64", "amd64"):
        slow.append("this processor has no AVX2, which makes everything several times slower")
    return {
        "used": found is not None,
        "level": level,
        "library": None if found is None else found._name,
        "compiler": None if compiler is None else " ".join(compiler),
        "slow": slow,
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)


def _show(report: dict[str, Any]) -> None:
    result(f"audiocraft  {report['audiocraft']}, Python {report['python']}, {report['system']}")
    result(
        "packages    "
        + ", ".join(f"{name} {version or 'MISSING'}" for name, version in report["packages"].items())
    )
    result("device      " + ", ".join(f"{key} {value}" for key, value in report["device"].items()))
    kernels = report["kernels"]
    state = f"level {kernels['level']}, {kernels['library']}" if kernels["used"] else "none"
    result(f"kernels     {state}; compiler {kernels['compiler'] or 'none'}")
    for reason in kernels["slow"]:
        result(f"slow        {reason}")
    result("models      " + (", ".join(report["models"]) or "none bundled"))
    result(f"cache       {report['cache']} ({report['free_gigabytes']} GB free)")
    for name, family in report["families"].items():
        makes = f"makes {family['makes']}" if family["makes"] else family["kind"]
        takes = f"; takes text, {', '.join(family['takes'])}" if family["makes"] else ""
        needs = "".join(
            f"; {what or name} needs the extra {found['extra']}"
            for what, found in family["needs"].items()
            if not found["installed"]
        )
        result(f"family      {name:<10} {family['title']}: {makes}{takes}{needs}")
    for extra, present in report["extras"].items():
        state = "installed" if present else f"not installed: pip install 'audiocraft-custom[{extra}]'"
        result(f"extra       {extra:<10} {state}")
    for problem in report["problems"]:
        result(f"problem     {problem}")
