"""Codecs beside EnCodec, and the streams that turn codes into audio piece by piece."""
