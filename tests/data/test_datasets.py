"""Data sets: any item can be had again, segments are where they say, and information travels with them."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from audiocraft.audio.files import audio_write
from audiocraft.data.audio_dataset import AudioDataset
from audiocraft.data.info_audio_dataset import (
    InfoAudioDataset,
    get_keyword_list,
    get_keyword_or_keyword_list,
    get_string,
    scene_of,
)
from audiocraft.data.manifest import save_audio_meta
from audiocraft.data.music_dataset import (
    MusicDataset,
    MusicInfo,
    Paraphraser,
    augment_music_info_description,
    get_bpm,
    scene_with_absent,
)
from audiocraft.data.sound_dataset import SoundDataset, SoundInfo, mix_pair, mix_text, rms_f, snr_mixer
from audiocraft.errors import InvalidInput
from audiocraft.types import AudioMeta

RATE = 16000
FILES = 6
INFO: dict[str, Any] = {
    "title": "Song", "artist": "Somebody", "key": "A minor", "bpm": "92.0", "genre": "Jazz", "moods": ["calm"],
    "keywords": "slow, night", "description": "calm piano", "name": "song", "instrument": "piano",
    "captions": ["a quiet piano", "soft keys"], "chords": [[0, "Am"], [2.5, "F"]], "first_beat": 0.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files whose samples are a ramp of time, so that audio tells where it comes from; file i at height i / 10."""
    folder = tmp_path_factory.mktemp("corpus")
    metas = []
    for number in range(FILES):
        duration = 2.0 + number
        ramp = torch.arange(int(duration * RATE)) / RATE / 100 + number / 10
        path = audio_write(folder / "audio" / f"{number}", ramp[None], RATE, strategy="none")
        path.with_suffix(".json").write_text(json.dumps({**INFO, "title": f"Song {number}"}))
        metas.append(AudioMeta(f"audio/{path.name}", duration, RATE))
    save_audio_meta(folder / "egs" / "train" / "data.jsonl.gz", metas)
    return folder


def dataset(corpus: Path, kind: type[AudioDataset] = AudioDataset, **options: Any) -> Any:
    defaults = {
        "segment_duration": 1.0,
        "sample_rate": RATE,
        "channels": 1,
        "num_samples": 50,
        "return_info": True,
    }
    return kind.from_meta(corpus / "egs" / "train", **{**defaults, **options})


def test_a_segment_is_what_its_info_says(corpus: Path) -> None:
    data = dataset(corpus)
    for wav, info in (data[index] for index in range(50)):
        number = int(Path(info.meta.path).stem)
        time = info.seek_time + torch.arange(info.n_frames) / RATE
        torch.testing.assert_close(wav[0, : info.n_frames], time / 100 + number / 10, atol=2e-4, rtol=0)
        assert not wav[0, info.n_frames :].any()
        assert info.n_frames >= 0.5 * RATE - 1 and wav.shape == (1, info.total_frames) == (1, RATE)


def test_items_depend_on_seed_epoch_and_index_only(corpus: Path) -> None:
    data, same, other = dataset(corpus), dataset(corpus), dataset(corpus, shuffle_seed=1)
    forward = [data[index][1].seek_time for index in range(20)]
    assert forward == [same[index][1].seek_time for index in reversed(range(20))][::-1]
    assert not set(forward) & {other[index][1].seek_time for index in range(20)}
    data.start_epoch(1)
    assert not set(forward) & {data[index][1].seek_time for index in range(20)}
    data.start_epoch(0)
    assert forward == [data[index][1].seek_time for index in range(20)]


def test_without_shuffling_every_epoch_is_the_same(corpus: Path) -> None:
    data = dataset(corpus, shuffle=False)
    first = [data[index][1].seek_time for index in range(10)]
    data.start_epoch(3)
    assert first == [data[index][1].seek_time for index in range(10)]
    plain = dataset(corpus, shuffle=False, sample_on_duration=False, sample_on_weight=False)
    assert [Path(plain[index][1].meta.path).stem for index in range(FILES)] == [str(n) for n in range(FILES)]


def test_files_are_drawn_by_duration_and_weight(corpus: Path) -> None:
    data = dataset(corpus, num_samples=1500, load_wav=False)
    drawn = Counter(Path(data[index][1].meta.path).stem for index in range(1500))
    total = sum(2.0 + number for number in range(FILES))
    for number in range(FILES):
        assert drawn[str(number)] / 1500 == pytest.approx((2.0 + number) / total, abs=0.04)
    metas = [
        AudioMeta(meta.path, meta.duration, RATE, weight=float(i == 2)) for i, meta in enumerate(data.meta)
    ]
    only = AudioDataset(
        metas, 1.0, sample_rate=RATE, channels=1, num_samples=20, return_info=True, load_wav=False
    )
    assert {Path(only[index][1].meta.path).stem for index in range(20)} == {"2"}


