// The form: from words, switches and perhaps some audio to requests. What nobody touched is left out of them, so that
// the server's models use what suits them.

import { Complaint } from "./complaint.js";
import { $, adaptedName, calm, h, paintRange, pitch, seconds } from "./dom.js";
import { ChordLane, namedTempo } from "./lane.js";
import { decodersFor } from "./decoders.js";
import { AudioSource } from "./source.js";
import { draft, read, write } from "./store.js";
import { capital, ideasFor, KEYS, surprise, wordsOf } from "./words.js";

const DEFAULTS = { kind: "music", variations: "1", duration: "10", tempo: "", key: "", chords: "", "lane-text": "", strength: "", "top-k": "", passes: "", spans: "", solver: "", "flow-steps": "", "best-of": "", budget: "", decoder: "", seed: "" };
const OWN = { temperature: 1, guidance: 3 }; // sliders that stand at the model's own value until they are moved
const RANGES = { temperature: 2, guidance: 10 }; // where they end, unless a model's own value lies beyond
// Fields that stand empty for what suits the model: the setting that each is, and how it is read.
const SETTINGS = {
  "top-k": ["top_k", Number], passes: ["decoding_steps", (text) => text.split(/[\s,]+/).filter(Boolean).map(Number)], spans: ["span_arrangement", String],
  solver: ["flow_solver", String], "flow-steps": ["flow_steps", Number],
};
const EFFORT = { "best-of": ["takes", Number], budget: ["budget", String] }; // how much is done for a piece
const TOKENS = { temperature: 1, top_k: 250, top_p: 0 }; // of models whose server does not say
const NUMBERS = { tempo: ["Tempo", "bpm"], strength: ["Strength", ""], "top-k": ["Top k", ""], "flow-steps": ["Steps", ""] };
const FIELDS = { decoding_steps: "passes", span_arrangement: "spans", flow_solver: "solver", flow_steps: "flow-steps", adapters: "model", tempo: "tempo", key: "key", chords: "chords", prompt: "prompt", duration: "duration", temperature: "temperature", guidance: "guidance", top_k: "top-k", seed: "seed", model: "model", audio: "pick", takes: "best-of", budget: "budget", decoder: "decoder" };

/** The slider's steps: single seconds to half a minute, then five at a time, then fifteen. */
const lengthOf = (step) => (step <= 30 ? step : step <= 36 ? 30 + 5 * (step - 30) : 60 + 15 * (step - 36));
const stepOf = (length) => (length <= 30 ? Math.max(1, Math.round(length)) : length <= 60 ? 30 + Math.ceil((length - 30) / 5) : Math.min(52, 36 + Math.ceil((length - 60) / 15)));

/** Words by which the page knows pieces that belong together. */
const newSet = () => Math.random().toString(36).slice(2, 12);

export class Composer {
  /** @param {(bodies: object[]) => Promise<void>} generate */
  constructor(generate) {
    this._generate = generate;
    this._models = this._decoders = [];
    this.source = new AudioSource();
    this._complaint = new Complaint("composer", "composer-error");
    this._lane = new ChordLane($("lane"), $("lane-text"));
    this._lane.addEventListener("change", () => { this._show(); this._keep(); });
    this.source.addEventListener("change", () => this._show());
    this.source.addEventListener("problem", ({ detail }) => this._complain(detail));
    this.source.addEventListener("model", ({ detail: { id, use } }) => { $("model").value = id; this._offerWords(wordsOf(this.model, this._get("kind"))); this._show(); this.source.choose(use); this._show(); this._keep(); });
    $("key").append(h("option", { value: "" }, "from the prompt"), ...KEYS.map((key) => h("option", { value: key }, pitch(key))));
    this._drafts = { music: "", sound: "", ...draft.read() }; // what was written for each kind
    this._wire();
    this._restore();
    this._offer();
    this._show();
  }

  /** What may be asked: models, and each of them with an adapter on it. */
  setModels(models, adapters = []) {
    const own = models.filter((model) => !["codec", "decoder"].includes(model.kind));
    this._decoders = models.filter((model) => model.kind === "decoder");
    const on = (base) => adapters.filter((one) => one.base === base.id).map((one) => ({ ...base, id: adaptedName(base.id, one.id), base: base.id, adapter: one.id, default: false }));
    this._models = own.flatMap((model) => [model, ...on(model)]);
    this._offer();
    this._show();
  }

