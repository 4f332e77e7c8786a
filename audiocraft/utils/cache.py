"""The original's path of `audiocraft.modules.conditioners.embedding_cache` and of `audiocraft.data.batch_cache`."""

from audiocraft.data.batch_cache import CachedBatchLoader, CachedBatchWriter
from audiocraft.modules.conditioners.embedding_cache import EmbeddingCache, get_full_embed

__all__ = ["CachedBatchLoader", "CachedBatchWriter", "EmbeddingCache", "get_full_embed"]
