"""Grids of experiments, under the names of the original: each module has an `explorer` that gives a `Launcher` its
runs. `audiocraft grid NAME` shows them, and trains them."""