  focus() { $("prompt").focus(); $("prompt").select(); }

  /** Put the settings of a piece into the form; its seed only if asked for. */
  fill(generation, { seed = true } = {}) {
    const { request = {} } = generation;
    this._kindIs(this.kindOf(generation));
    const [adapter] = request.adapters ?? [];
    const model = this._models.find((one) => one.id === (adapter ? adaptedName(generation.model, adapter.name) : generation.model));
    $("model").value = model && model.id !== this._standard?.id ? model.id : "";
    $("strength").value = adapter && adapter.strength !== 1 ? String(adapter.strength) : "";
    $("prompt").value = generation.prompt;
    this._remember();
    $("duration").value = stepOf(generation.duration);
    for (const id of Object.keys(OWN)) this._move(id, (request[id] ?? null) === this._ownOf(id) ? null : request[id] ?? null);
    for (const [id, [name]] of Object.entries(SETTINGS)) {
      const said = request[name] ?? null;
      $(id).value = said === null || String(said) === String(this._settings[name]) ? "" : String(said);
    }
    for (const [id, [name]] of Object.entries(EFFORT)) {
      const said = String(request[name] ?? "");
      $(id).value = [...$(id).options].some((one) => one.value === said) ? said : "";
    }
    this._offerDecoders(request.decoder ?? "");
    this._fillPlan(request.plan ?? {});
    $("lane-text").value = (request.chords ?? []).filter(({ chord }) => chord).map(({ at, chord }) => `${chord}:${at}`).join(" ");
    $("seed").value = seed ? String(generation.seed) : "";
    this._show();
  }

  /** What was set of tempo, key and chords; what only the words said stays with the words. */
  _fillPlan({ tempo, key, chords }) {
    $("tempo").value = tempo ?? "";
    $("key").value = KEYS.includes(key) ? key : "";
    const names = Array.isArray(chords) ? chords.map((one) => one.chord ?? one) : [chords];
    $("chords").value = names.filter(Boolean).join(" ");
  }

  /** What a piece is, music or sound: one that goes on from audio, or follows it, is what its model makes. */
  kindOf(generation) {
    if (["music", "sound"].includes(generation.kind)) return generation.kind;
    return this._models.find((one) => one.id === generation.model)?.kind === "sound" ? "sound" : "music";
  }

  /** Continue a piece: with its model, where that goes on from audio, and its words, and longer. */
  extend(generation) {
    this.fill(generation, { seed: false });
    if (this.model && !this.model.takes.includes("continuation")) $("model").value = "";
    return this.source.take(generation, "continuation");
  }

  /** Another model, and the words of a piece that it knows. */
  offerTo(generation, { model: id, words }) {
    const model = this._models.find((one) => one.id === id || one.id.split("/").pop() === id);
    const prompt = words?.length ? capital(words.join(" and ")) : generation.prompt;
    this.fill({ ...generation, prompt, kind: model?.kind === "sound" ? "sound" : "music", model: model?.id ?? generation.model, request: {} }, { seed: false });
    $("generate").focus();
  }

  attach(file, use) { return this.source.attach(file, use); }

  async submit() {
    if ($("generate").disabled) return;
    this._complain("");
    const prompt = $("prompt").value.trim();
    if (this._wrongNumber()) return;
    if (!prompt && !this.source.audio && !this._plan() && !this._follows) { this._complain("Say in a few words what it should sound like.", "prompt"); return; }
    $("generate").disabled = true;
    try {
      const count = Number(this._get("variations"));
      const first = $("seed").value ? Number($("seed").value) : null;
      const set = newSet();
      const bodies = Array.from({ length: count }, (_, index) => ({ ...this._body(prompt), metadata: { set, ...this._from() }, ...(first === null ? {} : { seed: first + index }) }));
      await this._generate(bodies);
      this._keep();
    } catch (error) {
      const places = (error.field ?? "").split(".");
      this._complaint.tell(error, $(places[0] === "chords" ? "lane-text" : FIELDS[places[0] === "plan" ? places[1] ?? "chords" : places[0]]));
    } finally {
      $("generate").disabled = false;
    }
  }

  /** The model that would be asked. */
  get model() { return this._models.find((model) => model.id === $("model").value) ?? this._standard; }

