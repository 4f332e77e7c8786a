"""Layers that the models are built from."""

from audiocraft.modules.conv import (
    NormConv1d,
    NormConv2d,
    NormConvTranspose1d,
    NormConvTranspose2d,
    StreamableConv1d,
    StreamableConvTranspose1d,
    pad1d,
    pad_for_conv1d,
    unpad1d,
)
from audiocraft.modules.lstm import StreamableLSTM
from audiocraft.modules.seanet import SEANetDecoder, SEANetEncoder
from audiocraft.modules.transformer import StreamingTransformer

__all__ = [
    "NormConv1d",
    "NormConv2d",
    "NormConvTranspose1d",
    "NormConvTranspose2d",
    "SEANetDecoder",
    "SEANetEncoder",
    "StreamableConv1d",
    "StreamableConvTranspose1d",
    "StreamableLSTM",
    "StreamingTransformer",
    "pad1d",
    "pad_for_conv1d",
    "unpad1d",
]
