// All pieces: those of the server, with search, and the recipes of those it has forgotten.

import { get, remove } from "./api.js";
import { $, ago, announce, h, icon, seconds } from "./dom.js";
import { drawOutline } from "./draw.js";
import { isActive, isKept, lengthOf, titleOf } from "./jobs.js";
import { recipes, stars } from "./store.js";

const PAGE = 30;
const POINTS = 26;
const REGRET = 6000; // milliseconds in which a deletion can be taken back
const ASKED_AT_ONCE = 2; // outlines: the other connections are for whoever presses something

export class Library {
  /** @param {{show: Function, play: Function, forget: Function, starred: Function, complain: Function, deleted: Function}} actions */
  constructor(jobs, actions) {
    this._jobs = jobs;
    this._actions = actions;
    this._order = []; // ids, newest first
    this._rows = new Map();
    this._peaks = new Map();
    this._next = null;
    this._current = null;
    this._asked = 0;
    this._playing = null;
    this._deleting = new Map(); // pieces that look deleted and can still be had back
    this._outlines = []; // ids whose outlines are wanted
    this._asking = 0;
    this._seen = new IntersectionObserver((entries) => entries.forEach((entry) => { if (entry.isIntersecting) this._outline(entry.target.dataset.id); }));
    jobs.addEventListener("change", ({ detail }) => this._changed(detail));
    const look = () => actions.complain(this.load());
    $("search").addEventListener("input", () => { clearTimeout(this._typing); this._typing = setTimeout(look, 250); });
    $("filter").addEventListener("change", look);
    $("more").addEventListener("click", () => actions.complain(this.load(true)));
    $("pieces").addEventListener("keydown", (event) => this._key(event));
    $("undo").addEventListener("click", () => this.undo());
    addEventListener("pagehide", () => { for (const id of this._deleting.keys()) this._reallyDelete(id, { last: true }).catch(() => {}); });
  }

  get filter() { return document.querySelector("input[name=filter]:checked").value; }

  /** Ask the server for the newest pieces, or for those after the last one shown. */
  async load(more = false) {
    const asked = ++this._asked;
    const query = new URLSearchParams({ limit: String(PAGE), q: $("search").value.trim() });
    if (more && this._next) query.set("after", this._next);
    if (this.filter === "active") for (const status of ["queued", "starting", "processing"]) query.append("status", status);
    const page = await get(`/v1/generations?${query}`);
    if (asked !== this._asked) return; // typed on meanwhile
    const data = page.data.filter((generation) => !this._deleting.has(generation.id));
    data.forEach((generation) => this._jobs.know(generation));
    const ids = data.map((generation) => generation.id);
    this._order = [...new Set([...(more ? this._order : []), ...ids, ...(more || page.next ? [] : this._forgotten(ids))])];
    this._next = page.next;
    this._draw();
  }

  mark(id) {
    this._current = id;
    for (const [known, row] of this._rows) row.setAttribute("aria-current", String(known === id));
  }

  /** The piece before or after the chosen one. */
  neighbour(step) {
    const shown = this._shown().filter((generation) => !generation.gone);
    const at = shown.findIndex((generation) => generation.id === this._current);
    return shown[at < 0 ? 0 : at + step];
  }

  /** Show which piece sounds; none with null. */
  playing(id) {
    if (id === this._playing) return;
    const both = [this._playing, id];
    this._playing = id;
    both.forEach((one) => this.refresh(one));
  }

  refresh(id) { const row = this._rows.get(id); if (row) this._fill(row, this._find(id)); }

  redraw() { this._peaks.forEach((_, id) => this._paint(id)); }

  /** Recipes of this browser that match and are not on the server any more. */
  _forgotten(ids) {
    const words = $("search").value.trim().toLowerCase().split(/\s+/);
    return recipes.all().filter((recipe) => !ids.includes(recipe.id) && !this._deleting.has(recipe.id) && words.every((word) => recipe.prompt.toLowerCase().includes(word))).map((recipe) => recipe.id);
  }

