// The form of a song: sections with words of their own, in one key and tempo. What was made once is not made again: a
// song that is changed here is based on the one before.

import { Complaint } from "./complaint.js";
import { $, announce, h, icon, pitch, seconds } from "./dom.js";
import { read, write } from "./store.js";
import { IDEAS_OF_SONGS, KEYS } from "./words.js";
import { say } from "./language.js";

const NAMES = ["Intro", "Verse", "Chorus", "Verse 2", "Chorus 2", "Bridge", "Chorus 3", "Outro"];
const BARS = [1, 2, 4, 8, 12, 16, 24, 32];
const USUAL_BARS = 4;
const KEPT = ["chords", "seed", "transition", "gain_db", "pan", "layers"]; // of a section, beside what is typed

const kindOf = (name) => name.toLowerCase().replace(/[\s\d._-]+$/, "");
const fresh = (name, prompt = "") => ({ name, prompt, bars: USUAL_BARS });
const drawSeed = () => Math.floor(Math.random() * 2 ** 31);
const newSet = () => Math.random().toString(36).slice(2, 12);

export class SongForm {
  /** @param {(body: object) => Promise<object>} make asks for a song -> its piece */
  constructor(make) {
    this._make = make;
    this._base = null; // the song that is changed here
    this._complaint = new Complaint("song-form", "song-error");
    $("song-key").append(h("option", { value: "" }, "from the words"), ...KEYS.map((key) => h("option", { value: key }, pitch(key))));
    $("song-ideas").replaceChildren(...Object.entries(IDEAS_OF_SONGS).map(([name, words]) => h("button", { type: "button", onclick: () => this._begin(words) }, name)));
    $("song-form").addEventListener("submit", (event) => { event.preventDefault(); this.submit(); });
    $("song-form").addEventListener("keydown", (event) => this._key(event));
    $("song-form").addEventListener("input", () => this._keep());
    $("song-add").addEventListener("click", () => this._add());
    $("song-new").addEventListener("click", () => { this._base = null; this._fill({}); this._draw(); $("song-parts").querySelector("textarea").focus(); });
    const { sections, ...known } = read("song", {});
    this._sections = sections?.length ? sections : [fresh(say("Verse")), fresh(say("Chorus"))];
    this._fill(known);
    this._draw();
  }

  focus() { $("song-parts").querySelector("textarea").focus(); }

  /** Put a song into the form: what is changed there is all that is made. */
  fill(generation) {
    const { request } = generation;
    this._base = generation;
    this._sections = request.sections.map((section) => ({ ...section }));
    this._fill(request);
    this._draw();
  }

  async submit() {
    const empty = this._sections.findIndex((section) => !section.prompt.trim());
    if (empty >= 0) { this._complain(`Say in a few words what “${this._sections[empty].name}” sounds like.`, $("song-parts").children[empty].querySelector("textarea")); return; }
    if (!$("song-tempo").validity.valid) { this._complain("Tempo is from 40 to 240 bpm.", $("song-tempo")); return; }
    this._complain("");
    $("song-make").disabled = true;
    try {
      const made = await this._make(this._body()).catch((error) => {
        if (error.field !== "base") throw error;
        this._base = null; // it was deleted meanwhile: all is made again
        return this._make(this._body());
      });
      this.fill(made);
      this._keep();
    } catch (error) {
      this._complaint.tell(error, this._fieldOf(error.field ?? ""));
    } finally {
      $("song-make").disabled = false;
    }
  }

  /** The request: what nobody touched since the song before is as it was there. */
  _body() {
    const before = this._base?.request ?? {};
    const said = { tempo: Number($("song-tempo").value) || null, key: $("song-key").value || null, chords: $("song-chords").value.trim() };
    const newKey = said.key !== (before.key ?? null), newChords = said.chords !== (before.chords ?? []).join(" ");
    const sections = this._sections.map((section) => {
      const kept = Object.fromEntries(KEPT.filter((name) => section[name] !== undefined && section[name] !== null).map((name) => [name, section[name]]));
      if (newKey || newChords) delete kept.chords; // they were in the other key
      return { name: section.name.trim() || "A", prompt: section.prompt.trim(), bars: section.bars, ...kept };
    });
    const seed = $("song-seed").value ? Number($("song-seed").value) : before.seed;
    return {
      kind: "song", sections, ...(said.tempo && { tempo: said.tempo }), ...(said.key && { key: said.key }), ...(said.chords && !(newKey && !newChords) && { chords: said.chords }),
      ...(before.beats_per_bar && { beats_per_bar: before.beats_per_bar }), ...(before.effects?.length && { effects: before.effects }),
      ...(seed !== undefined && { seed }), ending: $("song-ending").value || null, stems: $("song-stems").checked,
      metadata: { set: newSet(), ...before.metadata }, ...(this._base && { base: this._base.id, model: before.model }),
    };
  }

  _begin(words) {
    this._base = null;
    this._sections = words.map(([name, prompt]) => fresh(say(name), say(prompt)));
    this._fill({});
    this._draw();
    this._keep();
    $("song-make").focus();
  }

  _add() {
    const taken = this._sections.map((section) => section.name);
    const name = NAMES.map(say).find((one) => !taken.includes(one) && one !== say("Intro")) ?? `${say("Part")} ${this._sections.length + 1}`;
    const like = this._sections.find((section) => kindOf(section.name) === kindOf(name));
    this._sections.push({ ...fresh(name, like?.prompt ?? ""), ...(like && { bars: like.bars, chords: like.chords }) });
    this._draw();
    this._keep();
    $("song-parts").lastElementChild.querySelector("textarea").focus();
    announce(`${name} was added`);
  }

