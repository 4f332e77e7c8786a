"""Recorded instruments, loops, music and sounds for the wide corpus, gathered from freely licensed packages.

`recipes/fetch_packages.sh` unpacks the packages; `gather` takes from them only what CC0, public domain, MIT or CC BY
cover, and writes it as mono WAV at 24 kHz with one record each, so that a clip never has to decode or resample.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from audiocraft.data.synthesis.levels import SAMPLE_RATE, Samples
from audiocraft.errors import InvalidInput, MissingDependency
from audiocraft.utils.files import atomic_path, atomic_write

INDEX_FILE = "materials.jsonl"
FONT_FILES = MappingProxyType(
    {
        "FluidR3": "fluid-soundfont-gm/usr/share/sounds/sf2/FluidR3_GM.sf2",
        "MuseScore General": (
            "musescore-general-soundfont-lossless/usr/share/sounds/sf2/MuseScore_General_Full.sf2"
        ),
    }
)
MUSIC, LOOP, HIT, NOTE, STRUM, TEXTURE, SOUND = "music", "loop", "hit", "note", "strum", "texture", "sound"
# Music is also written faster and slower, which moves its key and its tuning: there is only an hour of it.
SPEEDS = (1.0, 0.917, 1.071)
_VALID_PERCENT = 8
_SHORTEST_S = 0.02


@dataclass(frozen=True, slots=True)
class Material:
    """A material is one recording.

    Args:
        path: of its WAV file, below the materials folder.
        kind: music, loop, hit (of a drum), note, strum (of a guitar), texture or sound.
        label: what it is: the drum, the MIDI pitch, the chord ("Am"), the name of the sound.
        split: train or valid; valid recordings are never heard in training.
    """

    path: str
    kind: str
    label: str
    split: str
    seconds: float
    package: str
    licence: str
    credit: str


@dataclass(frozen=True, slots=True)
class _Found:
    """This record describes a recording inside a package: where it comes from, and how to read it."""

    name: str
    kind: str
    label: str
    package: str
    licence: str
    credit: str
    read: Callable[[], tuple[NDArray[Any], int]]
    held_out: bool | None = None


def _reader(source: Path | bytes) -> Callable[[], tuple[NDArray[Any], int]]:
    def read() -> tuple[NDArray[Any], int]:
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        return soundfile.read(file, dtype="float32", always_2d=True)

    return read


# ufoai-music: the tracks under CC BY 3.0, and those in the public domain. All others are under CC BY-SA or the GPL.
_UFO_CREDIT = MappingProxyType(
    {
        **dict.fromkeys(
            ("David01", "David02", "David03", "David04", "David05"), "David Reeves (Destructavator)"
        ),
        "azrael1": "azrael1322",
        "karlmacklin_geoscape": "Karl Macklin",
        **dict.fromkeys(
            ("van_geoscape", "van_mission", "van_mission2", "van_mission3", "van_mission4", "van_theme"),
            'Manuel "Vanethian" Marino',
        ),
    }
)
_UFO_ARCHIVE = "usr/share/games/ufoai/base/0music.pk3"
_UFO_FREE = ("alBasrahM", "greecei", "turinItalyM")
_UFO_VALID = ("David05", "van_mission3")


def _ufoai(root: Path) -> Iterator[_Found]:
    with zipfile.ZipFile(root / _UFO_ARCHIVE) as tracks:
        for name in (*_UFO_CREDIT, *_UFO_FREE):
            data = tracks.read(f"music/{name}.ogg")
            free = name in _UFO_FREE
            yield _Found(
                name, MUSIC, name, "ufoai-music", "public domain" if free else "CC BY 3.0",
                "" if free else f"{_UFO_CREDIT[name]}, music of UFO: Alien Invasion",
                _reader(data), name in _UFO_VALID,
            )  # fmt: skip


def unpack_evaluation(packages: Path, out: Path) -> list[Path]:
    """Write the tracks of ufoai-music that no model may be trained on, for `benchmarks/real.py`.

    Raises:
        InvalidInput: the package is not there.
    """
    archive = packages / "ufoai-music" / _UFO_ARCHIVE
    if not archive.is_file():
        raise InvalidInput(
            f"{packages} lacks ufoai-music; fetch the packages with `make corpus-deps`", field="packages"
        )
    written = []
    with zipfile.ZipFile(archive) as tracks:
        for name in tracks.namelist():
            path = Path(name)
            if path.suffix == ".ogg" and path.stem not in {*_UFO_CREDIT, *_UFO_FREE}:
                target = out / "ufoai" / path.name
                target.parent.mkdir(parents=True, exist_ok=True)
                if not target.is_file():
                    atomic_write(target, tracks.read(name))
                written.append(target)
    return written


# Sonic Pi's samples by the beginning of their names.
_DRUM_NAMES = (
    ("bd_", "kick"), ("drum_bass", "kick"), ("drum_heavy_kick", "kick"), ("elec_soft_kick", "kick"),
    ("elec_hollow_kick", "kick"), ("sn_", "snare"), ("drum_snare", "snare"), ("elec_snare", "snare"),
    ("elec_lo_snare", "snare"), ("elec_hi_snare", "snare"), ("elec_mid_snare", "snare"),
    ("elec_filt_snare", "snare"), ("hat_", "hat"), ("drum_cymbal_closed", "hat"), ("drum_cymbal_pedal", "hat"),
    ("tbd_perc_hat", "hat"), ("drum_cymbal_open", "open hat"), ("drum_cymbal", "crash"), ("drum_splash", "crash"),
    ("elec_cymbal", "crash"), ("ride_", "ride"), ("drum_tom", "tom"), ("elec_fuzz_tom", "tom"), ("tabla_", "tom"),
    ("perc_snap", "clap"), ("drum_cowbell", "percussion"), ("elec_", "percussion"), ("perc_", "percussion"),
    ("tbd_perc", "percussion"), ("glitch_perc", "percussion"),
)  # fmt: skip
_TEXTURES = ("ambi_", "tbd_pad", "tbd_fxbed", "tbd_voctone", "guit_", "glitch_robot", "mehackit_")
_PITCHES = MappingProxyType({"c": 36, "d": 38, "e": 40, "f": 41, "g": 43, "a": 45})


def _sonic_pi_label(name: str) -> tuple[str, str]:
    if name.startswith(("loop_", "arovane_beat", "tbd_fxbed_loop")):
        return LOOP, name
    bass = re.fullmatch(r"(?:bass|glitch_bass)_.*?([cdefga])", name)
    if bass:
        return NOTE, f"bass {_PITCHES[bass[1]]}"
    if name == "tbd_highkey_c4":
        return NOTE, "keys 60"
    for start, drum in _DRUM_NAMES:
        if name.startswith(start):
            return HIT, drum
    return (TEXTURE if name.startswith(_TEXTURES) else SOUND), name


def _sonic_pi(root: Path) -> Iterator[_Found]:
    for path in sorted((root / "samples").glob("*.flac")):
        kind, label = _sonic_pi_label(path.stem)
        yield _Found(path.stem, kind, label, root.name, "CC0", "", _reader(path))


def _piano(root: Path) -> Iterator[_Found]:
    velocity = root.name.removeprefix("piano-velocity")
    names = {"C": 0, "D#": 3, "F#": 6, "A": 9}
    for path in sorted((root / "audio").glob("*.ogg")):
        parsed = re.fullmatch(r"([A-G]#?)(\d)v\d+", path.stem)
        if parsed:
            pitch = 12 * (int(parsed[2]) + 1) + names[parsed[1]]
            yield _Found(
                f"{velocity}_{pitch:03d}", NOTE, f"piano{velocity} {pitch}", root.name, "CC BY 3.0",
                "Alexander Holm, Salamander Grand Piano V3", _reader(path), False,
            )  # fmt: skip


def _strums(root: Path) -> Iterator[_Found]:
    folder = root / "usr/share/hydrogen/data/drumkits/belofilms_GuitarStrums"
    for path in sorted(folder.glob("*.flac")):
        parsed = re.match(
            r"([A-G](?:sharp|flat)?)\s*(major|min\w*?)(7b5)?(?:_(up|down))?_(\d\d)", path.stem, re.I
        )
        if parsed:
            root_name = parsed[1].replace("sharp", "#").replace("flat", "b")
            chord = root_name + ("m7b5" if parsed[3] else "" if parsed[2].lower() == "major" else "m")
            stroke = (parsed[4] or "down").lower()
            yield _Found(
                path.stem.replace(" ", "_"), STRUM, f"{chord} {stroke}", root.name, "CC BY 3.0",
                "Gonzalo Verdugo Soto, belofilms guitar strums", _reader(path), parsed[5] == "03",
            )  # fmt: skip


_KIT_WORDS = (
    ("bass drum", "kick"), ("kick", "kick"), ("snare", "snare"), ("clap", "clap"), ("stick", "clap"),
    ("open", "open hat"), ("hi-hat", "hat"), ("closed hh", "hat"), ("pedal hh", "hat"), ("tom", "tom"),
    ("crash", "crash"), ("ride", "ride"), ("cymbal", "crash"), ("cowbell", "percussion"),
)  # fmt: skip


def _kit(root: Path, folder: str, licence: str, credit: str, *, held_out: bool) -> Iterator[_Found]:
    kit = root / "usr/share/hydrogen/data/drumkits" / folder
    text = (kit / "drumkit.xml").read_text(encoding="utf-8", errors="replace")
    for block in re.findall(r"<instrument>(.*?)</instrument>", text, re.S):
        name = re.search(r"<name>(.*?)</name>", block, re.S)
        file = re.search(r"<filename>(.*?)</filename>", block, re.S)
        path = kit / (file[1].strip() if file else "-")
        if path.is_file() and name:
            words = name[1].lower()
            drum = next((drum for word, drum in _KIT_WORDS if word in words), "percussion")
            yield _Found(path.stem, HIT, drum, root.name, licence, credit, _reader(path), held_out)


def _kits(root: Path) -> Iterator[_Found]:
    yield from _kit(root, "Audiophob", "CC0", "", held_out=True)
    yield from _kit(root, "rumpf_kit_z01_h2", "CC BY 3.0", "Emanuel Rumpf, rumpf kit z01", held_out=False)


# Under CC BY-SA: left out.
_ENDLESS_LEFT_OUT = ("heavy rocket hit", "explosion huge")


def _endless_sky(root: Path) -> Iterator[_Found]:
    for path in sorted((root / "usr/share/games/endless-sky/sounds").rglob("*.wav")):
        name = path.stem.rstrip("~")
        if name not in _ENDLESS_LEFT_OUT:
            yield _Found(
                name.replace(" ", "_"), SOUND, name, root.name, "public domain", "", _reader(path)
            )  # fmt: skip


def _opensfx(root: Path) -> Iterator[_Found]:
    """Yield the entries of a .cat container: an index of offsets and lengths, then a length, a name and a RIFF file
    each. The name says who made the sound and its licence."""
    data = (root / "usr/share/games/openttd/baseset/opensfx/opensfx.cat").read_bytes()
    count = (struct.unpack("<I", data[:4])[0] & 0x7FFFFFFF) // 8
    for number in range(count):
        offset, size = struct.unpack("<II", data[8 * number : 8 * number + 8])
        offset &= 0x7FFFFFFF
        end = offset + 1 + data[offset]
        about = data[offset + 1 : end].split(b"\0")[0].decode("utf-8", "replace")
        title = re.match(r'"([^"]*)"', about)
        share_alike = "ShareAlike" in about
        if title and not share_alike and size > 44:
            credit = re.sub(r"\s*License:.*", "", about)
            licence = "CC0" if "Zero" in about else "CC BY 3.0"
            yield _Found(
                f"{number:02d}", SOUND, title[1], root.name, licence,
                "" if licence == "CC0" else f"OpenSFX: {credit}", _reader(data[end : end + size]),
            )  # fmt: skip


_PACKAGES: MappingProxyType[str, Callable[[Path], Iterator[_Found]]] = MappingProxyType(
    {
        "ufoai-music": _ufoai,
        "supersonic-scsynth-samples": _sonic_pi,
        **{f"piano-velocity{number}": _piano for number in (1, 4, 10, 16)},
        "hydrogen-drumkits-effects": _strums,
        "hydrogen-drumkits": _kits,
        "endless-sky-data": _endless_sky,
        "openttd-opensfx": _opensfx,
    }
)


def is_held_out(name: str) -> bool:
    """Return whether a recording or preset of this name is for validation alone."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % 100 < _VALID_PERCENT


