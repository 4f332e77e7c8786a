"""Codecs under the original's path: they live in `models.codecs`, and none of those imports this module."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audiocraft.models.codecs.encodec import CodecState as CodecState
from audiocraft.models.codecs.encodec import CompressionModel as CompressionModel
from audiocraft.models.codecs.encodec import EncodecModel as EncodecModel
from audiocraft.models.codecs.encodec import StreamingNetwork as StreamingNetwork
from audiocraft.utils.lazy import lazy_names

if TYPE_CHECKING:
    from audiocraft.models.codecs.interleaved import (
        InterleaveStereoCompressionModel as InterleaveStereoCompressionModel,
    )
    from audiocraft.models.codecs.released import DAC as DAC
    from audiocraft.models.codecs.released import HFEncodecCompressionModel as HFEncodecCompressionModel

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "DAC": "audiocraft.models.codecs.released",
        "HFEncodecCompressionModel": "audiocraft.models.codecs.released",
        "InterleaveStereoCompressionModel": "audiocraft.models.codecs.interleaved",
    },
)
