"""The original's path: samples of a run are `audiocraft.solvers.sample_manager`."""