  _body(prompt) {
    const body = { kind: this._get("kind"), prompt, duration: this._length };
    for (const id of Object.keys(OWN)) if (!this._isOwn(id) && this._has(id)) body[id] = Number($(id).value);
    for (const [id, [name, read]] of Object.entries(SETTINGS)) if ($(id).value !== "" && name in this._settings) body[name] = read($(id).value);
    for (const [id, [name, read]] of Object.entries(EFFORT)) if ($(id).value) body[name] = read($(id).value);
    if ($("decoder").value) body.decoder = $("decoder").value;
    // Audio to start from says what kind it is, but not that sounds are wanted: then the model does.
    const model = $("model").value || (this.source.audio && body.kind === "sound" ? this._standard?.id : "");
    if (this.model?.adapter) {
      body.model = this.model.base;
      body.adapters = [{ name: this.model.adapter, ...($("strength").value && { strength: Number($("strength").value) }) }];
    } else if (model) body.model = model;
    if (this.source.audio) {
      body.kind = this.source.use;
      const { upload, generation } = this.source.audio;
      body.audio = upload ? { upload } : { generation };
    }
    const plan = this._plan();
    if (plan) body.plan = plan;
    if (this._follows) body.chords = this._lane.chords;
    return body;
  }

  /** Whether the model follows chords at their times, and some are given. */
  get _follows() { return this.model?.takes.includes("chords") && this._get("kind") !== "sound" && this._lane.chords.length > 0; }

  /** Tempo, key and chords as they were set; they count more than the words. */
  _plan() {
    if (!this._takes("plan") || this._get("kind") === "sound") return null;
    const chords = $("chords").value.trim();
    const plan = { ...($("tempo").value && { tempo: Number($("tempo").value) }), ...($("key").value && { key: $("key").value }), ...(chords && { chords }) };
    return Object.keys(plan).length ? plan : null;
  }

  /** For pieces that go on from audio: where. */
  _from() { return this.source.audio && this.source.use === "continuation" ? { from: String(Math.round(100 * this.source.audio.seconds) / 100) } : {}; }

  /** Complain about a number that is none, or too large, or too small -> whether there was one. */
  _wrongNumber() {
    for (const [id, [name, unit]] of Object.entries(NUMBERS)) {
      const input = $(id);
      if (input.closest("[hidden]") || input.validity.valid) continue;
      const said = input.validity.badInput ? "that is not a number" : `not ${input.value}`;
      this._complain(`${name} is ${input.step === "1" ? "a whole number " : ""}from ${Number(input.min).toLocaleString("en")} to ${Number(input.max).toLocaleString("en")} ${unit}`.trim() + `, ${said}.`, id);
      return true;
    }
    return false;
  }

  get _length() { return lengthOf(Number($("duration").value)); }

  /** The model of requests that name none; a server without one for sounds lets the one for music make them. */
  get _standard() {
    const standards = this._models.filter((model) => model.default);
    return standards.find((model) => model.kind === this._get("kind")) ?? standards[0];
  }
  _takes(what) { return !this.model || what.split(" ").some((one) => this.model.takes.includes(one)); }
  /** What the model lets one set, and what holds where nobody does. */
  get _settings() { return this.model?.settings ?? TOKENS; }
  _has(setting) { return setting === "guidance" || setting in this._settings; }

  /** Offer the models and ideas for what is to be made. */
  _offer() {
    const kind = this._get("kind");
    const chosen = $("model").value || read("model", "");
    const fitting = this._models.filter((model) => model.kind === kind);
    const standard = this._standard;
    $("model").replaceChildren(h("option", { value: "" }, standard ? `${standard.id.split("/").pop()} (default)` : "Default"),
      ...(fitting.length ? fitting : this._models).filter((model) => model !== standard).map((model) => h("option", { value: model.id }, model.id)));
    $("model").value = [...$("model").options].some((option) => option.value === chosen) ? chosen : "";
    $("prompt").placeholder = ideasFor(kind)[0][1];
    const chip = (name, words, more = {}) => h("button", { type: "button", title: words, onclick: () => this._write(words ?? surprise(this._get("kind"), this.model)), ...more }, name);
    $("ideas").replaceChildren(...ideasFor(kind).map(([name, words]) => chip(name, words)), chip("Surprise me", undefined, { class: "surprise", title: "A prompt nobody wrote" }));
    this._offerWords(wordsOf(this.model, kind));
    this._offerDecoders();
  }

