"""The parts of `benchmarks/nano.py`: clips, codecs to compare with, the choice of measures, a sheet of pictures."""
