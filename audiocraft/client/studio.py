"""What a client asks of the studio."""

from __future__ import annotations

import os
import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

from audiocraft.client.records import Generation, generation_of, id_of
from audiocraft.utils.files import atomic_path


class _Common(TypedDict, total=False):
    """This record says what every request of the studio may say."""

    seed: int | None
    model: str | None
    priority: int | None
    metadata: Mapping[str, str] | None
    webhook: str | None


class SongOptions(_Common, total=False):
    """This record holds the fields of a song beside its sections; None leaves one out. `StudioCalls.song` says what
    each is."""

    effects: Sequence[Mapping[str, Any]] | None
    tempo: float | None
    key: str | None
    beats_per_bar: int | None
    chords: str | Sequence[str] | None
    duration: float | None
    sound_model: str | None
    ending: str | None
    loudness: float | None
    stems: bool | None


class EditOptions(_Common, total=False):
    """This record holds the fields of an edit beside the piece; `StudioCalls.edit` says what each is."""

    prompt: str | None
    region: Mapping[str, float] | None
    before: int | None
    after: int | None
    bars: int | None
    ending: str | None
    tempo: float | None


class PodcastOptions(_Common, total=False):
    """This record holds the fields of a podcast beside its voice; `StudioCalls.podcast` says what each is."""

    theme: str | None
    chapters: Sequence[Mapping[str, Any]] | None
    channels: int | None
    loudness: float | None
    intro: float | None
    outro: float | None
    bed: bool | None
    bed_db: float | None
    depth_db: float | None
    transitions: bool | None
    prepare_voice: bool | None


class BankOptions(_Common, total=False):
    """This record holds the fields of a bank beside its locations; `StudioCalls.bank` says what each is."""

    prompt: str | None
    environments: Sequence[str] | None
    ambience_seconds: float | None
    bars: int | None
    stingers: bool | None
    tempo: float | None
    key: str | None
    chords: str | Sequence[str] | None
    format: str | None
    sound_model: str | None


class StudioCalls(ABC):
    """This class has the calls of a client that make several pieces that belong together."""

    def song(
        self,
        sections: Mapping[str, str] | Sequence[Mapping[str, Any]],
        *,
        base: Generation | str | None = None,
        **options: Unpack[SongOptions],
    ) -> Generation:
        """Ask for a song and return at once; `wait` waits for it.

        Args:
            sections: {name: prompt}, or mappings with `name`, `prompt`, `bars`, `chords`, `seed`, `transition`,
                `gain_db`, `pan` and `layers`.
            base: an earlier song: sections that are the same in both are not made again.
            effects: mappings with `prompt`, `at` (seconds or "chorus bar 3"), `seconds`, `gain_db`, `pan`, `duck_db`.
            tempo, key, beats_per_bar, chords: of all sections; by default what the prompts say, else drawn.
            duration: seconds, about, where sections say no bars.
            seed: 0 or more; the same seed makes the same song.
            model, sound_model: by default the server's.
            ending: "cadence", "fade" or "ring".
            loudness: of the whole, in LUFS; by default -14.
            stems: also every section as a file of its own.
            priority: 0 to 9; above 0 it goes before others and needs the scope `admin`.
            metadata: words of your own; `title` names the song.
            webhook: an https address that is told when it is finished.
        """
        if isinstance(sections, Mapping):
            sections = [{"name": name, "prompt": prompt} for name, prompt in sections.items()]
        body = {"sections": [dict(one) for one in sections], **_given(options)}
        if base is not None:
            body["base"] = id_of(base)
        return self._asked("/v1/songs", body)

    def edit(self, piece: Generation | str | Path, edit: str, **options: Unpack[EditOptions]) -> Generation:
        """Ask for a piece after an edit and return at once; `wait` waits for it. The piece stays what it is.

        Args:
            piece: a piece of yours, or a file.
            edit: "redo" a `region`, "extend" it by bars `before` or `after` it, cut a "loop" of `bars`, "end" it with
                `bars` more, or "restyle" it as `prompt` says.
            region: {"start", "end"} in seconds, with redo.
            before, after: bars, with extend.
            bars: of a loop, or of an ending.
            ending: "cadence", "fade" or "ring".
            prompt: words for what is new; by default those of the piece.
            tempo: where another would be heard.
            seed, model, metadata, priority, webhook: as in `song`.
        """
        return self._asked("/v1/edits", {"edit": edit, "audio": self._audio(piece), **_given(options)})

    def podcast(self, voice: Generation | str | Path, **options: Unpack[PodcastOptions]) -> Generation:
        """Ask for an episode around a voice and return at once; `file(piece, "episode.mp3")` has its chapters.

        Args:
            voice: a file, or a piece of yours.
            theme: what the music is like.
            chapters: mappings with `start`, in seconds of the voice, and `title`.
            channels: 2, or 1 for mono.
            loudness: in LUFS; by default -16 in stereo, -19 in mono.
            intro, outro: seconds of music before and after.
            bed, bed_db, depth_db: music under the voice, its level in pauses, and how much softer it is under speech.
            transitions: a sound before each chapter but the first.
            prepare_voice: take rumble from it and even out its level.
            seed, model, metadata, priority, webhook: as in `song`.
        """
        return self._asked("/v1/podcasts", {"voice": self._audio(voice), **_given(options)})

    def bank(self, locations: Sequence[str], **options: Unpack[BankOptions]) -> Generation:
        """Ask for the audio of a game and return at once; `file(piece, "bank.zip")` is what engines read.

        Args:
            locations: forest, ocean, city, dungeon, neutral or any words.
            prompt: words for all of its music.
            environments: places whose sound is in it; by default the locations but for neutral.
            ambience_seconds: after which the sound of a place repeats.
            bars: of every loop.
            stingers: short pieces for victory, danger and discovery.
            tempo, key, chords: of all music.
            format: "ogg", "wav" or "flac".
            sound_model, seed, model, metadata, priority, webhook: as in `song`.
        """
        return self._asked("/v1/banks", {"locations": list(locations), **_given(options)})

    def _audio(self, source: Generation | str | Path) -> dict[str, str]:
        """Return a piece or a file as requests name it; files are sent."""
        if isinstance(source, Generation):
            return {"generation": source.id}
        return {"upload": str(self.upload(source)["id"])}

    def file(self, piece: Generation | str, name: str) -> bytes:
        """Return a further file of something of the studio; `result["files"]` of the piece lists them."""
        content: bytes = self._send("GET", f"/v1/generations/{id_of(piece)}/files/{name}").content
        return content

    def download_file(self, piece: Generation | str, name: str, path: str | os.PathLike[str]) -> Path:
        """Write such a file."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(target) as temporary:
            temporary.write_bytes(self.file(piece, name))
        return target

    def _asked(self, path: str, body: Mapping[str, Any]) -> Generation:
        # A key, so that a repetition after a broken connection makes nothing a second time.
        key = f"{random.SystemRandom().getrandbits(128):032x}"
        return generation_of(self._json("POST", path, json=body, headers={"Idempotency-Key": key}))

    @abstractmethod
    def upload(self, path: str | os.PathLike[str]) -> dict[str, Any]:
        """Send a file -> the upload, whose `id` requests name."""

    @abstractmethod
    def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """Send one request and return the document of its answer."""

    @abstractmethod
    def _send(self, method: str, path: str, **options: Any) -> Any:
        """Send one request and return its answer."""


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
