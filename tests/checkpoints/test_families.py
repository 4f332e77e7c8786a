"""Families: each is declared once and completely, names mean one thing, files say what they are, and a name of a
folder decides nothing."""

from __future__ import annotations

import ast
import gzip
import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from audiocraft.checkpoints import families
from audiocraft.checkpoints.facts import Found, facts_of, facts_of_files, find_facts, look
from audiocraft.checkpoints.families import ModelFamily, NetworkKind, Release, registered, target
from audiocraft.checkpoints.read import read
from audiocraft.checkpoints.sources import bundled
from audiocraft.checkpoints.torch_files.header import read_header
from audiocraft.checkpoints.torch_files.upgrade import read_release_config
from audiocraft.checkpoints.write import write_model
from audiocraft.cli.main import main
from audiocraft.config.serving import ServingConfig
from audiocraft.engine.model_cache import ModelCache
from audiocraft.errors import CheckpointError, InvalidInput
from audiocraft.models import AudioGen, MusicGen
from audiocraft.models.conversion import convert
from audiocraft.models.footprint import model_bytes
from audiocraft.models.loaders import load_model, load_part
from audiocraft.server.catalogue import Catalogue, kind_of

FAMILIES = families.families()
MANIFESTS = ("musicgen-small", "musicgen-medium", "musicgen-large", "musicgen-melody", "musicgen-stereo-small",
             "musicgen-style", "audiogen-medium")  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_references_lead_somewhere(family: ModelFamily) -> None:
    assert callable(target(family.config).select) and callable(target(family.build))
    if family.generates:
        assert callable(target(family.facade).get_pretrained) and family.makes is not None
    for reference in (family.load, family.parts, family.memory):
        assert reference is None or callable(target(reference))


def test_names_mean_one_model() -> None:
    for kind in families.kinds():
        names = [name for family in families.of_kind(kind) for made in family.releases for name in made.names]
        assert len(names) == len(set(names))
    taken = ModelFamily(
        name="other", title="Other", kind=families.kind_called("lm"), releases=(Release(repo="small"),)
    )
    with pytest.raises(CheckpointError, match="small already"):
        families.register(taken)
    with pytest.raises(CheckpointError, match="family 'musicgen' already"):
        families.register(replace(taken, name="musicgen"))


@pytest.mark.parametrize("name", MANIFESTS)
def test_the_table_says_what_the_files_say(golden_dir: Path, name: str) -> None:
    path = golden_dir.parent / "manifests" / f"{name}.json.gz"
    content: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))["files"]["state_dict.bin"]
    config = read_release_config(content["cfg_yaml"], source=name)
    family = families.recognise(config, source=name)
    said = facts_of_files(f"facebook/{name}", Found(family=family, path=Path("nowhere"), config=config))
    known = facts_of(f"facebook/{name}")
    assert known == replace(said, where=None) and known == facts_of(name)


def test_each_bundled_model_names_its_family() -> None:
    for name, folder in bundled().items():
        header = json.loads((folder / "config.json").read_text())
        found = look(folder)
        assert found is not None and found.family.name == header["family"], name


@pytest.mark.parametrize(
    ("original", "copy", "facade", "makes"),
    [("audiogen-nano", "my-music", AudioGen, "sound"), ("musicgen-nano", "old-audiogen", MusicGen, "music")],
)
def test_a_renamed_folder_keeps_its_family(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, original: str, copy: str, facade: type, makes: str
) -> None:
    monkeypatch.setenv("AUDIOCRAFT_CACHE_DIR", str(tmp_path))
    folder = tmp_path / "mine" / copy
    shutil.copytree(bundled()[original], folder)
    assert facts_of(folder).makes == makes
    assert type(load_model(folder)) is facade and type(ModelCache().get(f"mine/{copy}")) is facade
    assert kind_of(Catalogue(ServingConfig()).get(f"mine/{copy}")) == makes
    assert (
        main(["generate", "rain", "-d", "0.1", "-m", str(folder), "-o", str(tmp_path / "a.wav"), "--quiet"])
        == 0
    )


def edited(original: str, folder: Path, **changes: Any) -> Path:
    """A copy of a bundled model whose header has `changes`; None takes a key away."""
    shutil.copytree(bundled()[original], folder)
    header = {**json.loads((folder / "config.json").read_text()), **changes}
    kept = {key: value for key, value in header.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(kept))
    return folder


