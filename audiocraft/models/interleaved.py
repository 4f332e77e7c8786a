"""An earlier path of `audiocraft.models.codecs.interleaved`."""

from audiocraft.models.codecs.interleaved import InterleaveStereoCompressionModel

__all__ = ["InterleaveStereoCompressionModel"]