def test_permutation_visits_every_file_before_any_comes_again(corpus: Path) -> None:
    data = dataset(
        corpus,
        permutation_on_files=True,
        sample_on_duration=False,
        sample_on_weight=False,
        num_samples=4,
        load_wav=False,
    )
    seen = []
    for epoch in range(3):
        data.start_epoch(epoch)
        seen += [data[index][1].meta.path for index in range(4)]
    assert len(set(seen[:FILES])) == len(set(seen[FILES:])) == FILES
    with pytest.raises(InvalidInput, match="switch sample_on_duration"):
        dataset(corpus, permutation_on_files=True)


def test_whole_files(corpus: Path) -> None:
    data = dataset(corpus, segment_duration=None, min_audio_duration=3.0, max_audio_duration=5.0)
    assert [data[index][0].shape[-1] for index in range(len(data))] == [3 * RATE, 4 * RATE, 5 * RATE]
    wav, infos = data.collater([data[0], data[2]])
    assert wav.shape == (2, 1, 5 * RATE) and not wav[0, 0, 3 * RATE :].any()
    assert [info.n_frames for info in infos] == [3 * RATE, 5 * RATE]
    with pytest.raises(InvalidInput, match="pad"):
        data = dataset(corpus, segment_duration=None, pad=False)
        data.collater([data[0], data[1]])


def test_conversion(corpus: Path) -> None:
    wav, info = dataset(corpus, sample_rate=24000, channels=2)[0]
    assert wav.shape == (2, 24000) and info.sample_rate == 24000 and info.channels == 2
    assert torch.equal(wav[0], wav[1])
    assert dataset(corpus, return_info=False)[0].shape == (1, RATE)


def test_a_damaged_file_is_replaced(corpus: Path, caplog: pytest.LogCaptureFixture) -> None:
    metas = [AudioMeta(str(corpus / "audio" / "0.wav"), 2.0, RATE), AudioMeta("/nowhere/x.wav", 200.0, RATE)]
    data = AudioDataset(metas, 1.0, sample_rate=RATE, channels=1, sample_on_duration=False, max_read_retry=20)
    assert all(data[index].shape == (1, RATE) for index in range(10))
    assert "/nowhere/x.wav" in caplog.text
    with pytest.raises(InvalidInput, match="does not exist"):
        AudioDataset(metas[1:], 1.0)[0]
    with pytest.raises(InvalidInput, match="does not exist"):
        AudioDataset(metas[1:], 1.0, max_read_retry=0)[0]


@pytest.mark.parametrize(
    "options",
    [{"segment_duration": 0.0}, {"min_segment_ratio": 0.0}, {"min_audio_duration": 100.0}],
)
def test_impossible_data_sets_are_refused(corpus: Path, options: dict[str, float]) -> None:
    with pytest.raises(InvalidInput):
        dataset(corpus, **options)


def test_a_folder_without_a_manifest(corpus: Path) -> None:
    data = InfoAudioDataset.from_path(
        corpus / "audio", segment_duration=1.0, sample_rate=RATE, return_info=True
    )
    assert len(data.meta) == FILES
    assert data[0][1].to_condition_attributes().text == {}


def test_loading_in_batches(corpus: Path) -> None:
    data = dataset(corpus, MusicDataset, num_samples=8)
    for wav, infos in DataLoader(data, batch_size=4, collate_fn=data.collater):
        assert wav.shape == (4, 1, RATE) and all(isinstance(info, MusicInfo) for info in infos)


def test_music_is_conditioned_on_its_information(corpus: Path) -> None:
    data = dataset(corpus, MusicDataset, joint_embed_attributes=("description",))
    wav, info = data[3]
    attributes = info.to_condition_attributes()
    assert attributes.text["key"] == "a minor" and attributes.text["bpm"] == "92"
    assert attributes.text["keywords"] == "slow night" and attributes.text["genre"] == "jazz"
    own = attributes.wav["self_wav"]
    assert (
        torch.equal(own.wav[0], wav)
        and own.length.tolist() == [info.n_frames]
        and own.path == [info.meta.path]
    )
    assert attributes.joint_embed["description"].text == ["calm piano"]


