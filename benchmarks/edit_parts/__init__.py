"""What `benchmarks/edit.py` measures, a part each."""
