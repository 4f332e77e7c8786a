"""Decodes one audio file, in a process of its own with little memory, time and rights.

Run as a script: arguments are the input, the output (raw float32, frames interleaved) and the limits as JSON. The last
line on stdout is JSON: what was decoded, or why it was refused. Imports nothing of the package but its reader of files,
which needs no more than libsndfile.
"""

from __future__ import annotations

import errno
import json
import sys
from pathlib import Path
from typing import Any

_BLOCK = 65536
_FORMATS = {
    "WAV": "wav",
    "WAVEX": "wav",
    "RF64": "wav",
    "FLAC": "flac",
    "OGG": "ogg",
    "MP3": "mp3",
    "MPEG": "mp3",
}


def main(source: str, target: str, limits: dict[str, Any]) -> dict[str, Any]:
    """Decode `source` into `target` -> what it was."""
    _restrict(limits)
    # An isolated Python does not look beside this file, where the package is.
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
    import soundfile

    from audiocraft.audio.reading import AudioFile

    try:
        with AudioFile(Path(source)) as file:
            refusal = _refusal(file, limits)
            return refusal or _decode(file, target, limits)
    except (soundfile.LibsndfileError, TypeError, ValueError) as error:
        reason = getattr(error, "error_string", str(error))
        return {"refused": "unsupported", "message": f"the file cannot be decoded: {reason}"}
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        return {"refused": "disk_full", "message": "the server has no room to decode the file"}
    except MemoryError:
        return {"refused": "too_large", "message": "decoding the file takes too much memory"}


def _restrict(limits: dict[str, Any]) -> None:
    try:
        import resource
    except ImportError:  # not on every system; the time limit of the parent holds everywhere
        return
    bounds = (
        (resource.RLIMIT_AS, limits["memory"]),
        (resource.RLIMIT_CPU, limits["cpu_seconds"]),
        (resource.RLIMIT_FSIZE, limits["decoded_bytes"] + 4096),
        (resource.RLIMIT_CORE, 0),
    )
    for name, bound in bounds:
        _, hard = resource.getrlimit(name)
        if hard != resource.RLIM_INFINITY:
            bound = min(bound, hard)
        resource.setrlimit(name, (bound, bound))


def _refusal(file: Any, limits: dict[str, Any]) -> dict[str, Any] | None:
    if file.format not in _FORMATS:
        return {"refused": "unsupported", "message": f"{file.format} files are not accepted"}
    if not 1 <= file.channels <= limits["channels"]:
        return {
            "refused": "too_large",
            "message": f"{file.channels} channels; at most {limits['channels']} are accepted; mix it down",
        }
    if not limits["min_rate"] <= file.samplerate <= limits["max_rate"]:
        allowed = f"between {limits['min_rate']} and {limits['max_rate']}"
        message = f"a sample rate of {file.samplerate} Hz; {allowed} are accepted"
        return {"refused": "unsupported", "message": message}
    return None


def _decode(file: Any, target: str, limits: dict[str, Any]) -> dict[str, Any]:
    """Block by block: what the header says of the length may be a lie."""
    most = min(int(limits["seconds"] * file.samplerate), limits["decoded_bytes"] // (4 * file.channels))
    samples = 0
    with open(target, "wb") as out:
        while True:
            block = file.read(_BLOCK, dtype="float32", always_2d=True)
            if not len(block):
                break
            samples += len(block)
            if samples > most:
                longest = most / file.samplerate
                return {"refused": "too_large", "message": f"longer than {longest:g} seconds; cut it"}
            out.write(block.tobytes())
    if not samples:
        return {"refused": "unsupported", "message": "there is no audio in the file"}
    kind = _FORMATS[file.format]
    return {"kind": kind, "sample_rate": file.samplerate, "channels": file.channels, "samples": samples}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))) + "\n")
