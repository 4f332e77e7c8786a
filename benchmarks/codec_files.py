"""What .acx files promise, measured: how much entropy coding saves on held-out audio, seeks, random and damaged files;
and, asked for with `--parts onnx`, that a codec's ONNX files say the same. The last line is JSON.

    python benchmarks/codec_files.py --clips corpus/music/heldout --seeks 1000 --files 500 --damaged 400
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from audiocraft.codec import EncodeSettings, KnownCodec, encode_file, open_acx
from audiocraft.codec.entropy import PROFILES, STATIC
from audiocraft.codec.files import decode_file
from audiocraft.codec.writer import AcxWriter
from audiocraft.errors import AudioCraftError

SUBTYPES = ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT")
RATES = (8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000, 176400, 192000)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--clips", type=Path, required=True, help="a folder of WAV files that nothing learnt from"
    )
    parser.add_argument("--model", default="nano")
    parser.add_argument("--minutes", type=float, default=4.0, help="of the file that is seeked in")
    parser.add_argument("--profile", choices=PROFILES, default="static", help="of the file that is seeked in")
    parser.add_argument("--seeks", type=int, default=100)
    parser.add_argument("--files", type=int, default=50)
    parser.add_argument("--damaged", type=int, default=60)
    parser.add_argument(
        "--parts", nargs="*", default=["entropy", "seeks", "random", "damage"], help="what is measured"
    )
    return parser.parse_args()


def joined(folder: Path, minutes: float, target: Path) -> Path:
    """Write the clips one after another, again and again, as one file."""
    clips = sorted(folder.rglob("*.wav"))
    rate = soundfile.info(clips[0]).samplerate
    left = int(minutes * 60 * rate)
    with soundfile.SoundFile(target, "w", rate, 1, "PCM_16") as file:
        while left > 0:
            for clip in clips:
                wav = soundfile.read(clip, dtype="int16", always_2d=True)[0][:left, 0]
                file.write(wav)
                left -= len(wav)
    return target


def entropy(known: KnownCodec, clips: Path, folder: Path) -> dict[str, Any]:
    """Measure the bytes of one file of all held-out clips, by profile, and how fast its codes are read."""
    count = len(list(clips.rglob("*.wav")))
    source = joined(clips, count / 6, folder / "all.wav")
    found: dict[str, Any] = {"held_out_clips": count}
    for number, name in enumerate(PROFILES):
        facts = encode_file(source, folder / f"{name}.acx", EncodeSettings(codec=known, profile=number))
        began = time.perf_counter()
        with open_acx(folder / f"{name}.acx", known, strict=True) as file:
            file.verify()
        found[name] = facts.bytes
        found[f"{name}_read_times_real_time"] = facts.seconds / (time.perf_counter() - began)
    seconds = soundfile.info(source).duration
    codec = known.codec
    found["codes_alone"] = int(
        seconds * codec.frame_rate * codec.total_codebooks * np.log2(codec.cardinality) / 8
    )
    for name in PROFILES:
        found[f"{name}_saves_percent"] = 100 * (1 - found[name] / found["codes_alone"])
    return found


def repeated(known: KnownCodec, clips: Path, folder: Path, minutes: float, profile: int) -> Path:
    """Make an .acx file of so many minutes: the codes of four minutes again and again, which costs no hour of
    encoding."""
    encode_file(joined(clips, min(4.0, minutes), folder / "part.wav"), folder / "part.acx", codec=known)
    target = folder / "long.acx"
    with open_acx(folder / "part.acx", known) as part, target.open("wb") as sink:
        times = max(1, round(minutes * 60 / part.seconds))
        header = replace(part.header, samples=None, tables_digest=bytes(8))
        writer = AcxWriter(sink, header, known.tables, profile=profile)
        blocks = [block for number in range(part.blocks) if (block := part.block(number)) is not None]
        for _ in range(times):
            for block in blocks:
                writer.add(block)
        writer.finish(times * part.samples)
    return target


def seeks(known: KnownCodec, clips: Path, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Compare random moments of a long file with the slices of the whole; in seconds of processor time, which a busy
    machine does not change."""
    target = repeated(known, clips, folder, options.minutes, PROFILES.index(options.profile))
    generator, worst, times = np.random.default_rng(0), 0.0, []
    with open_acx(target, known) as file:
        minutes, length = file.seconds / 60, 2400
        starts = sorted(generator.integers(0, file.samples - length, options.seeks).tolist())
        began = time.process_time()
        slices = slices_of(file.pieces(), starts, length)
        decoding = time.process_time() - began
    with open_acx(target, known) as file:
        for number in generator.permutation(len(starts)).tolist():
            began = time.process_time()
            part = file.read(starts[number], length)
            times.append(time.process_time() - began)
            worst = max(worst, float((part - slices[number]).abs().max()))
    return {
        "seek_minutes": minutes,
        "seek_difference": worst,
        "seek_cpu_ms_median": 1000 * float(np.median(times)),
        "seek_cpu_ms_95": 1000 * float(np.quantile(times, 0.95)),
        "seek_cpu_ms_most": 1000 * max(times),
        "decode_times_real_time": 60 * minutes / decoding,
    }