def test_folders_from_before_families(tmp_path: Path) -> None:
    """Nothing in them tells a model of sounds from one of music, and no name is asked."""
    assert facts_of(edited("nano", tmp_path / "codec", family=None)).family == "encodec"
    assert facts_of(edited("analysis-nano", tmp_path / "detector", family=None)).family == "detector"
    old = edited("audiogen-nano", tmp_path / "audiogen-nano", family=None)
    assert facts_of(old).family == "musicgen" and type(load_model(old)) is MusicGen


def test_unknown_families_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = edited("musicgen-nano", tmp_path / "strange", family="telepathy")
    for use in (facts_of, load_model):
        with pytest.raises(CheckpointError, match=r"no model family 'telepathy'.*audiogen.*musicgen"):
            use(folder)
    assert main(["generate", "x", "-m", str(folder), "-o", str(tmp_path / "a.wav")]) != 0
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1 and "telepathy" in said
    with pytest.raises(CheckpointError, match="holds a codec, not a language model"):
        load_model(edited("musicgen-nano", tmp_path / "mixed", family="encodec"))


def test_what_makes_nothing_is_not_asked_to(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="'analysis-nano' is a detector and generates nothing"):
        load_model("analysis-nano")
    assert find_facts("no/such-model") is None
    with pytest.raises(CheckpointError, match="audiocraft models pull no/such-model"):
        facts_of("no/such-model")
    with pytest.raises(CheckpointError, match="no model called"):
        facts_of(tmp_path / "nothing")


def test_families_survive_conversion(
    golden_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(golden_dir / "_hf_home"))
    assert facts_of(golden_dir / "audiogen").family == "audiogen"
    before = golden_dir / "audiogen"
    for form in ("ours", "release", "transformers"):
        folder = convert(before, tmp_path / form, to=form)  # type: ignore[arg-type]
        codec = folder / "codec" if form == "ours" else folder
        assert facts_of(folder).family == "audiogen"
        assert facts_of(codec, kind="compression").family == "encodec"
        assert read(folder, kind="lm").family == "audiogen"
        before = folder if form == "ours" else before


@pytest.mark.parametrize("name", ["musicgen", "musicgen_style", "encodec_mono", "encodec_stereo_renorm"])
def test_files_tell_without_their_weights(golden_dir: Path, name: str) -> None:
    found = look(golden_dir / name)
    assert found is not None
    assert found.config == read(golden_dir / name, kind=found.family.kind.name).config


def test_looking_runs_nothing(tmp_path: Path) -> None:
    """Neither the classes that a pickle names nor those it calls."""

    class Bomb:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "went-off",)

    path = tmp_path / "state_dict.bin"
    path.write_bytes(pickle.dumps({"xp.cfg": "solver: musicgen", "best_state": Bomb()}, protocol=2))
    assert read_header(path)["xp.cfg"] == "solver: musicgen"
    torch.save({"best_state": {"x": torch.zeros(3)}, "xp.cfg": "a: 1"}, path)
    assert set(read_header(path)) == {"best_state", "xp.cfg"}
    torch.save({"xp.cfg": "a: 1"}, path, _use_new_zipfile_serialization=False)
    assert read_header(path) == {"xp.cfg": "a: 1"}
    path.write_bytes(b"no pickle")
    assert read_header(path) == {}
    assert not (tmp_path / "went-off").exists()


