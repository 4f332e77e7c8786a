// A part of the piece on the stage that is made anew while the rest stays: by models that fill in, else as an edit.

import { $, announce, seconds } from "./dom.js";
import { canEdit } from "./edit.js";
import { isKept, lengthOf } from "./jobs.js";

const STEP = 0.1, LONG = 1; // seconds that a key moves an edge
const SHORTEST = 0.2, SHORTEST_EDIT = 0.5;

/** Whether a model goes on from audio in its bars and chords, which edits need. */
const goesOn = (model) => model.takes.includes("plan") && model.takes.includes("continuation");

/** Why a piece cannot be redone in part, or an empty text. */
export function refusal(generation, models) {
  const model = models.find((one) => one.id === generation.model);
  const kind = model?.kind ?? (generation.kind === "sound" ? "sound" : "music");
  if (model?.takes.includes("keep") || (kind !== "sound" && canEdit(generation) && models.some(goesOn))) return "";
  const name = generation.model.split("/").pop();
  const others = models.filter((one) => one.takes.includes("keep") && one.kind === kind).map((one) => one.id.split("/").pop());
  return others.length
    ? `${name} makes pieces from start to end, so no part can be redone; ${others[0]} can redo a part of its own.`
    : `${name} makes pieces from start to end, so no part can be redone; a MAGNeT can.`;
}

export class Region {
  /** @param {(body: object) => Promise<void>} redo asks for a piece, of which `keep` stays */
  constructor(redo, jobs) {
    this._redo = redo;
    this._jobs = jobs;
    this._generation = null;
    for (const edge of ["from", "to"]) $(`region-${edge}`).addEventListener("keydown", (event) => this._key(event, edge));
    $("region-go").addEventListener("click", () => this.go());
    $("region-close").addEventListener("click", () => this.close());
    $("wave").addEventListener("pointerdown", (event) => this._mark(event), true);
    $("region-words").addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); this.go(); } });
    $("region-bar").addEventListener("keydown", (event) => { if (event.key === "Escape") { event.stopPropagation(); this.close(); } });
  }

  get open() { return !$("region").hidden; }

  /** Let a part of a piece be marked, from where it plays. */
  start(generation, position, models) {
    if (!isKept(generation)) return;
    $("region-bar").hidden = false;
    const why = refusal(generation, models);
    $("region-go").hidden = $("region-words").hidden = Boolean(why);
    $("region").hidden = Boolean(why);
    $("region-said").textContent = why;
    if (why) { announce(why); $("region-close").focus(); return; }
    this._generation = generation;
    this._fills = Boolean(models.find((one) => one.id === generation.model)?.takes.includes("keep")) && generation.kind !== "edit";
    this._editor = models.find((one) => one.id === generation.model && goesOn(one))?.id;
    this._shortest = this._fills ? SHORTEST : SHORTEST_EDIT;
    $("region-words").value = "";
    this._duration = lengthOf(generation);
    const length = Math.min(2, this._duration / 2);
    this._from = Math.max(0, Math.min(position, this._duration - length));
    this._to = this._from + length;
    this._show();
    $("region-from").focus();
  }

  close() {
    if ($("region-bar").hidden) return;
    $("region").hidden = $("region-bar").hidden = true;
    this._generation = null;
    $("redo").focus();
  }

  /** Close it where another piece is on the stage. */
  follow(generation) { if (this._generation?.id !== generation?.id) { $("region").hidden = $("region-bar").hidden = true; this._generation = null; } }

  async go() {
    const generation = this._generation;
    if (!generation) return;
    const words = $("region-words").value.trim();
    if (!this._fills) {
      const region = { start: Math.round(1000 * this._from) / 1000, end: Math.round(1000 * this._to) / 1000 };
      this.close();
      await this._redo({ kind: "edit", edit: "redo", audio: { generation: generation.id }, region, ...(words && { prompt: words }), ...(this._editor && { model: this._editor }), metadata: await this._jobs.beside(generation) });
      return;
    }
    const { seed, webhook, priority, audio, keep, plan, kind, sections, stride, metadata: { title, ...metadata } = {}, ...request } = generation.request;
    const kept = [[0, this._from], [this._to, this._duration]].filter(([start, end]) => end - start > 0.01).map(([start, end]) => [Math.round(1000 * start) / 1000, Math.round(1000 * end) / 1000]);
    const body = { ...request, kind: kind === "sound" ? "sound" : "music", model: generation.model, duration: this._duration, ...(words && { prompt: words }), metadata };
    if (kept.length) Object.assign(body, { keep: kept, audio: { generation: generation.id } });
    else if (generation.plan) { // nothing is kept that would say its tempo, bars, key and chords
      const { tempo, key, beats_per_bar } = generation.plan;
      body.plan = request.chords?.length ? { tempo, key, beats_per_bar } : generation.plan;
    }
    this.close();
    await this._redo(body);
  }

  /** While a region is open, a pointer on the wave marks another one. */
  _mark(event) {
    if (!this.open || event.button !== 0 || event.target.closest("[role=slider] [role=slider]")) return;
    event.preventDefault();
    event.stopPropagation();
    const box = $("wave").getBoundingClientRect();
    const place = ({ clientX }) => Math.max(0, Math.min(1, (clientX - box.left) / box.width)) * this._duration;
    const from = place(event);
    const move = (moved) => { const to = place(moved); if (Math.abs(to - from) >= this._shortest) [this._from, this._to] = from < to ? [from, to] : [to, from]; this._show(); };
    const stop = () => { document.removeEventListener("pointermove", move); document.removeEventListener("pointerup", stop); document.removeEventListener("pointercancel", stop); };
    document.addEventListener("pointermove", move);
    document.addEventListener("pointerup", stop);
    document.addEventListener("pointercancel", stop);
  }

  _key(event, edge) {
    if (event.key === "Enter") { event.preventDefault(); event.stopPropagation(); this.go(); return; }
    if (event.key === "Escape") { event.stopPropagation(); this.close(); return; }
    const by = { ArrowLeft: -STEP, ArrowRight: STEP, PageDown: -LONG, PageUp: LONG, Home: -Infinity, End: Infinity }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    if (edge === "from") this._from = Math.max(0, Math.min(this._to - this._shortest, this._from + by));
    else this._to = Math.min(this._duration, Math.max(this._from + this._shortest, this._to + by));
    this._show();
  }

  _show() {
    const percent = (second) => `${((100 * second) / this._duration).toFixed(3)}%`;
    $("region").style.left = percent(this._from);
    $("region").style.width = percent(this._to - this._from);
    for (const [edge, second] of [["from", this._from], ["to", this._to]]) {
      const handle = $(`region-${edge}`);
      handle.setAttribute("aria-valuemax", this._duration.toFixed(1));
      handle.setAttribute("aria-valuenow", second.toFixed(1));
      handle.setAttribute("aria-valuetext", seconds(Math.round(10 * second) / 10));
    }
    $("region-said").textContent = `From ${seconds(Math.round(10 * this._from) / 10)} to ${seconds(Math.round(10 * this._to) / 10)}: this is made anew, the rest stays.`;
  }
}
