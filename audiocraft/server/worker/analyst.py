"""The process that analyses files that were sent: it reads them from disk, says how far it is, and can be stopped.

It is a process of its own so that what an analysis takes, hundreds of megabytes with its libraries, is given back when
nothing has been analysed for a while, and so that one whose client has left ends at once, whatever it is doing.
"""

from __future__ import annotations

import base64
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from audiocraft.analysis.report import analyse
from audiocraft.analysis.watermark import find_watermark
from audiocraft.audio.spectrogram import spectrogram_png
from audiocraft.config.limits import PROVENANCE
from audiocraft.errors import Cancelled, CheckpointError, InvalidInput
from audiocraft.models.detectors.detector import BUNDLED, Detector, ShareReport, load_detector
from audiocraft.models.loaders import load_audioseal_models
from audiocraft.models.watermark import AudioSeal
from audiocraft.server.errors import NotImplementedHere, fault_of
from audiocraft.server.worker.ipc import Message, MessageSocket
from audiocraft.server.worker.ports import AnalysisOptions, Samples

_log = logging.getLogger(__name__)

# The shares of the work that are done when the report is there, and when the watermark is, which comes beside it.
_JUDGED, _PICTURE = 0.9, 0.95
_LOOK_S = 0.2
_PIECE_S = 10.0


class Analyst:
    """An analyst judges files with one detector, which is loaded at the first file.

    Args:
        model: the name or the folder of the detector.
    """

    def __init__(self, model: str | Path = BUNDLED) -> None:
        self._model = model
        self._detector: Detector | None = None
        self._watermark: AudioSeal | None = None

    def detector(self) -> Detector:
        """Return the detector. Raises NotImplementedHere where there is none."""
        if self._detector is None:
            try:
                self._detector = load_detector(self._model)
            except CheckpointError as error:
                raise NotImplementedHere(f"this server has no detector: {error}") from error
        return self._detector

    def analyse(
        self, wav: Samples, sample_rate: int, options: AnalysisOptions, step: ShareReport
    ) -> dict[str, Any]:
        """Report on audio [C, N] -> the fields of the report, `watermark`, which is None where there is nothing that
        could carry one, and `spectrogram`: a PNG in base64, or None. Takes seconds.

        Args:
            step: called now and then with the share that is done; it may raise to stop.
        """
        audio = torch.from_numpy(wav)
        if not bool(audio.isfinite().all()):
            raise InvalidInput("the file has samples that are no numbers", field="file")
        if options.watermark_only:
            return {"watermark": self._marks(audio, sample_rate, step)}
        with _Beside(partial(self._marks, audio, sample_rate)) as beside:
            report = analyse(
                audio, sample_rate, self.detector(), threshold=options.threshold, feature_maps=options.feature_maps,
                step=lambda done: step(_JUDGED * done),
            )  # fmt: skip
            try:
                marks = beside.result(lambda: step(_JUDGED))
            except InvalidInput:  # too short or silent, which the rest of the report says
                marks = None
        picture = None
        if options.spectrogram:
            step(_PICTURE)
            picture = base64.b64encode(spectrogram_png(audio, sample_rate)).decode("ascii")
        return {**report.as_json(), "watermark": marks, "spectrogram": picture}

    def _marks(self, audio: Tensor, sample_rate: int, step: ShareReport) -> dict[str, Any]:
        """Return what is found of a watermark in audio [C, N]."""
        if self._watermark is None:
            self._watermark = load_audioseal_models(PROVENANCE)  # type: ignore[assignment]
        assert self._watermark is not None
        size = round(_PIECE_S * sample_rate)

        def pieces() -> Iterator[Tensor]:
            for start in range(0, audio.shape[-1], size):
                step(start / audio.shape[-1])
                yield audio[:, start : start + size]

        return find_watermark(self._watermark, pieces(), sample_rate).as_json()


class _Beside:
    """This object holds work that another thread does meanwhile, and that ends early where this one fails.

    Args:
        work: is given a function that it calls now and then, with the share that is done, which raises to end it.
    """

    def __init__(self, work: Callable[[ShareReport], dict[str, Any]]) -> None:
        self._work, self._ended = work, threading.Event()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="watermark")

    def __enter__(self) -> Self:
        self._found = self._pool.submit(self._work, self._step)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._pool.shutdown()

    def result(self, look: Callable[[], object]) -> dict[str, Any]:
        """Return what the work gives; until it is there, `look` is called now and then, and may raise."""
        while not wait([self._found], timeout=_LOOK_S).done:
            look()
        return self._found.result()

    def _step(self, done: float) -> None:
        if self._ended.is_set():
            raise Cancelled("the analysis was stopped")


def attend(connection: MessageSocket, analyst: Analyst) -> None:
    """Analyse the files that the other end names, one after the other, until it is gone."""
    stop = threading.Event()
    working: threading.Thread | None = None
    while (found := connection.receive()) is not None:
        message, _ = found
        if message["do"] == "stop":
            stop.set()
        else:
            if working is not None:
                working.join()
            stop = threading.Event()
            working = threading.Thread(target=_answer, args=(connection, analyst, message, stop), daemon=True)
            working.start()
    stop.set()


def _answer(connection: MessageSocket, analyst: Analyst, message: Message, stop: threading.Event) -> None:
    def step(done: float) -> None:
        if stop.is_set():
            raise Cancelled("the analysis was stopped")
        connection.send({"progress": done})

    answer: Message
    try:
        frames = np.fromfile(message["path"], dtype=np.float32).reshape(-1, message["channels"])
        wav = np.ascontiguousarray(frames.T)
        del frames
        report = analyst.analyse(wav, message["sample_rate"], AnalysisOptions(**message["options"]), step)
        answer = {"report": report}
    except Exception as error:  # noqa: BLE001 - an answer to this call
        fault = fault_of(error)
        if fault.status == 500:
            _log.error("an analysis failed", exc_info=error)
        answer = {"fault": asdict(fault)}
    try:
        connection.send(answer)
    except OSError:
        pass  # nobody is there to hear it


def main(descriptor: int) -> int:
    """Attend to the socket with this file descriptor -> the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of a terminal; the server decides
    os.nice(5)  # answers come first
    # Beside a model that computes, several threads mostly wait for each other: one is faster then.
    torch.set_num_threads(1)
    attend(MessageSocket(socket.socket(fileno=descriptor)), Analyst())
    os._exit(0)  # an interpreter cannot end under threads of torch
