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


class SongOptions(TypedDict, total=False):
    """The fields of a song beside its sections; None leaves one out. `StudioCalls.song` says what each is."""

    effects: Sequence[Mapping[str, Any]] | None
    tempo: float | None
    key: str | None
    beats_per_bar: int | None
    chords: str | Sequence[str] | None
    duration: float | None
    seed: int | None
    model: str | None
    sound_model: str | None
    ending: str | None
    loudness: float | None
    stems: bool | None
    priority: int | None
    metadata: Mapping[str, str] | None
    webhook: str | None


class StudioCalls(ABC):
    """The calls of a client that make several pieces that belong together."""

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

    def file(self, piece: Generation | str, name: str) -> bytes:
        """A further file of something of the studio; `result["files"]` of the piece lists them."""
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
    def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """One request -> the document of its answer."""

    @abstractmethod
    def _send(self, method: str, path: str, **options: Any) -> Any:
        """One request -> its answer."""


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
