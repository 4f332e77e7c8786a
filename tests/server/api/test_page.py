"""The page's files: what is served, and that nothing in them needs another place or an exception from the policy."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from audiocraft.checkpoints.sources import CONFIG_FILE, bundled
from audiocraft.config.serving import ServingConfig
from audiocraft.music.planning import make_plan
from audiocraft.music.understanding import understand
from audiocraft.music.vocabulary import Vocabulary
from audiocraft.server.api.page import static_files
from audiocraft.server.app import create_app
from audiocraft.server.catalogue import Catalogue, ModelFacts

from ..fakes import FACTS, FakeEngine

FILES = sorted(static_files())


def text_of(name: str) -> str:
    return static_files()[name].content.decode()


def test_the_page_and_all_its_files_are_served(client: TestClient) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    for name in re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text):
        assert client.get(name).status_code == 200, name


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".js")])
def test_modules_import_what_exists(name: str) -> None:
    text = text_of(name)
    for names, source in re.findall(r'import (?:\{([^}]*)\} from )?"\./([\w-]+\.js)"', text):
        assert source in FILES
        exported = set(
            re.findall(r"export (?:async )?(?:function\*? |class |const )([\w$]+)", text_of(source))
        )
        assert {part.strip() for part in names.split(",") if part.strip()} <= exported, (name, source)


@pytest.mark.parametrize("name", FILES)
def test_nothing_comes_from_elsewhere_and_nothing_is_inline(name: str) -> None:
    text = (
        text_of(name)
        .replace('xmlns="http://www.w3.org/2000/svg"', "")
        .replace('createElementNS("http://www.w3.org/2000/svg"', "")
    )
    assert not re.search(r"https?://|//cdn|@import", text)
    if name.endswith(".html"):
        assert not re.search(r"\sstyle=|\son\w+=|<style|javascript:", text)
        assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", text))
    if name.endswith(".js"):
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text
        )


def test_every_control_has_a_name_and_every_name_its_control() -> None:
    html = text_of("index.html")
    ids = re.findall(r'\sid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    for wanted in re.findall(r'(?:for|aria-labelledby|aria-controls|aria-describedby)="([^"]+)"', html):
        assert set(wanted.split()) <= set(ids), wanted
    for button in re.findall(r"<button.*?</button>", html, re.DOTALL):
        words = re.sub(r"<[^>]+>", "", button).strip()
        assert words or "aria-label=" in button, button
    scripts = "".join(text_of(name) for name in FILES if name.endswith(".js"))
    for wanted in set(re.findall(r'\$\("([\w-]+)"\)', scripts)):
        assert wanted in ids, wanted


def test_files_are_sent_once(client: TestClient) -> None:
    first = client.get("/static/app.js")
    again = client.get("/static/app.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "name", ["nothing.js", "..%2fpage.py", "../page.py", "%2e%2e/app.py", ".", "a%00.js"]
)
def test_only_the_listed_files_are_served(client: TestClient, name: str) -> None:
    assert client.get(f"/static/{name}").status_code == 404


def test_text_is_readable_on_every_ground() -> None:
    """Contrast of 4.5 and more for words, in both themes (3 for borders of fields)."""
    css = text_of("base.css")
    for block in re.findall(r":root(?:\[[^\]]*\])? \{(.*?)\n\}", css, re.DOTALL):
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))
        pairs = [("ink", "bg"), ("ink", "card"), ("muted", "bg"), ("muted", "card"), ("muted", "sunk"),
                 ("on-accent", "accent"), ("accent-ink", "accent-soft"), ("danger", "danger-soft"),
                 ("danger", "raised")]  # fmt: skip
        for front, back in pairs:
            assert contrast(colours[front], colours[back]) >= 4.5, (front, back, block[:60])
        assert contrast(colours["line-strong"], colours["raised"]) >= 3


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_every_idea_is_of_words_that_the_bundled_models_know() -> None:
    kinds = re.findall(r"^  (music|sound): \{\n(.*?)^  \}", text_of("words.js"), re.DOTALL | re.MULTILINE)[:2]
    for (kind, ideas), name in zip(kinds, ("musicgen-nano", "audiogen-nano"), strict=True):
        written = re.findall(r'"[^"]+": "([^"]+)"', ideas)
        assert len(written) > 5, kind
        for idea in written:
            plan = make_plan(idea, duration=10.0, seed=0) if kind == "music" else None
            found = understand(idea, duration=10.0, plan=plan, vocabulary=vocabulary_of(name))
            assert (found.unknown, found.notes) == ((), ()), idea


def vocabulary_of(name: str) -> Vocabulary:
    config = json.loads((bundled()[name] / CONFIG_FILE).read_text("utf-8"))
    return Vocabulary.from_dict(config["meta"]["vocabulary"])


_COMPOSER = """
import { pathToFileURL } from "node:url";
const made = (id) => ({ id, value: "", hidden: false, options: [], dataset: { own: "" },
  closest() { return this; }, append() {}, addEventListener() {},
  replaceChildren(...all) { this.options = all; this.value = ""; } });
