"""Kernels in C for decoding on a CPU. Without a compiler everything runs in torch, slower. Nothing here knows a model.

c/kernels.c       one pass of a transformer over its caches, from codes to logits
c/products.h      the products of few rows with large matrices that it is made of
c/codec.c         the layers of a codec over tiles of time, and its LSTM
c/pool.h          threads; c/vectors.h, c/records.h: what all of these build on
build.py          finds or compiles the library for this processor
structs.py        the records that the library reads; codec_structs.py: those of a codec
huge_pages.py     weights and caches side by side in large pages of memory
"""