def slices_of(pieces: Iterable[torch.Tensor], starts: list[int], length: int) -> list[torch.Tensor]:
    """Return what lies behind each of the ascending `starts` in audio that comes in pieces."""
    found: list[torch.Tensor] = []
    held, first = torch.zeros(1, 0), 0
    for piece in pieces:
        held = torch.cat([held, piece], dim=-1)
        while len(found) < len(starts) and starts[len(found)] + length <= first + held.shape[-1]:
            place = starts[len(found)] - first
            found.append(held[:, place : place + length].clone())
        held, first = held[:, -2 * length :], first + max(0, held.shape[-1] - 2 * length)
    return found


def random_files(known: KnownCodec, folder: Path, count: int) -> dict[str, Any]:
    """Bring random audio there and back, and count how often the length differs."""
    wrong = 0
    for seed in range(count):
        generator = np.random.default_rng(seed)
        rate, channels = int(generator.choice(RATES)), int(generator.choice([1, 2, 6]))
        wav = 0.2 * generator.standard_normal((int(generator.uniform(0, 3) * rate), channels))
        wav = (wav, 0 * wav + 0.5, np.clip(20 * wav, -1, 1), 0 * wav)[seed % 4]
        soundfile.write(folder / "in.wav", wav, rate, subtype=str(generator.choice(SUBTYPES)))
        encode_file(folder / "in.wav", folder / "a.acx", codec=known)
        decode_file(folder / "a.acx", folder / "out.wav", codec=known, strict=True)
        wrong += soundfile.info(folder / "out.wav").frames != len(wav)
    return {"random_files": count, "wrong_lengths": wrong}


def damageable(known: KnownCodec, clips: Path, folder: Path) -> bytes:
    """Make a file of half a minute with static tables, so that four hundred damaged ones are read in a minute."""
    source = joined(clips, 0.5, folder / "half.wav")
    encode_file(source, folder / "half.acx", EncodeSettings(codec=known, profile=STATIC))
    return (folder / "half.acx").read_bytes()


