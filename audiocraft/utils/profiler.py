"""What a few training steps spend their time on."""

from __future__ import annotations

import logging
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from audiocraft.utils import distrib

logger = logging.getLogger(__name__)

_WAIT, _WARM_UP, _ACTIVE = 1, 2, 4


class Profiler:
    """Use it as `with Profiler(module, enabled) as profiler:` and call `profiler.step()` after each step.

    After a few steps it writes `profile_<rank>.json` (for chrome://tracing or Perfetto) to `folder`, once.
    """

    def __init__(self, module: torch.nn.Module, enabled: bool = False, *, folder: str | Path = ".") -> None:
        self.enabled = enabled
        self.folder = Path(folder)
        self._profile: torch.profiler.profile | None = None
        if not enabled:
            return
        activities = [torch.profiler.ProfilerActivity.CPU]
        if any(parameter.is_cuda for parameter in module.parameters()):
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        self._profile = torch.profiler.profile(
            activities=activities,
            schedule=torch.profiler.schedule(wait=_WAIT, warmup=_WARM_UP, active=_ACTIVE, repeat=1),
            on_trace_ready=self._write,
        )

    def step(self) -> None:
        """Mark the end of a training step."""
        if self._profile is not None:
            self._profile.step()

    def __enter__(self) -> Self:
        if self._profile is not None:
            self._profile.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._profile is not None:
            self._profile.__exit__(kind, error, trace)

    def _write(self, profile: Any) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"profile_{distrib.rank()}.json"
        profile.export_chrome_trace(str(path))
        logger.info("profile of %d steps in %s", _ACTIVE, path)
