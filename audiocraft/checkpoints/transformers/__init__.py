"""Folders in the format of `transformers`: their configurations and the names of their tensors."""
