"""Banks: the audio of a game in an archive that engines read as it is, and a piece that goes through its tension."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

from torch import Tensor

from audiocraft.music.planning import ScoreSettings
from audiocraft.server.api.production_bodies import BankBody
from audiocraft.server.worker.studio.work import StudioResult, StudioWork
from audiocraft.utils.files import atomic_path
from audiocraft.workflows.studio.dynamic import LEVELS, GamePiece, GameState
from audiocraft.workflows.studio.game import STINGERS, GameAudioSystem
from audiocraft.workflows.studio.parts import PartsProgress, slug

_FILE = "bank.zip"
_MADE = 0.95
_SAME_TIME = (1980, 1, 1, 0, 0, 0)  # in the archive, so that the same bank is the same bytes


def make_bank(work: StudioWork) -> StudioResult:
    """Return the bank of a job."""
    body = BankBody.model_validate(dict(work.job.request))
    assert body.model is not None and body.sound_model is not None and body.seed is not None
    piece = GamePiece(
        title=work.job.title,
        prompt=body.prompt,
        seed=body.seed,
        bars=body.bars,
        score=ScoreSettings(tempo=body.tempo, key=body.key, chords=tuple(body.chords)),
    )
    plan = piece.plan()
    work.begun(plan)
    sounds = work.model(body.sound_model, None) if body.places else work.model(body.model, None)
    system = GameAudioSystem(
        work.model(body.model, None), sounds, piece=piece, folder=work.parts, watermark=work.watermark
    )
    folder = work.files / "bank"
    system.export(
        folder, body.locations, environments=body.places, stingers=STINGERS if body.stingers else {},
        ambience_seconds=body.ambience_seconds, audio_format=body.format,
        progress=_Stages(work, 1 + body.stingers + len(body.places)), cancel=work.cancel,
    )  # fmt: skip
    audio, rate, long = _tour(system, body, plan.beats_per_bar * 60 / plan.tempo)
    _archive(folder, work.files / _FILE, slug(work.job.title))
    shutil.rmtree(folder, ignore_errors=True)
    return StudioResult(
        audio=audio,
        sample_rate=rate,
        plan=None,
        facts={
            "tempo": plan.tempo, "key": plan.key, "locations": list(body.locations), "environments": body.places,
            "sections": [
                {"name": name, "start": round(place * long, 6), "end": round((place + 1) * long, 6)}
                for place, name in enumerate(LEVELS)
            ],
        },
        files={_FILE: "application/zip"},
    )  # fmt: skip


class _Stages:
    """This object makes one share of progress out of the runs for music, stingers and each place.

    Args:
        count: how many runs there are.
    """

    def __init__(self, work: StudioWork, count: int) -> None:
        self._work, self._count = work, count
        self._over, self._last = 0, 0.0

    def __call__(self, event: PartsProgress) -> None:
        if event.share < self._last:  # the next run has begun
            self._over = min(self._count - 1, self._over + 1)
        self._last = event.share
        self._work.report(_MADE * (self._over + event.share) / self._count, event.name)


def _tour(system: GameAudioSystem, body: BankBody, bar: float) -> tuple[Tensor, int, float]:
    """Return the music of the first location through all levels of tension [C, N], its rate, and the seconds of each
    level."""
    long = max(1, body.bars) * bar
    timeline = [
        (place * long, GameState(tension=least, location=body.locations[0].lower()))
        for place, least in enumerate(LEVELS.values())
    ]
    audio, _ = system.play(timeline, long * len(timeline))
    rate = system.music([state for _, state in timeline]).sample_rate
    return audio, rate, long


def _archive(folder: Path, target: Path, name: str) -> None:
    """Pack everything of a folder into one file, in the order of names."""
    with atomic_path(target) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                entry = zipfile.ZipInfo(f"{name}/{path.relative_to(folder).as_posix()}", _SAME_TIME)
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, path.read_bytes())