def damaged(content: bytes, seed: int) -> bytes:
    """Damage a file: turn bits, cut, swap or add bytes."""
    generator, data = np.random.default_rng(seed), bytearray(content)
    first, last = sorted(generator.integers(0, len(data), 2).tolist())
    if seed % 5 == 0:
        for place in generator.integers(0, len(data), generator.integers(1, 9)).tolist():
            data[place] ^= 1 << generator.integers(8)
    elif seed % 5 == 1:
        del data[last:]
    elif seed % 5 == 2:
        del data[first : first + (last - first) // 8]
    elif seed % 5 == 3:
        size = min(60, len(data) - last, last - first)
        data[first : first + size], data[last : last + size] = (
            data[last : last + size],
            data[first : first + size],
        )
    else:
        data += generator.bytes(int(generator.integers(1, 900)))
    return bytes(data)


def damage(known: KnownCodec, content: bytes, count: int) -> dict[str, Any]:
    """Count how often damage is told, refused, or not noticed though codes changed; and how often strict reading
    failed, as it must."""
    told = refused = unnoticed = strict = changed_files = 0
    with open_acx(io.BytesIO(content), known) as file:
        blocks = [file.block(number) for number in range(file.blocks)]
    for seed in range(count):
        changed = damaged(content, seed)
        if changed == content:
            continue
        changed_files += 1
        try:
            with open_acx(io.BytesIO(changed), known) as file:
                for number in range(file.blocks):
                    block, was = file.block(number), blocks[number] if number < len(blocks) else None
                    same = block is None or (was is not None and torch.equal(block.codes, was.codes))
                    unnoticed += not same
                told += bool(file.problems)
                unnoticed += not file.problems
        except AudioCraftError:
            refused += 1
        try:
            with open_acx(io.BytesIO(changed), known, strict=True) as file:
                file.verify()
        except AudioCraftError:
            strict += 1
    return {
        "damaged": changed_files, "damaged_told": told, "damaged_refused": refused,
        "damaged_unnoticed": unnoticed, "damaged_strict_failed": strict,
    }  # fmt: skip


def portable(name: str, clips: Path, folder: Path) -> dict[str, Any]:
    """Measure how many frames of held-out audio onnxruntime gives the same codes, and how far its audio is from
    ours."""
    import onnxruntime

    from audiocraft.models.onnx_export import export_codec

    codec = KnownCodec.load(name).codec
    exported = export_codec(name, folder / "onnx")
    encoder, decoder = (
        onnxruntime.InferenceSession(exported / f"{part}.onnx") for part in ("encoder", "decoder")
    )
    hop = round(codec.sample_rate / codec.frame_rate)
    frames, same, furthest = 0, 0, 0.0
    for clip in sorted(clips.rglob("*.wav")):
        samples, rate = soundfile.read(clip, dtype="float32", always_2d=True)
        if rate != codec.sample_rate:
            raise SystemExit(f"{clip} is at {rate} Hz; {name} takes {codec.sample_rate}")
        wav = torch.from_numpy(samples[: len(samples) // hop * hop].mean(axis=1))
        wav = wav.expand(1, codec.channels, -1).contiguous()
        with torch.inference_mode():
            codes = codec.encode(wav)[0]
            audio = codec.decode(codes)
        (found,) = encoder.run(None, {"audio": wav.numpy()})
        (made,) = decoder.run(None, {"codes": codes.numpy()})
        frames += codes.shape[-1]
        same += int((found == codes.numpy()).all(axis=1).sum())
        furthest = max(furthest, float(np.abs(made - audio.numpy()).max()))
    return {
        "onnx_frames": frames,
        "onnx_frames_equal_percent": 100 * same / frames,
        "onnx_audio_differs": furthest,
    }


def main() -> None:
    options = arguments()
    known = KnownCodec.load(options.model)
    found: dict[str, Any] = {"benchmark": "codec_files"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for what, part in {
            "entropy": lambda: entropy(known, options.clips, folder),
            "seeks": lambda: seeks(known, options.clips, folder, options),
            "random": lambda: random_files(known, folder, options.files),
            "damage": lambda: damage(known, damageable(known, options.clips, folder), options.damaged),
            "onnx": lambda: portable(options.model, options.clips, folder),
        }.items():
            if what not in options.parts:
                continue
            found.update(part())
            print(f"{what} done", file=sys.stderr)
    found["resident_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    for key, value in found.items():
        print(f"{key:32s} {value:.6g}" if isinstance(value, float) else f"{key:32s} {value}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