def test_the_plan_of_a_segment_starts_where_the_segment_does(corpus: Path) -> None:
    """A crop that kept start 0 would teach the model the wrong chords."""
    data = dataset(corpus, MusicDataset)
    starts = set()
    for index in range(5):
        _, info = data[index]
        plan = info.to_condition_attributes().symbolic["plan"].plan
        assert plan is not None and plan.start == info.seek_time and plan.duration == 1.0
        assert (plan.tempo, plan.key, plan.chords) == (92.0, "A minor", ((0.0, "Am"), (2.5, "F")))
        starts.add(plan.start)
    assert len(starts) == 5


def test_missing_information(corpus: Path, tmp_path: Path) -> None:
    source = str(corpus / "audio" / "0.wav")
    alone = tmp_path / "x.wav"
    alone.write_bytes(Path(source).read_bytes())
    data = MusicDataset(
        [AudioMeta(str(alone), 2.0, RATE)], segment_duration=1.0, sample_rate=RATE, channels=1
    )
    assert data[0][1].to_condition_attributes().text["description"] is None
    alone.with_suffix(".json").write_text('{"description": "x"}')
    with pytest.raises(InvalidInput, match="'title'"):
        data[0]
    data.info_fields_required = False
    assert data[0][1].description == "x"
    alone.with_suffix(".json").write_text("{")
    with pytest.raises(InvalidInput, match="not JSON"):
        data[0]


def test_captions_and_merging_are_reproducible(corpus: Path) -> None:
    data = dataset(corpus, MusicDataset, caption_p=0.5, merge_text_p=0.5, drop_other_p=0.5)
    told = [data[index][1].description for index in range(30)]
    assert told == [data[index][1].description for index in range(30)]
    assert len(set(told)) > 8
    assert any("genre: jazz" in text for text in told)


def test_merging() -> None:
    meta = AudioMeta("x.wav", 1.0, RATE)
    info = MusicInfo(meta, 0.0, 10, 10, RATE, 1, key="a minor", genre="jazz", description="calm piano.")
    rng = random.Random(0)
    assert augment_music_info_description(info, 0.0, rng=rng) is info
    merged = augment_music_info_description(info, 1.0, rng=rng)
    assert set((merged.description or "").split(". ")) == {"calm piano", "key: a minor", "genre: jazz"}
    assert info.description == "calm piano."
    only = augment_music_info_description(info, 1.0, drop_desc_p=1.0, rng=rng)
    assert "calm piano" not in (only.description or "")
    bare = augment_music_info_description(info, 1.0, drop_desc_p=1.0, drop_other_p=1.0, rng=rng)
    assert bare.description == "calm piano"


def test_paraphrases(tmp_path: Path) -> None:
    source = tmp_path / "p.json"
    source.write_text(json.dumps({"a": ["one", "two"]}))
    rng = random.Random(0)
    always = Paraphraser(source, 1.0)
    assert {always.sample_paraphrase("/x/a.wav", "zero", rng=rng) for _ in range(20)} == {"one", "two"}
    assert always.sample_paraphrase("/x/b.wav", "zero", rng=rng) == "zero"
    assert Paraphraser(source, 0.0).sample_paraphrase("/x/a.wav", "zero", rng=rng) == "zero"


def test_cleaning() -> None:
    assert [get_bpm(value) for value in ("120", 90, "fast", None, "None", -3)] == [
        120.0,
        90.0,
        None,
        None,
        None,
        None,
    ]
    assert get_keyword_list("Slow, night") == ["slow", "night"] and get_keyword_list(["A b", "none"]) == [
        "a b"
    ]
    assert get_keyword_or_keyword_list(["A"]) == ["a"] and get_keyword_or_keyword_list("A, b") == "a, b"
    assert get_string(" None ") is None and get_string(" Nina ") == "Nina"


def test_sounds(corpus: Path, tmp_path: Path) -> None:
    _, info = dataset(corpus, SoundDataset)[0]
    assert info.to_condition_attributes().text == {"description": "calm piano"}
    (tmp_path / "0.json").write_text('{"description": ["rain", "storm"]}')
    data = dataset(
        corpus, SoundDataset, external_metadata_source=tmp_path, min_audio_duration=0, max_audio_duration=2
    )
    assert data[0][1].description == "rain"
    assert data[0][1].scene is None and not data[0][1].to_condition_attributes().symbolic


