"""Grids of the masked models."""