def test_models_of_other_projects_say_so(golden_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "state_dict.bin"
    torch.save({"xp.cfg": "solver: telepathy\nlm_model: mind", "best_state": {"x": torch.zeros(1)}}, path)
    with pytest.raises(
        CheckpointError, match=r"no family here reads \(solver 'telepathy', lm_model 'mind'\)"
    ):
        load_model(path)


# ------------------------------------------------------------------ families of others


class Silence:
    """What a family of another package brings, at its smallest."""

    name, device = "", torch.device("cpu")

    @staticmethod
    def get_pretrained(name: str, device: Any = None, *, precision: str | None = "auto") -> Silence:
        found = Silence()
        found.name = name
        return found

    def modules(self) -> tuple[nn.Module, ...]:
        return ()


TOY = ModelFamily(
    name="silence",
    title="Silence",
    kind=NetworkKind(name="silence", title="silence maker"),
    facade=Silence,
    makes="sound",
    recognises=lambda config: "silence" in config,
    releases=(Release(repo="hush", aliases=("shh",), takes=frozenset({"plan"}), built_in=True),),
)


@pytest.fixture
def _silence() -> Iterator[None]:
    with registered(TOY):
        yield
    assert families.release_called("hush") is None


@pytest.mark.usefixtures("_silence")
def test_a_family_is_found_by_name_and_by_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_model(
        tmp_path / "quiet", kind="silence", config={"silence": {}}, tensors={"x": torch.zeros(4)}
    )
    for name in ("shh", "hush", str(folder)):
        assert isinstance(ModelCache().get(name), Silence)
        assert main(["models", "info", name, "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["family"] == "silence" and told["makes"] == "sound" and "fp32" in told["memory"]
    assert model_bytes(str(folder), device=torch.device("cpu")) == 16
    assert model_bytes("shh", device=torch.device("cpu")) == 0
    for use in (load_model, lambda name, precision: ModelCache(precision=precision).get(name)):
        with pytest.raises(InvalidInput, match="Silence models run with precision fp32, not int8"):
            use("shh", precision="int8")
    assert facts_of("shh").takes == {"plan"}
    config = ServingConfig(models=("shh", str(folder)))
    assert {kind_of(facts) for facts in Catalogue(config).models().values()} == {"sound"}
    assert main(["generate", "x", "-m", "shh", "--melody", "a.wav"]) == 2
    assert "takes no melody" in capsys.readouterr().err
    assert main(["doctor", "--json"]) == 0
    assert "silence" in json.loads(capsys.readouterr().out)["families"]


def test_a_family_reads_files_of_its_own(tmp_path: Path) -> None:
    """As those of the diffusion models: several networks in one file, and no training configuration."""
    kind = NetworkKind(name="bands", title="band model", release_file="bands.th")
    bands = ModelFamily(
        name="bands",
        title="Bands",
        kind=kind,
        config=BandsConfig,
        build=lambda config, device: nn.ModuleList(
            nn.Linear(2, 1, device=device) for _ in range(config.bands)
        ),
        knows_file=lambda package: "n_bands" in package,
        read_file=lambda package, path: (
            {"bands": package["n_bands"]},
            {
                f"{band}.{name}": value
                for band in range(package["n_bands"])
                for name, value in package[band].items()
            },
        ),
    )
    stored = {"n_bands": 2, **{band: nn.Linear(2, 1).state_dict() for band in range(2)}}
    torch.save(stored, tmp_path / "bands.th")
    with registered(bands):
        for name in (tmp_path, tmp_path / "bands.th"):
            assert facts_of(name).family == "bands"
            found = load_part(name).state_dict()
            assert torch.equal(found["1.weight"], stored[1]["weight"]) and len(found) == 4
        with pytest.raises(CheckpointError, match=r"bands\.th"):
            read(tmp_path / "bands.th", kind="lm")


@dataclass(frozen=True)
class BandsConfig:
    bands: int

    @classmethod
    def select(cls, tree: Mapping[str, Any]) -> BandsConfig:
        return cls(tree["bands"])


def test_packages_bring_families(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Those that cannot be loaded, or that take a name away, cost nobody else anything."""
    (tmp_path / "bringer.py").write_text(
        "from audiocraft.checkpoints.families import ModelFamily, NetworkKind\n"
        "NEW = ModelFamily(name='new', title='New', kind=NetworkKind(name='new', title='new one'))\n"
        "THIEF = ModelFamily(name='musicgen', title='Thief', kind=NEW.kind)\n"
    )
    (tmp_path / "bringer-1.0.dist-info").mkdir()
    (tmp_path / "bringer-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: bringer\nVersion: 1.0\n"
    )
    (tmp_path / "bringer-1.0.dist-info" / "entry_points.txt").write_text(
        "[audiocraft.families]\nbroken = bringer:ABSENT\nnew = bringer:NEW\nthief = bringer:THIEF\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    found = families._Registry().all()
    assert set(found) == {*(family.name for family in FAMILIES), "new"}
    assert found["musicgen"].title == "MusicGen"
    assert "broken" in caplog.text and "'musicgen' already" in caplog.text


# ------------------------------------------------------------------ how they are used


def test_nothing_is_known_by_a_part_of_a_name(repository: Path) -> None:
    """No source asks whether a family's name is in a text."""
    names = {family.name for family in FAMILIES}
    found = [
        f"{path}:{node.lineno}"
        for path in (repository / "audiocraft").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Compare)
        and isinstance(node.left, ast.Constant)
        and node.left.value in names
        and any(isinstance(operation, ast.In | ast.NotIn) for operation in node.ops)
        and not isinstance(node.comparators[0], ast.Name | ast.Attribute)
    ]
    found = [place for place in found if "/families/" not in place]
    assert not found, found


def test_facts_need_no_torch() -> None:
    code = (
        "import sys; from audiocraft.checkpoints.installed_models import models_here; "
        "from audiocraft.checkpoints.facts import facts_of; facts_of('melody'); "
        "assert models_here() and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