  /** What else may turn the model's codes into audio; nothing is shown where the server has only codecs. */
  _offerDecoders(chosen = $("decoder").value || read("choices", {}).decoder) {
    const fitting = decodersFor(this.model, this._decoders);
    $("decoder").replaceChildren(h("option", { value: "" }, "its codec (default)"), ...fitting.map(({ id }) => h("option", { value: id }, id.split("/").pop())));
    $("decoder").value = fitting.some(({ id }) => id === chosen) ? chosen : "";
    $("decoder").closest(".field").hidden = !fitting.length;
  }

  /** Everything a bundled model understands, to be put together by clicks. */
  _offerWords(words) {
    $("words").hidden = !words;
    if (!words) return;
    const chip = (word) => h("button", { type: "button", onclick: () => this._append(word) }, word);
    $("words-groups").replaceChildren(...words.groups.map(([name, all]) => h("div", { role: "group", "aria-label": name }, h("p", { class: "group", "aria-hidden": "true" }, name), h("div", { class: "chips" }, ...all.map(chip)))));
    $("words-about").textContent = words.about;
  }

  /** Keep what is written: another kind of piece has words of its own, and a reload loses nothing. */
  _remember() {
    this._drafts[this._get("kind")] = $("prompt").value;
    draft.write(this._drafts);
  }

  _write(words) { $("prompt").value = words; this._remember(); this._show(); $("prompt").focus(); }
  _append(word) { const now = $("prompt").value.trim(); $("prompt").value = now ? `${now.replace(/[,.]$/, "")}, ${word}` : capital(word); this._remember(); this._show(); }

  _show() {
    const kind = this._get("kind");
    $("ideas").classList.toggle("brief", $("prompt").value.length > 0); // then a surprise is all that is offered
    $("duration-shown").textContent = seconds(this._length);
    $("duration").setAttribute("aria-valuetext", `${this._length} seconds`);
    for (const id of Object.keys(OWN)) this._showOwn(id);
    document.querySelectorAll("#composer input[type=range]").forEach(paintRange);
    document.querySelectorAll("[data-needs]").forEach((field) => { field.hidden = !this._takes(field.dataset.needs) || kind === "sound"; });
    this._showSettings();
    $("strength").closest(".field").hidden = !this.model?.adapter;
    this._lane.read(this._length, Number($("tempo").value) || namedTempo($("prompt").value));
    const changed = ["tempo", "key", "chords", "lane-text", "seed", "model", "strength", "decoder", ...Object.keys(SETTINGS), ...Object.keys(EFFORT)].filter((id) => $(id).value && !$(id).closest("[hidden]")).length + Object.keys(OWN).filter((id) => !this._isOwn(id) && this._has(id)).length;
    $("fine-summary").textContent = changed ? `${changed} changed` : "";
    $("reset").hidden = !changed;
    $("model-name").textContent = this.model?.id.split("/").pop() ?? "Models";
    this._showUse();
  }

  /** Only what the model lets one set, and in empty fields what it does by itself. */
  _showSettings() {
    document.querySelectorAll("[data-has]").forEach((field) => { field.hidden = !this._has(field.dataset.has); });
    for (const [id, [name]] of Object.entries(SETTINGS)) {
      const own = this._settings[name];
      if (own === undefined) continue;
      const shown = Array.isArray(own) ? own.join(", ") : String(own);
      if ($(id).tagName === "SELECT") $(id).options[0].textContent = `${shown} (default)`;
      else $(id).placeholder = shown;
    }
  }

  // A slider nobody moved stands where the model would be anyway, and says so.
  _isOwn(id) { return $(id).dataset.own !== undefined; }
  _ownOf(id) { return (id === "guidance" ? this.model?.guidance : this._settings[id]) ?? OWN[id]; }
  _move(id, value) {
    if (value === null) $(id).dataset.own = "";
    else { delete $(id).dataset.own; $(id).value = value; }
  }
  _showOwn(id) {
    $(id).max = String(Math.max(RANGES[id], 2 * this._ownOf(id)));
    if (this._isOwn(id)) $(id).value = this._ownOf(id);
    const known = id !== "guidance" || !this.model || this.model.guidance !== null;
    const shown = Number($(id).value).toFixed(id === "guidance" ? 1 : 2);
    $(`${id}-shown`).textContent = this._isOwn(id) ? (known ? `${shown} (default)` : "default") : shown;
    $(id).setAttribute("aria-valuetext", this._isOwn(id) ? `${known ? shown : ""} the model's own` : shown);
  }

