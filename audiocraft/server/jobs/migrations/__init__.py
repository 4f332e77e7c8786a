"""Versions of the job database; each file changes the one before."""
