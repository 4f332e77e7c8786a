"""Grids of diffusion decoders."""