def gather(packages: Path, out: Path) -> list[Material]:
    """Write every usable recording of the unpacked packages below `out`, and its index.

    Raises:
        InvalidInput: a package is not there.
    """
    missing = [name for name in _PACKAGES if not (packages / name).is_dir()]
    if missing:
        raise InvalidInput(
            f"{packages} lacks {', '.join(missing)}; fetch the packages with `make corpus-deps`",
            field="packages",
        )
    materials: list[Material] = []
    for name, find in _PACKAGES.items():
        for found in find(packages / name):
            materials += _write(found, out)
    text = "".join(json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in materials)
    atomic_write(out / INDEX_FILE, text)
    _write_manifests(out, materials)
    return materials


def _write(found: _Found, out: Path) -> list[Material]:
    valid = is_held_out(f"{found.package}/{found.name}") if found.held_out is None else found.held_out
    split = "valid" if valid else "train"
    speeds = SPEEDS if found.kind == MUSIC and not valid else (1.0,)
    written = []
    sound: Samples | None = None
    for speed in speeds:
        suffix = "" if speed == 1.0 else f"_{round(speed * 1000)}"
        path = f"{found.kind}/{found.package}/{found.name}{suffix}.wav"
        target = out / path
        if not target.is_file():
            sound = _mono(found) if sound is None else sound
            faster = sound if speed == 1.0 else soxr.resample(sound, speed, 1.0)
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(target) as temporary:
                soundfile.write(temporary, faster, SAMPLE_RATE, subtype="PCM_16", format="WAV")
        seconds = soundfile.info(target).duration
        if seconds >= _SHORTEST_S:
            label = found.label
            written.append(
                Material(
                    path,
                    found.kind,
                    label,
                    split,
                    round(seconds, 4),
                    found.package,
                    found.licence,
                    found.credit,
                )
            )
    return written


