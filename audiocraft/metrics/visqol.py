"""The perceptual quality of audio by ViSQOL (Chinen et al., "ViSQOL v3", arXiv 2004.09584): an adapter to the program,
which is built from https://github.com/google/visqol and is no Python package."""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from audiocraft.audio.convert import convert_audio
from audiocraft.audio.files import audio_write
from audiocraft.errors import InvalidInput, MissingDependency

logger = logging.getLogger(__name__)

_SCORE = re.compile(r"MOS-LQO:\s*([0-9.]+)")
_PADDING_S = 0.5


class ViSQOL:
    """This class runs ViSQOL on pairs of sounds.

    Args:
        bin: the program, or the folder of its sources in which it was built; None: `visqol` on the path.
        mode: "audio" (48 kHz) or "speech" (16 kHz).
        model: of the mode "audio", a file, by name in the folder `model` of the sources or by path; speech has its own.
        debug: log what the program prints.
    """

    SAMPLE_RATES_MODES: ClassVar[dict[str, int]] = {"audio": 48_000, "speech": 16_000}
    ALLOWED_SAMPLE_RATES = frozenset(SAMPLE_RATES_MODES.values())

    def __init__(
        self,
        bin: Path | str | None,
        mode: str = "audio",
        model: str = "libsvm_nu_svr_model.txt",
        debug: bool = False,
    ) -> None:
        if mode not in self.SAMPLE_RATES_MODES:
            known = " or ".join(self.SAMPLE_RATES_MODES)
            raise InvalidInput(f"ViSQOL has no mode {mode!r}; {known}", field="mode")
        self.visqol_bin, self._sources = _program(bin)
        self.visqol_mode = mode
        self.target_sr = self.SAMPLE_RATES_MODES[mode]
        self.model = model
        self.debug = debug

    @property
    def visqol_model(self) -> str:
        """Return the file of the model that scores similarity."""
        beside = self._sources / "model" / self.model
        return str(beside if beside.exists() else self.model)

    def __call__(self, ref_sig: Tensor, deg_sig: Tensor, sr: int, pad_with_silence: bool = False) -> float:
        """Return the mean opinion score, 1 to 5, of a batch.

        Args:
            ref_sig, deg_sig: [B, C, N] or [C, N], as they were and as they became.
            sr: their sample rate.
            pad_with_silence: half a second of silence before and after, which short sounds need.
        """
        if ref_sig.shape != deg_sig.shape or ref_sig.dim() not in (2, 3):
            raise InvalidInput(
                f"both are [B, C, N], got {list(ref_sig.shape)} and {list(deg_sig.shape)}", field="deg_sig"
            )
        pairs = [(ref_sig, deg_sig)] if ref_sig.dim() == 2 else list(zip(ref_sig, deg_sig, strict=True))
        scores = [self._score(reference, degraded, sr, pad_with_silence) for reference, degraded in pairs]
        return sum(scores) / len(scores)

    def _score(self, reference: Tensor, degraded: Tensor, sr: int, padded: bool) -> float:
        with tempfile.TemporaryDirectory() as folder:
            paths = []
            for name, wav in (("reference", reference), ("degraded", degraded)):
                wav = convert_audio(wav.detach().cpu(), sr, self.target_sr, 1)
                margin = round(_PADDING_S * self.target_sr) if padded else 0
                wav = F.pad(wav, (margin, margin))
                paths.append(audio_write(Path(folder, name), wav, self.target_sr, strategy="clip"))
            command = [
                str(self.visqol_bin), "--reference_file", str(paths[0]), "--degraded_file", str(paths[1]),
                *(["--use_speech_mode"] if self.visqol_mode == "speech" else
                  ["--similarity_to_quality_model", self.visqol_model]),
            ]  # fmt: skip
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        if self.debug:
            logger.info("%s", done.stdout)
        found = _SCORE.search(done.stdout)
        if done.returncode or found is None:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise InvalidInput(f"{self.visqol_bin} gave no score: {said[-1] if said else 'it said nothing'}")
        return float(found.group(1))


def _program(place: Path | str | None) -> tuple[Path, Path]:
    """Return the program and the folder of its sources."""
    if place is None:
        found = shutil.which("visqol")
        candidates = [] if found is None else [Path(found)]
    else:
        candidates = [Path(place), Path(place, "bazel-bin", "visqol")]
    for path in candidates:
        if path.is_file() and os.access(path, os.X_OK):
            return path, Path(place) if place is not None and Path(place).is_dir() else path.parent
    raise MissingDependency(
        f"no program ViSQOL at {place or 'the path, under the name visqol'}: build it from "
        "https://github.com/google/visqol and give its folder as `bin` (metrics.visqol.bin in configurations)"
    )
