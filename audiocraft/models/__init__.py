"""Networks and the facades that use them. Names resolve on first use, so that importing one model loads no other."""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "CompressionModel": "encodec",
    "EncodecModel": "encodec",
    "InterleaveStereoCompressionModel": "interleaved",
    "LMModel": "lm",
    "BaseGenModel": "genmodel",
    "AudioGen": "audiogen",
    "DAC": "foreign_codecs",
    "HFEncodecCompressionModel": "foreign_codecs",
    "MusicGen": "musicgen",
    "load_compression_model": "loaders",
    "load_lm_model": "loaders",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
