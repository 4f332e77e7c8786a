"""The original's path, a re-export of `audiocraft.checkpoints.files`."""

from audiocraft.checkpoints.files import (
    CheckpointSource,
    check_sharded_checkpoint,
    checkpoint_name,
    flush_stale_checkpoints,
    is_sharded_checkpoint,
    load_checkpoint,
    resolve_checkpoint_path,
    save_checkpoint,
)

__all__ = [
    "CheckpointSource",
    "check_sharded_checkpoint",
    "checkpoint_name",
    "flush_stale_checkpoints",
    "is_sharded_checkpoint",
    "load_checkpoint",
    "resolve_checkpoint_path",
    "save_checkpoint",
]