  _remove(index) {
    const [gone] = this._sections.splice(index, 1);
    this._draw();
    this._keep();
    ($("song-parts").children[Math.min(index, this._sections.length - 1)]?.querySelector("textarea") ?? $("song-add")).focus();
    announce(`${gone.name} was removed`);
  }

  _move(index, step) {
    const to = index + step;
    if (to < 0 || to >= this._sections.length) return;
    this._sections.splice(to, 0, ...this._sections.splice(index, 1));
    this._draw();
    this._keep();
    $("song-parts").children[to].querySelector(step < 0 ? ".up" : ".down").focus();
    announce(`${this._sections[to].name} is now number ${to + 1}`);
  }

  /** Only this section once more, with another seed. */
  _again(index) {
    this._sections[index].seed = drawSeed();
    return this.submit();
  }

  _key(event) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); this.submit(); }
    const row = event.target.closest(".part");
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!row || !event.altKey || !step) return;
    event.preventDefault();
    this._move([...$("song-parts").children].indexOf(row), step);
  }

  _draw() {
    $("song-parts").replaceChildren(...this._sections.map((section, index) => this._row(section, index)));
    $("song-base").hidden = !this._base;
    $("song-ideas").hidden = Boolean(this._base);
    this._say();
  }

  _row(section, index) {
    const { name } = section;
    const button = (kind, picture, label, action, more = {}) => h("button", { type: "button", class: `quiet icon ${kind}`, "aria-label": label, title: label, onclick: action, ...more }, icon(picture));
    const bars = h("select", { class: "bars", "aria-label": `Length of “${name}”`, onchange: ({ target }) => { section.bars = Number(target.value); this._keep(); } },
      ...[...new Set([...BARS, section.bars])].sort((one, other) => one - other).map((count) => h("option", { value: count, selected: count === section.bars }, count === 1 ? "1 bar" : `${count} bars`)));
    const words = h("textarea", { rows: 2, maxlength: 4096, "aria-label": `What “${name}” sounds like`, placeholder: index ? "The same with drums and strings" : "Calm piano", oninput: ({ target }) => { section.prompt = target.value; this._say(); } });
    words.value = section.prompt;
    const title = h("input", { type: "text", class: "name", maxlength: 60, "aria-label": `Name of section ${index + 1}`, oninput: ({ target }) => { section.name = target.value; }, onchange: () => this._draw() });
    title.value = name;
    return h("li", { class: "part" },
      h("div", { class: "part-head" }, title, bars,
        button("up", "up", `Move “${name}” up`, () => this._move(index, -1), { disabled: index === 0 }),
        button("down", "down", `Move “${name}” down`, () => this._move(index, 1), { disabled: index === this._sections.length - 1 }),
        button("bin", "trash", `Remove “${name}”`, () => this._remove(index), { disabled: this._sections.length === 1 })),
      words,
      h("p", { class: "part-foot" }, h("small", {}), h("button", { type: "button", class: "link again", title: "Only this section, with another seed", onclick: () => this._again(index) }, "Another take")));
  }

  /** What becomes of each section: it stays, or it is made. */
  _say() {
    const before = new Map((this._base?.request.sections ?? []).map((section) => [section.name, section]));
    const same = (section) => { const was = before.get(section.name); return was && was.prompt === section.prompt.trim() && was.bars === section.bars && (was.seed ?? null) === (section.seed ?? null); };
    const whole = this._base && (($("song-key").value || null) !== this._base.request.key || Number($("song-tempo").value) !== this._base.request.tempo || $("song-chords").value.trim() !== this._base.request.chords.join(" "));
    [...$("song-parts").children].forEach((row, index) => {
      const stays = this._base && !whole && same(this._sections[index]);
      row.querySelector("small").textContent = this._base ? (stays ? "stays as it is" : "is made anew") : "";
      row.querySelector(".again").hidden = !stays;
      row.querySelector(".part-foot").hidden = !this._base;
    });
    const tempo = Number($("song-tempo").value) || 0, beats = this._base?.request.beats_per_bar ?? 4;
    const bars = this._sections.reduce((sum, section) => sum + section.bars, 0);
    const long = tempo ? seconds(Math.round((bars * beats * 60) / tempo)) : null;
    $("song-length").textContent = [bars === 1 ? "1 bar" : `${bars} bars`, long].filter(Boolean).join(" · ");
    $("song-make").querySelector("span").textContent = this._base ? "Make what changed" : "Make the song";
  }

  _fill({ tempo, key, chords, ending = "ring", seed, stems }) {
    $("song-tempo").value = tempo ?? "";
    $("song-key").value = KEYS.includes(key) ? key : "";
    $("song-chords").value = Array.isArray(chords) ? chords.join(" ") : chords ?? "";
    $("song-ending").value = ending ?? "";
    $("song-seed").value = seed ?? "";
    $("song-stems").checked = Boolean(stems);
  }

  _keep() {
    write("song", { sections: this._sections, tempo: $("song-tempo").value, key: $("song-key").value, chords: $("song-chords").value, ending: $("song-ending").value });
    this._say();
  }

  /** The field that a name of the request means, such as sections.1.prompt. */
  _fieldOf(name) {
    const [first, index, part] = name.split(/[.[\]]+/);
    const row = first === "sections" ? $("song-parts").children[Number(index)] : null;
    if (row) return row.querySelector({ name: ".name", bars: ".bars" }[part] ?? "textarea");
    return { sections: $("song-parts").querySelector("textarea"), tempo: $("song-tempo"), key: $("song-key"), chords: $("song-chords"), ending: $("song-ending"), seed: $("song-seed") }[first] ?? null;
  }

  _complain(text, place = null) { this._complaint.say(text, place); }
}