const known = new Map();
globalThis.document = { getElementById: (id) => { if (!known.has(id)) known.set(id, made(id)); return known.get(id); },
  createElement: (tag) => ({ tag, setAttribute(name, value) { this[name] = value; }, append() {} }),
  querySelector: () => null, addEventListener() {} };
globalThis.localStorage = { getItem: () => null, setItem() {} };
globalThis.navigator = { language: "en" };
globalThis.matchMedia = () => ({ matches: false, addEventListener() {} });
const { Composer } = await import(pathToFileURL(process.argv[2]).href);
const $ = document.getElementById;
const models = JSON.parse(process.argv[3]);
const form = Object.create(Composer.prototype);
Object.assign(form, { source: { audio: null }, _lane: { chords: [] }, _kind: "music" });
form._get = () => "music";
form._offer = function () { this._offerDecoders(); };
form._show = () => {};
form.setModels(models);
const offered = $("decoder").options.map((one) => one.value);
const hidden = $("decoder").closest().hidden;
const plain = form._body("rain").decoder ?? null;
$("decoder").value = offered.at(-1);
const chosen = form._body("rain").decoder ?? null;
console.log(JSON.stringify({ offered, hidden, plain, chosen, models: form._models.map((one) => one.id) }));
"""


def _entry(name: str, kind: str, rate: int | None) -> dict[str, object]:
    return {"id": name, "kind": kind, "takes": [], "sample_rate": rate, "default": kind == "music"}


@pytest.mark.parametrize("has_one", [True, False])
def test_the_page_offers_a_decoder_where_the_server_has_one(has_one: bool, tmp_path: Path) -> None:
    """Not as a model that makes music, not one for another codec, and nothing at all where there are codecs alone."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node")
    for name in FILES:
        (tmp_path / name).write_bytes(static_files()[name].content)
    (tmp_path / "package.json").write_text('{"type": "module"}', "utf-8")
    (tmp_path / "ask.mjs").write_text(_COMPOSER, "utf-8")
    models = [
        _entry("fake", "music", 24000),
        _entry("codec", "codec", 24000),
        _entry("far", "decoder", 32000),
    ]
    models += [_entry("bands", "decoder", 24000)] if has_one else []
    command = [node, "ask.mjs", "./composer.js", json.dumps(models)]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout)
    assert found["models"] == ["fake"] and found["plain"] is None
    assert found["offered"] == (["", "bands"] if has_one else [""])
    assert found["hidden"] is not has_one
    assert found["chosen"] == ("bands" if has_one else None)


def test_a_decoder_is_listed_and_taken_and_a_model_is_none(config: ServingConfig) -> None:
    """What the page's switch asks for."""
    bands = ModelFacts(name="bands", family="encodec", kind="diffusion", decodes=True)
    catalogue = Catalogue(config, models={**FACTS, "bands": bands})
    with TestClient(create_app(FakeEngine(), config, catalogue=catalogue)) as client:
        listed = {one["id"]: one["kind"] for one in client.get("/v1/models").json()["data"]}
        assert listed["bands"] == "decoder" and listed["codec"] == "codec"
        body = {"prompt": "rain", "duration": 1}
        made = client.post("/v1/generations", json={**body, "decoder": "bands"})
        assert made.status_code in (201, 202), made.text
        refused = client.post("/v1/generations", json={**body, "decoder": "fake"})
        assert refused.status_code == 422 and refused.json()["field"] == "decoder"


def test_the_files_are_small() -> None:
    # Scripts, styles and the words of every language; a first visit loads them once.
    assert sum(len(file.content) for file in static_files().values()) < 330_000
