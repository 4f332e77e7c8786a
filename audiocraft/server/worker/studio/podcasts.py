"""Podcasts: an episode around a voice, and its MP3 file with chapters."""

from __future__ import annotations

from audiocraft.audio.chapters import Chapter, with_chapters
from audiocraft.audio.files import encode_audio
from audiocraft.audio.formats import file_format
from audiocraft.server.api.production_bodies import PodcastBody
from audiocraft.server.jobs.records import tags_of
from audiocraft.server.worker.studio.work import StudioResult, StudioWork
from audiocraft.utils.files import atomic_write
from audiocraft.workflows.studio.podcast import PodcastAudioProcessor, PodcastSettings

_FILE = "episode.mp3"
_KBPS = 192
_LOWEST_RATE, _HIGHEST_RATE = 44_100, 48_000
_MADE = 0.95


def make_podcast(work: StudioWork) -> StudioResult:
    """Return the episode of a job."""
    body = PodcastBody.model_validate(dict(work.job.request))
    assert body.model is not None and body.seed is not None
    voice, rate = work.heard("voice")
    work.begun(None)
    processor = PodcastAudioProcessor(
        work.model(body.model, None),
        theme=body.theme, seed=body.seed, sample_rate=min(_HIGHEST_RATE, max(_LOWEST_RATE, rate)),
    )  # fmt: skip
    settings = PodcastSettings(
        channels=body.channels, loudness=body.loudness, intro=body.intro, outro=body.outro, bed=body.bed,
        bed_db=body.bed_db, depth_db=body.depth_db, transitions=body.transitions, prepare_voice=body.prepare_voice,
    )  # fmt: skip
    episode = processor.make(
        voice, rate, chapters=[Chapter(one.start, one.title) for one in body.chapters], settings=settings,
        report=lambda what, done, total: work.report(_MADE * done / total, what), cancel=work.cancel,
    )  # fmt: skip
    audio = work.finished(episode.audio, episode.sample_rate)
    form = file_format("mp3")
    tags = tags_of(work.job)
    if episode.chapters:
        content = encode_audio(audio * form.gain, episode.sample_rate, "mp3", _KBPS)
        content = with_chapters(content, episode.chapters, episode.duration, tags)
    else:
        content = encode_audio(audio * form.gain, episode.sample_rate, "mp3", _KBPS, tags)
    work.files.mkdir(parents=True, exist_ok=True)
    atomic_write(work.files / _FILE, content)
    return StudioResult(
        audio=audio,
        sample_rate=episode.sample_rate,
        facts={
            "chapters": [{"start": round(one.start, 3), "title": one.title} for one in episode.chapters],
            "speech": [[round(start, 3), round(end, 3)] for start, end in episode.speech],
            "loudness": round(episode.loudness, 2),
            "true_peak": round(episode.true_peak, 2),
        },
        files={_FILE: form.media_type},
        finished=True,
    )
