"""Grids of models of sounds."""
