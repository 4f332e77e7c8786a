"""Measures the studio: a song of five sections, and ten minutes of a game, each beside its goal.

usage: python benchmarks/studio.py [--parts song,game,ambience] [--seconds 90] [--game-seconds 600] [--seeds 1]

Needs the extra [analysis]. What was made stays in --folder, so that a second run only measures. The last line of
stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch import Tensor

from audiocraft.audio.convert import convert_audio
from audiocraft.audio.loudness import block_powers, gated_loudness, integrated_loudness, true_peak
from audiocraft.metrics import key as keys
from audiocraft.metrics import tempo as tempi
from audiocraft.music.harmony import parse_key
from audiocraft.music.planning import ScoreSettings
from audiocraft.workflows.studio.dynamic import LEVELS, GamePiece, GameState
from audiocraft.workflows.studio.game import GameAudioSystem
from audiocraft.workflows.studio.parts import PartsProgress
from audiocraft.workflows.studio.project import read_song, write_song
from audiocraft.workflows.studio.song import MusicProductionPipeline

SECTIONS = {
    "intro": "calm piano, classical",
    "verse": "piano, bass and drums, pop",
    "chorus": "strings, bass and drums, happy, pop",
    "verse 2": "electric piano, bass and drums, pop",
    "outro": "calm piano and strings",
}
SCORES = (("A minor", 96.0), ("C major", 112.0), ("E minor", 84.0), ("G major", 120.0))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", default=",".join(PARTS), help="which parts, by comma")
    parser.add_argument("--seconds", type=float, default=90.0, help="of the song")
    parser.add_argument("--game-seconds", type=float, default=600.0, help="of the game")
    parser.add_argument("--seeds", type=int, default=1, help="how many songs")
    parser.add_argument("--folder", type=Path, help="where parts are kept")
    return parser.parse_args()


def song(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure songs: key and tempo of every section and of the whole, loudness, and what a change leaves alone."""
    found: dict[str, Any] = {"songs": []}
    for seed in range(options.seeds):
        key, tempo = SCORES[seed % len(SCORES)]
        pipeline, path = MusicProductionPipeline(), folder / f"song-{seed}.acproj"
        started = time.perf_counter()
        rendered = pipeline.create_song_structure(
            SECTIONS,
            duration=options.seconds,
            score=ScoreSettings(tempo=tempo, key=key),
            seed=seed,
            path=path,
            progress=said,
        )
        with_sounds = pipeline.add_sound_effects(rendered, ["thunder @ chorus bar 1", "a bell @ outro bar 1"])
        assert not isinstance(with_sounds, Tensor)
        rendered = with_sounds
        spent = time.perf_counter() - started
        mastered = pipeline.mix_audio(rendered)
        rate = rendered.sample_rate
        whole = heard(rendered.bed(), rate)
        sections = {name: heard(audio, rate) for name, audio in rendered.items()}
        before = {name: file.read_bytes() for name, file in rendered.parts.items()}
        write_song(path, read_song(path).changed("chorus", prompt="electric guitar, bass and drums, rock"))
        changed = pipeline.render(path, progress=said)
        others = [name for name in SECTIONS if name != "chorus"]
        same = all(changed.parts[name].read_bytes() == before[name] for name in others)
        found["songs"].append(
            {
                "wanted": [key, tempo],
                "seconds": round(mastered.audio.shape[-1] / rate, 2),
                "made_in_s": round(spent, 1),
                "whole": whole,
                "sections": sections,
                "whole_is_right": right(whole, key, tempo),
                "sections_right": [right(one, key, tempo) for one in sections.values()],
                "loudness": round(mastered.loudness, 2),
                "true_peak": round(mastered.true_peak, 2),
                "others_bytes_unchanged": same,
                "made_again": list(changed.fresh),
            }
        )
    return found


def heard(audio: Tensor, rate: int) -> dict[str, Any]:
    """Return the tempo and key that are heard in audio [C, N]."""
    mono = convert_audio(audio, rate, tempi.SAMPLE_RATE, 1)[0].numpy()
    return {"tempo": round(float(tempi.comb_tempo(mono)), 2), "key": keys.key_of(keys.cens_chroma(mono)).name}


def right(found: Mapping[str, Any], key: str, tempo: float) -> dict[str, bool]:
    """Return whether tempo (also halved or doubled) and key (exact, and also relative) are those that were asked
    for."""
    return {
        "tempo": bool(tempi.agrees(found["tempo"], tempo)),
        "key": found["key"] == key,
        "key_or_relative": bool(keys.agrees(parse_key(found["key"]), parse_key(key))),
    }