def _mono(found: _Found) -> Samples:
    """Return sound in mono at 24 kHz, with the peak at 0.5 where it is louder."""
    samples, rate = found.read()
    mono = soxr.resample(samples.mean(axis=1), rate, SAMPLE_RATE, quality="HQ")
    return (mono * min(1.0, 0.9 / max(float(np.abs(mono).max(initial=0.0)), 1e-6))).astype(np.float32)


def _write_manifests(out: Path, materials: list[Material]) -> None:
    """Write the manifests egs/music and egs/recordings (all the rest), train and valid: what a codec can hear
    directly."""
    from audiocraft.data.manifest import save_audio_meta
    from audiocraft.types import AudioMeta

    groups: dict[tuple[str, str], list[AudioMeta]] = {}
    for one in materials:
        group = (MUSIC if one.kind == MUSIC else "recordings", one.split)
        groups.setdefault(group, []).append(AudioMeta(one.path, one.seconds, SAMPLE_RATE))
    for (kind, split), metas in groups.items():
        target = out / "egs" / kind / split / "data.jsonl.gz"
        save_audio_meta(target, sorted(metas, key=lambda meta: meta.path))


def read_index(folder: Path) -> list[Material]:
    """Return the records of a materials folder.

    Raises:
        MissingDependency: the folder holds no materials.
    """
    path = folder / INDEX_FILE
    if not path.is_file():
        raise MissingDependency(
            f"no recordings at {folder}; make them with `make corpus-deps` and `audiocraft data materials`"
        )
    return [Material(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


__all__ = ["FONT_FILES", "Material", "gather", "is_held_out", "read_index", "unpack_evaluation"]
