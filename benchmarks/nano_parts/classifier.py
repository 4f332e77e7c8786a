"""The classifier of instruments, trained once and kept on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from safetensors.torch import load_file, save

from audiocraft.metrics.instruments import NAMES, Classifier, Coder, Labelled, train
from audiocraft.utils.files import atomic_write


def load_or_train(
    path: Path,
    examples: Callable[[], Iterable[Labelled]],
    valid: Callable[[], Iterable[Labelled]],
    coder: Coder | None,
    names: Sequence[str] = NAMES,
) -> Classifier:
    """Load the classifier saved at `path`, trained first where there is none."""
    if path.is_file():
        model = Classifier(names=names)
        model.load_state_dict(load_file(path))
        return model.eval()
    model = train(examples(), valid(), coder, names=names)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, save(model.state_dict()))
    return model
