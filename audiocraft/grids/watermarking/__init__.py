"""Grids of watermarks."""
