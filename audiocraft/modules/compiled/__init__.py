"""Models in the form that the kernels run.

transformer.py     a transformer and its caches
token_heads.py     the tables of codes before it, and the heads behind it
codec.py           the layers of a codec; codec_weights.py: what they hold
"""
