"""Grids of models of music."""