  _find(id) {
    const known = this._jobs.known.get(id);
    if (known) return known;
    const recipe = recipes.all().find((one) => one.id === id);
    return recipe ? { ...recipe, status: "gone", gone: true, progress: 0 } : null;
  }

  _shown() {
    const pieces = this._order.filter((id) => !this._deleting.has(id)).map((id) => this._find(id)).filter(Boolean);
    if (this.filter === "starred") return pieces.filter((generation) => stars.has(generation.id));
    return this.filter === "active" ? pieces.filter(isActive) : pieces;
  }

  _changed({ generation, fresh }) {
    if (fresh && !this._order.includes(generation.id)) {
      recipes.keep(generation);
      const words = $("search").value.trim().toLowerCase().split(/\s+/);
      const text = `${generation.prompt} ${titleOf(generation)}`.toLowerCase();
      if (!words.every((word) => text.includes(word))) return;
      this._order = [generation.id, ...this._order].sort((one, other) => (one < other ? 1 : -1));
      this._draw();
      return;
    }
    const row = this._rows.get(generation.id);
    if (!row) return;
    if (this.filter === "active" && !isActive(generation)) { this._draw(); return; }
    this._fill(row, generation);
    if (isKept(generation)) this._outline(generation.id);
  }

  _draw() {
    const shown = this._shown();
    const rows = new Map();
    for (const generation of shown) {
      const row = this._rows.get(generation.id) ?? this._row(generation);
      this._fill(row, generation);
      rows.set(generation.id, row);
    }
    this._rows = rows;
    $("pieces").replaceChildren(...rows.values());
    $("more").hidden = !this._next;
    $("pieces-empty").hidden = shown.length > 0;
    $("pieces-empty").textContent = $("search").value.trim() ? "Nothing matches these words." : this.filter === "starred" ? "Star a piece and it is found here." : this.filter === "active" ? "The queue is empty." : "What you make appears here.";
    this.mark(this._current);
  }

  _row(generation) {
    const { id } = generation;
    const canvas = h("canvas", { "aria-hidden": "true" });
    const start = h("button", { type: "button", class: "start", onclick: () => this._actions.play(this._find(id)) }, icon("play"));
    const prompt = h("button", { type: "button", class: "prompt", onclick: () => this._actions.show(this._find(id), false) });
    const star = h("button", { type: "button", class: "quiet icon star", onclick: () => { stars.toggle(id); this._fill(row, this._find(id)); this._actions.starred(); } }, icon("star"));
    const stop = h("button", { type: "button", class: "quiet icon stop", onclick: () => this._actions.complain(this._jobs.cancel(id)) }, icon("stop"));
    const bin = h("button", { type: "button", class: "quiet icon bin", onclick: () => this.delete(id) }, icon("trash"));
    const row = h("li", { class: "piece", "data-id": id }, start, canvas, h("div", { class: "words" }, prompt, h("small", { class: "meta" })), h("div", { class: "do" }, h("span", { class: "badge" }), stop, star, bin));
    this._seen.observe(row);
    return row;
  }

  _fill(row, generation) {
    const active = isActive(generation);
    const part = (name) => row.querySelector(`.${name}`);
    const title = titleOf(generation);
    const playing = generation.id === this._playing;
    row.dataset.state = active ? "active" : generation.status;
    row.style.setProperty("--progress", generation.progress);
    part("prompt").textContent = title;
    part("start").setAttribute("aria-label", generation.gone ? `Make “${title}” again` : `${playing ? "Pause" : "Play"} “${title}”`);
    part("start").querySelector("use").setAttribute("href", generation.gone ? "#i-again" : playing ? "#i-pause" : "#i-play");
    part("start").disabled = !generation.gone && !isActive(generation) && !isKept(generation);
    part("stop").setAttribute("aria-label", `Cancel “${title}”`);
    part("bin").setAttribute("aria-label", `Delete “${title}”`);
    const takes = generation.gone ? [] : this._jobs.takesOf(generation);
    const letter = takes.length > 1 ? `take ${String.fromCharCode(65 + takes.findIndex((take) => take.id === generation.id))}` : null;
    part("meta").textContent = [letter, seconds(generation.gone ? generation.duration : lengthOf(generation)), generation.kind === "music" ? null : generation.kind, `seed ${generation.seed}`, generation.gone ? "only its recipe is left" : ago(generation.created_at)].filter(Boolean).join(" · ");
    const badge = part("badge");
    const text = { queued: generation.position ? `${generation.position} before it` : "waiting", starting: "starting", processing: `${Math.round(100 * generation.progress)} %`, failed: "failed", canceled: "canceled" }[generation.status];
    badge.hidden = !text;
    badge.textContent = text || "";
    badge.dataset.tone = active ? "live" : generation.status === "failed" ? "bad" : "";
    part("stop").hidden = !active;
    part("bin").hidden = active;
    const starred = stars.has(generation.id);
    part("star").classList.toggle("starred", starred);
    part("star").setAttribute("aria-label", `Star “${title}”`);
    part("star").setAttribute("aria-pressed", String(starred));
  }

