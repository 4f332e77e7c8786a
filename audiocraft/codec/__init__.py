"""Codecs as a tool: audio of any length, rate and number of channels to codes and back, in streams and in .acx files.

Names resolve on first use, so that reading what a file says loads no network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from audiocraft.utils.lazy import lazy_names

if TYPE_CHECKING:
    from audiocraft.codec.acx_file import AcxFile as AcxFile
    from audiocraft.codec.acx_file import open_acx as open_acx
    from audiocraft.codec.coding import Decoder as Decoder
    from audiocraft.codec.coding import Encoder as Encoder
    from audiocraft.codec.container import DamagedFile as DamagedFile
    from audiocraft.codec.files import EncodeSettings as EncodeSettings
    from audiocraft.codec.files import decode_file as decode_file
    from audiocraft.codec.files import encode_file as encode_file
    from audiocraft.codec.known import KnownCodec as KnownCodec
    from audiocraft.codec.rate import Rate as Rate
    from audiocraft.codec.streams import CodeFrames as CodeFrames

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "AcxFile": "audiocraft.codec.acx_file",
        "CodeFrames": "audiocraft.codec.streams",
        "DamagedFile": "audiocraft.codec.container",
        "Decoder": "audiocraft.codec.coding",
        "EncodeSettings": "audiocraft.codec.files",
        "Encoder": "audiocraft.codec.coding",
        "KnownCodec": "audiocraft.codec.known",
        "Rate": "audiocraft.codec.rate",
        "decode_file": "audiocraft.codec.files",
        "encode_file": "audiocraft.codec.files",
        "open_acx": "audiocraft.codec.acx_file",
    },
)
