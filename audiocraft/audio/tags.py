"""What a file of generated audio says of itself: four texts that every format has a place for."""

from __future__ import annotations

from audiocraft.environment import VERSION

_TITLE_CHARACTERS = 200


def generation_tags(title: str, *, model: str, seed: int) -> dict[str, str]:
    """Return title, artist, comment and software of a generated file. The same request and seed give the same bytes, so
    nothing of time and place is in it."""
    return {
        "title": " ".join(title.split())[:_TITLE_CHARACTERS],
        "artist": model,
        "comment": f"generated audio; model {model}; seed {seed}",
        "software": f"AudioCraft {VERSION}",
    }


def decoding_tags(codec: str) -> dict[str, str]:
    """Return the same of a file that a codec made of codes; where the codes come from is not known."""
    return {
        "title": "decoded audio",
        "artist": codec,
        "comment": f"audio decoded from codes; codec {codec}",
        "software": f"AudioCraft {VERSION}",
    }
