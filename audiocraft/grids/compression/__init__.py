"""Grids of codecs."""