  _showUse() {
    const { audio } = this.source;
    this.source.allow(this.model, this._models);
    const hint = [];
    if (audio && this.source.use === "continuation") {
      if (this._length <= audio.seconds) {
        $("duration").value = stepOf(audio.seconds + 10);
        $("duration-shown").textContent = seconds(this._length);
        paintRange($("duration"));
      }
      hint.push(`It comes first, then ${seconds(this._length - audio.seconds)} more.`);
    }
    $("use-hint").hidden = !hint.length;
    $("use-hint").textContent = hint.join(" ");
  }

  _wire() {
    const form = $("composer");
    form.addEventListener("submit", (event) => { event.preventDefault(); this.submit(); });
    form.addEventListener("input", ({ target }) => {
      if (target.id === "prompt") this._remember(); if (target.id in OWN) this._move(target.id, target.value); this._show(); });
    form.addEventListener("change", ({ target }) => {
      if (target.id === "model") { this._offerWords(wordsOf(this.model, this._get("kind"))); this._offerDecoders(); }
      this._show();
      this._keep();
    });
    $("kind").addEventListener("change", ({ target }) => {
      if (!(target.value in this._drafts)) return; // another form's
      $("model").value = "";
      write("model", "");
      this._kindIs(target.value);
      this._show();
      this._keep();
    });
    // On a phone's keyboard Enter says Go; on others it begins a new line.
    const touch = matchMedia("(pointer: coarse)");
    $("prompt").addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.isComposing || !(event.ctrlKey || event.metaKey || (touch.matches && !event.shiftKey))) return;
      event.preventDefault();
      if (touch.matches) $("prompt").blur(); // the keyboard makes room
      this.submit();
    });
    $("dice").addEventListener("click", () => { $("seed").value = String(Math.floor(Math.random() * 2 ** 31)); this._show(); });
    $("seed").addEventListener("input", () => { $("seed").value = $("seed").value.replace(/\D/g, ""); });
    $("reset").addEventListener("click", () => {
      const { kind, variations, duration, ...fine } = DEFAULTS;
      this._fill({ ...fine, temperature: null, guidance: null });
      $("model").value = "";
      this._show();
      this._keep();
      $("fine").querySelector("summary").focus();
    });
    for (const id of ["words", "fine"]) $(id).addEventListener("toggle", () => { if ($(id).open) $(id).scrollIntoView({ block: "nearest", behavior: calm() ? "instant" : "smooth" }); });
    if (/Mac|iPhone|iPad/.test(navigator.platform)) $("generate-key").textContent = "⌘ Enter";
  }

  _complain(text, field = null) { this._complaint.say(text, field && $(field)); }

  _get(name) {
    const { value } = document.querySelector(`input[name=${name}]:checked`);
    if (name !== "kind") return value;
    if (value in this._drafts) this._kind = value; // while another form is there, what this one had
    return this._kind ?? "music";
  }
  _set(name, value) { document.querySelector(`input[name=${name}][value="${CSS.escape(value)}"]`).checked = true; }

  /** What is to be made, with what was last written for it. */
  _kindIs(kind) {
    this._set("kind", kind);
    $("prompt").value = this._drafts[kind];
    this._offer();
  }

  _fill(values) {
    for (const [name, value] of Object.entries(values)) {
      if (name === "kind" || name === "variations") this._set(name, value);
      else if (name in OWN) this._move(name, value);
      else if ($(name)) $(name).value = value;
    }
  }

  _keep() {
    const values = { kind: this._get("kind"), variations: this._get("variations") };
    for (const id of ["duration", "tempo", "key", "chords", "lane-text", "strength", "decoder", ...Object.keys(SETTINGS), ...Object.keys(EFFORT)]) values[id] = $(id).value;
    for (const id of Object.keys(OWN)) values[id] = this._isOwn(id) ? null : $(id).value;
    write("choices", values);
    write("model", $("model").value);
  }

  _restore() {
    const known = { ...DEFAULTS, temperature: null, guidance: null };
    this._fill({ ...known, ...Object.fromEntries(Object.entries(read("choices", {})).filter(([name]) => name in known)) });
    $("prompt").value = this._drafts[this._get("kind")];
  }
}
