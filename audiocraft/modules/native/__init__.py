"""Kernels in C for decoding on a CPU, an option: without a compiler everything runs in torch, slower.

kernels.c    one pass of a transformer over its caches, from codes to logits
products.h   the products of few rows with large matrices that it is made of
pages.py     weights and caches side by side in large pages of memory
pool.h       threads; vectors.h, records.h: what all of these build on
codec.c      the layers of a codec over tiles of time, and its LSTM
build.py     finds or compiles them for this processor
program.py   a transformer and its caches, as the kernels see them
codec.py     a codec's layers as the kernels see them; codec_records.py its records, codec_weights.py what they hold
ends.py      the tables of codes before it, and the heads behind it
"""
