"""Networks and the facades that use them. Names resolve on first use, so that importing one model loads no other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audiocraft.utils.lazy import lazy_names

if TYPE_CHECKING:
    from audiocraft.models.audiogen import AudioGen as AudioGen
    from audiocraft.models.codecs.encodec import CompressionModel as CompressionModel
    from audiocraft.models.codecs.encodec import EncodecModel as EncodecModel
    from audiocraft.models.codecs.interleaved import (
        InterleaveStereoCompressionModel as InterleaveStereoCompressionModel,
    )
    from audiocraft.models.codecs.released import DAC as DAC
    from audiocraft.models.codecs.released import HFEncodecCompressionModel as HFEncodecCompressionModel
    from audiocraft.models.flow_matching import FlowMatchingModel as FlowMatchingModel
    from audiocraft.models.genmodel import BaseGenModel as BaseGenModel
    from audiocraft.models.jasco import JASCO as JASCO
    from audiocraft.models.lm import LMModel as LMModel
    from audiocraft.models.lm_magnet import MagnetLMModel as MagnetLMModel
    from audiocraft.models.loaders import load_compression_model as load_compression_model
    from audiocraft.models.loaders import load_lm_model as load_lm_model
    from audiocraft.models.magnet import MAGNeT as MAGNeT
    from audiocraft.models.multibanddiffusion import MultiBandDiffusion as MultiBandDiffusion
    from audiocraft.models.musicgen import MusicGen as MusicGen
    from audiocraft.models.unet import DiffusionUnet as DiffusionUnet
    from audiocraft.models.watermark import AudioSeal as AudioSeal
    from audiocraft.models.watermark import WMModel as WMModel

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "CompressionModel": "audiocraft.models.codecs.encodec",
        "EncodecModel": "audiocraft.models.codecs.encodec",
        "InterleaveStereoCompressionModel": "audiocraft.models.codecs.interleaved",
        "LMModel": "audiocraft.models.lm",
        "BaseGenModel": "audiocraft.models.genmodel",
        "AudioGen": "audiocraft.models.audiogen",
        "DAC": "audiocraft.models.codecs.released",
        "FlowMatchingModel": "audiocraft.models.flow_matching",
        "JASCO": "audiocraft.models.jasco",
        "HFEncodecCompressionModel": "audiocraft.models.codecs.released",
        "MAGNeT": "audiocraft.models.magnet",
        "MagnetLMModel": "audiocraft.models.lm_magnet",
        "AudioSeal": "audiocraft.models.watermark",
        "DiffusionUnet": "audiocraft.models.unet",
        "MultiBandDiffusion": "audiocraft.models.multibanddiffusion",
        "MusicGen": "audiocraft.models.musicgen",
        "WMModel": "audiocraft.models.watermark",
        "load_compression_model": "audiocraft.models.loaders",
        "load_lm_model": "audiocraft.models.loaders",
    },
)
