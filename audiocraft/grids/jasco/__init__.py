"""Grids of the flows."""
