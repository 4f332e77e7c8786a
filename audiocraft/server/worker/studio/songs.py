"""Songs: the parts that are missing are made, and everything is mixed and mastered."""

from __future__ import annotations

import json

from audiocraft.config.decode import encode
from audiocraft.server.api.studio_bodies import song_of_job
from audiocraft.server.worker.studio.work import StudioResult, StudioWork
from audiocraft.utils.files import atomic_write
from audiocraft.workflows.studio.parts import PartsProgress, levelled, slug
from audiocraft.workflows.studio.song import MusicProductionPipeline, RenderedSong

_MADE = 0.92  # of the whole, when all parts are there
PROJECT_TYPE = "application/json"


def make_song(work: StudioWork) -> StudioResult:
    """Return the song of a job."""
    song = song_of_job(work.job.request)
    work.begun(song.plan())
    sounds = work.model(song.sound_model, None) if song.effects else None
    pipeline = MusicProductionPipeline(work.model(song.model, None), sounds, folder=work.parts)

    def told(event: PartsProgress) -> None:
        work.report(_MADE * event.share, event.name)

    rendered = pipeline.render(song, folder=work.parts, progress=told, cancel=work.cancel)
    work.cancel.check()
    work.report(_MADE, "mix")
    master = pipeline.mix_audio(rendered)
    name = f"{slug(song.title or 'song')}.acproj"
    work.files.mkdir(parents=True, exist_ok=True)
    atomic_write(work.files / name, json.dumps(encode(song), indent=1, ensure_ascii=False) + "\n")
    files = {name: PROJECT_TYPE}
    if work.job.request.get("stems"):
        files |= _stems(work, rendered)
    starts = song.starts()
    return StudioResult(
        audio=master.audio,
        sample_rate=rendered.sample_rate,
        plan=song.plan(),
        facts={
            "sections": [
                {
                    "name": section.name,
                    "start": round(starts[section.name], 6),
                    "end": round(starts[section.name] + section.bars * song.bar_seconds, 6),
                    "fresh": section.name in rendered.fresh,
                }
                for section in song.sections
            ],
            "loudness": round(master.loudness, 2),
            "true_peak": round(master.true_peak, 2),
        },
        files=files,
    )


def _stems(work: StudioWork, rendered: RenderedSong) -> dict[str, str]:
    """Return every section as a file, before the mix."""
    found = {}
    for number, (section, audio) in enumerate(rendered.items(), start=1):
        name = f"{number:02d}-{slug(section)}.wav"
        work.write(name, levelled(audio, rendered.sample_rate), rendered.sample_rate)
        found[name] = "audio/wav"
    return found
