"""Kernels in C for decoding on a CPU. Without a compiler everything runs in torch, slower. Nothing here knows a model.

c/structs.h        what Python hands over, and the answers; c/checks.h: what is looked at first
c/kernels.c        one step of a transformer over its caches, from codes to logits
c/products.h       the products of few rows with large matrices that it is made of
c/codec.c          the layers of a codec over tiles of time, and its LSTM
c/codes.c          codes of .acx files, read one after another
c/pool.h           threads; c/vectors.h: vectors of floats on every processor
build.py           finds or compiles the library for this processor
bindings.py        its functions, with types and errors
structs.py         the structs that it reads; codec_structs.py: those of a codec
huge_pages.py      weights and caches side by side in large pages of memory
"""