def test_sounds_are_told_when_they_are_heard(corpus: Path, tmp_path: Path) -> None:
    def first(events: object) -> SoundInfo:
        (tmp_path / "0.json").write_text(json.dumps({"description": "rain", "events": events}))
        found: SoundInfo = dataset(
            corpus,
            SoundDataset,
            external_metadata_source=tmp_path,
            min_audio_duration=0,
            max_audio_duration=2,
        )[0][1]
        return found

    info = first(
        [
            {"kind": "rain", "start": 0, "end": 9, "bursts": [[0.5, 0.7]]},
            {"kind": "dog", "start": 50, "end": 60, "note": "late"},
        ]
    )
    scene = info.to_condition_attributes().symbolic["scene"].scene
    assert scene is not None and scene.duration == 1.0
    assert [event.kind for event in scene.events] == ["rain"] and scene.events[0].bursts == ((0.5, 0.7),)
    for broken in ([{"kind": "rain"}], [{"kind": "rain", "start": 3, "end": 1}], ["rain"]):
        with pytest.raises(InvalidInput, match="events"):
            first(broken)


def test_music_is_told_of_the_instruments_that_its_description_names(corpus: Path, tmp_path: Path) -> None:
    info = MusicInfo.from_dict(
        {"meta": AudioMeta("x.wav", 10.0, 24000), "seek_time": 2.0, "n_frames": 96000, "total_frames": 96000,
         "sample_rate": 24000, "channels": 1, "description": "calm grand piano"}
    )  # fmt: skip
    events = [
        {"kind": "piano", "start": 0, "end": 5, "words": ["piano", "grand piano"]},
        {"kind": "organ", "start": 0, "end": 9, "words": ["organ"]},
    ]
    scene = scene_of(info, {"events": events}, info.description)
    assert scene is not None and [event.kind for event in scene.events] == ["piano"] and scene.start == 2.0
    assert scene_of(info, {"events": events}, "an organist") is None  # a word of its own
    attributes = replace(info, scene=scene).to_condition_attributes()
    assert attributes.symbolic["scene"].scene == scene
    with pytest.raises(InvalidInput, match="events"):
        scene_of(info, {"events": [{"kind": "piano", "words": ["piano"]}]}, "piano")
    kinds, named = ("piano", "organ", "drums", "bass", "flute"), scene
    drawn = [
        scene_with_absent(info, {"events": events}, known, kinds, random.Random(seed))
        for seed in range(20)
        for known in (named, None)
    ]
    # What plays and is not named is neither told to play nor told to be absent.
    assert {one.absent for one in drawn if one} > {("drums", "bass", "flute")}
    assert all(one and one.absent and not {"piano", "organ"} & {*one.absent} for one in drawn)
    assert all(one and (one.start, one.duration) == (2.0, 4.0) for one in drawn)
    assert scene_with_absent(info, {}, None, kinds, random.Random(0)) is None


def test_mixing_a_batch(corpus: Path) -> None:
    data = dataset(corpus, SoundDataset, aug_p=1.0, mix_p=0.5)
    plain = dataset(corpus, SoundDataset)
    samples = [plain[index] for index in range(4)]
    for number, (_, info) in enumerate(samples):
        info.description = f"sound {number}"
    wav, infos = data.collater(samples)
    mixed = [row for row, info in enumerate(infos) if len((info.description or "").split()) == 4]
    assert wav.shape == (4, 1, RATE) and len(mixed) == 2
    for row in range(4):
        assert torch.equal(wav[row], samples[row][0]) == (row not in mixed)
        assert torch.equal(infos[row].self_wav.wav[0], wav[row])


@pytest.mark.parametrize("snr", [-5.0, 0.0, 5.0])
def test_mixtures_have_the_ratio_asked_for(snr: float, generator: torch.Generator) -> None:
    time = torch.arange(RATE) / RATE
    first, second = torch.sin(2 * torch.pi * 200 * time), 0.1 * torch.sin(2 * torch.pi * 3000 * time)
    mixture = snr_mixer(first, second, snr, min_overlap=1.0, generator=generator)
    spectrum = torch.fft.rfft(mixture).abs()
    ratio = 20 * torch.log10(spectrum[200] / spectrum[3000])
    assert float(ratio) == pytest.approx(snr, abs=0.1)
    assert float(mixture.abs().amax()) <= 0.99 + 1e-6
    assert -35.1 <= 20 * float(rms_f(mixture).log10()) <= -14.9


def test_mix_pair_keeps_the_overlap(generator: torch.Generator) -> None:
    for overlap in (0.0, 0.5, 1.0):
        for _ in range(20):
            mixed = mix_pair(torch.zeros(100), torch.ones(80), overlap, generator=generator)
            assert mixed.shape == (100,) and 80 * overlap <= float(mixed.sum()) <= 80
    assert (
        mix_text("rain", "rain") == "rain"
        and mix_text("rain", None) == "rain"
        and mix_text(None, None) is None
    )
