"""The parts of `benchmarks/nano.py`: clips, the codec measures, listening measures, the instrument classifier."""