  _outline(id) {
    const generation = this._jobs.known.get(id);
    if (!generation?.audio?.seconds || this._peaks.has(id) || isActive(generation)) { this._paint(id); return; }
    this._peaks.set(id, []);
    this._outlines.push(id);
    this._ask();
  }

  async _ask() {
    if (this._asking >= ASKED_AT_ONCE || !this._outlines.length) return;
    this._asking++;
    const id = this._outlines.shift();
    try {
      this._peaks.set(id, (await get(`/v1/generations/${id}/peaks?points=${POINTS}`)).peaks);
    } catch {
      this._peaks.delete(id); // asked again when the row is next seen
    }
    this._asking--;
    this._paint(id);
    this._ask();
  }

  _paint(id) {
    const canvas = this._rows.get(id)?.querySelector("canvas");
    if (canvas?.clientWidth) drawOutline(canvas, this._peaks.get(id) ?? []);
  }

  /** Take a piece away; for a moment it can be had back, and only then the server deletes it. */
  delete(id) {
    const piece = this._find(id);
    if (!piece || this._deleting.has(id)) return;
    const next = this._rows.get(id)?.nextElementSibling ?? this._rows.get(id)?.previousElementSibling;
    const timer = setTimeout(() => this._actions.complain(this._reallyDelete(id)), REGRET);
    this._deleting.set(id, { piece, timer });
    this._jobs.forget(id);
    this._actions.forget(id);
    this._draw();
    next?.querySelector(".prompt")?.focus({ preventScroll: true });
    $("toast-text").textContent = `Deleted “${titleOf(piece)}”`;
    this._sayUndo();
  }

  /** Have the piece back that was deleted last -> whether there was one. */
  undo() {
    const [id, { piece, timer }] = [...this._deleting].at(-1) ?? [null, {}];
    if (!id) return false;
    clearTimeout(timer);
    this._recall(id, piece);
    this._rows.get(id)?.querySelector(".prompt").focus({ preventScroll: true });
    announce(`“${titleOf(piece)}” is back`);
    return true;
  }

  /** A piece that another tab or somebody else deleted. */
  drop(id) {
    recipes.drop(id);
    this._order = this._order.filter((known) => known !== id);
    this._peaks.delete(id);
    this._draw();
  }

  async _reallyDelete(id, options) {
    const { piece, timer } = this._deleting.get(id);
    clearTimeout(timer);
    try {
      // What is not there any more is deleted; after any other answer it would come back with the next look.
      if (!piece.gone) await remove(`/v1/generations/${id}`, options).catch((error) => { if (error.status !== 404) throw error; });
    } catch (error) {
      this._recall(id, piece);
      throw error;
    }
    this._deleting.delete(id);
    this.drop(id);
    this._sayUndo();
    this._actions.deleted(id);
  }

  _recall(id, piece) {
    this._deleting.delete(id);
    if (!piece.gone) this._jobs.recall(piece);
    this._draw();
    this._sayUndo();
  }

  _sayUndo() { $("toast").hidden = !this._deleting.size; }

  _key(event) {
    const step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
    const row = event.target.closest(".piece");
    if (!step || !row?.[step]) return;
    event.preventDefault();
    event.stopPropagation();
    row[step].querySelector(".prompt").focus();
  }
}