def game(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure minutes of changing states: gaps, bar lines, and steps of loudness at changes."""
    system = GameAudioSystem(
        piece=GamePiece(seed=4, score=ScoreSettings(tempo=104.0, key="A minor")), folder=folder
    )
    draw = random.Random(1)
    timeline: list[tuple[float, GameState]] = [(0.0, GameState(tension=0.0, location="forest"))]
    while timeline[-1][0] < options.game_seconds - 12:
        second = timeline[-1][0] + draw.uniform(3.0, 12.0)
        state = GameState(tension=round(draw.random(), 2), location=draw.choice(("forest", "dungeon")))
        timeline.append((round(second, 3), state))
    started = time.perf_counter()
    music = system.music([state for _, state in timeline], progress=said)
    made = time.perf_counter() - started
    audio, changes = system.play(timeline, options.game_seconds)
    rate, bar = music.sample_rate, music.bar_samples / music.sample_rate
    off = [abs(one.heard / bar - round(one.heard / bar)) * bar * rate for one in changes]
    waits = [(one.heard - one.asked) / bar for one in changes]
    # The music itself rises and falls; a step is what a change adds to that: the same bars in both states.
    steps = [abs(difference(music, before.state, after.state)) for before, after in pairwise(changes)]
    around = [
        abs(loudness(audio, rate, one.heard, 2 * bar) - loudness(audio, rate, one.heard - 2 * bar, 2 * bar))
        for one in changes
        if 2 * bar < one.heard < options.game_seconds - 2 * bar
    ]
    quiet = audio.abs().amax(0).unfold(-1, round(0.05 * rate), round(0.01 * rate)).amax(-1)
    return {
        "seconds": options.game_seconds,
        "layers": len(music.layers),
        "made_in_s": round(made, 1),
        "states_asked": len(timeline),
        "changes_heard": len(changes),
        "silence_of_50_ms": int((quiet < 1e-4).sum()),
        "samples_off_a_bar_line": round(max(off), 3),
        "longest_wait_bars": round(max(waits), 3),
        "largest_step_of_states_lu": round(max(steps), 2),
        "largest_step_over_two_bars_lu": round(max(around), 2),
        "median_step_over_two_bars_lu": round(sorted(around)[len(around) // 2], 2),
        "usual_step_without_change_lu": usual(music, rate, bar),
        "true_peak": round(true_peak(audio, rate), 2),
    }


def difference(music: Any, one: GameState, other: GameState) -> float:
    """Return by how many LU two states differ, over the whole loop."""
    return float(integrated_loudness(music.loop(other), music.sample_rate)) - float(
        integrated_loudness(music.loop(one), music.sample_rate)
    )


def usual(music: Any, rate: int, bar: float) -> float:
    """Return the largest step between two bars and the next two within one state, where nothing changes."""
    steps = []
    for state in (
        GameState(tension=least, location=place)
        for place in ("forest", "dungeon")
        for least in LEVELS.values()
    ):
        loop = music.loop(state).repeat(1, 2)
        for number in range(music.bars):
            steps.append(
                abs(
                    loudness(loop, rate, (number + 2) * bar, 2 * bar)
                    - loudness(loop, rate, number * bar, 2 * bar)
                )
            )
    return round(max(steps), 2)


def loudness(audio: Tensor, rate: int, start: float, seconds: float) -> float:
    """Return the loudness of a stretch of audio [C, N], in LUFS."""
    part = audio[:, round(start * rate) : round((start + seconds) * rate)]
    return float(gated_loudness(block_powers(part, rate)))


def ambience(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure places: how long until they repeat, how alike their parts are, and their seam beside any other place."""
    del options
    system = GameAudioSystem(folder=folder)
    found = {}
    for place in ("forest", "ocean", "city", "dungeon"):
        started = time.perf_counter()
        made = system.generate_ambient_sound(place, progress=said)
        spent = time.perf_counter() - started
        mono = made.audio.float().mean(0)
        spectrum = torch.fft.rfft(mono)
        alike = torch.fft.irfft(spectrum * spectrum.conj(), n=mono.shape[-1]) / mono.square().sum()
        rate = made.sample_rate
        steps = made.audio.diff(dim=-1).abs().amax(0)
        seam = float((made.audio[:, 0] - made.audio[:, -1]).abs().max())
        found[place] = {
            "seconds": round(made.seconds, 2),
            "made_in_s": round(spent, 1),
            "most_alike_after_a_second": round(float(alike[rate:-rate].max()), 3),
            "seam_step_share_of_largest": round(seam / float(steps.max()), 3),
            "loudness": round(float(integrated_loudness(made.audio, rate)), 2),
        }
    return found


def said(event: PartsProgress) -> None:
    """Print progress for whoever waits."""
    print(f"\r{event.share:5.1%} {event.name[:60]:60}", end="" if event.share < 1 else "\n", file=sys.stderr)


PARTS: Mapping[str, Callable[[argparse.Namespace, Path], dict[str, Any]]] = {
    "song": song,
    "game": game,
    "ambience": ambience,
}


def main() -> None:
    options = arguments()
    names = options.parts.split(",")
    unknown = set(names) - PARTS.keys()
    if unknown:
        raise SystemExit(f"unknown parts {', '.join(sorted(unknown))}; one of {', '.join(PARTS)}")
    found = {}
    with tempfile.TemporaryDirectory(prefix="audiocraft-studio-") as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            found[name] = PARTS[name](options, folder)
            print(name, json.dumps(found[name], indent=1))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
