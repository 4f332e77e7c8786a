// What runs along a piece: its chords, the one that sounds lit, and the takes it can be compared with.

import { h, pitch } from "./dom.js";
import { isActive } from "./jobs.js";
import { stars } from "./store.js";

const MOST_CHORDS = 40; // more are too narrow to press or see
const MOST_TAKES = 12;

/** The chords of a piece. One that goes on from another has the other's up to there, whatever is planned after it. */
export function chordsOf(generation, source) {
  const own = generation.plan?.chords ?? (generation.request?.chords ?? []).map(({ at, chord }) => [at, chord]);
  const from = Number(generation.metadata?.from ?? 0);
  const earlier = source?.plan?.chords;
  if (!from || !earlier?.length) return own;
  const at = own.findLast(([start]) => start <= from);
  return [...earlier.filter(([start]) => start < from), ...(at ? [[from, at[1]]] : []), ...own.filter(([start]) => start > from)];
}

/** Chords, each as wide as it lasts. */
export class Score {
  constructor(list) {
    this._list = list;
    this._shown = "";
    this._starts = [];
    this._names = [];
    this._lit = -1;
    new ResizeObserver(() => this._fit()).observe(list);
  }

  /** The name of the chord that is lit, or an empty text. */
  get now() { return this._names[this._lit] ?? ""; }

  /** Whether every name can be read where it stands. */
  get legible() { return !this._list.hidden && !this._list.querySelector(".narrow"); }

  show(all, duration) {
    const chords = all.filter(([start, name], index) => start < duration && name !== all[index - 1]?.[1]);
    const shown = JSON.stringify([chords, duration]);
    if (shown === this._shown) return;
    this._shown = shown;
    this._starts = chords.map(([start]) => Math.max(0, start));
    this._names = chords.map(([, name]) => (name === "N" ? "–" : pitch(name)));
    this._lit = -1;
    this._list.hidden = !chords.length || chords.length > MOST_CHORDS;
    this._list.replaceChildren(...this._names.map((name, index) => {
      const cell = h("li", { title: name }, h("span", {}, name));
      cell.style.setProperty("flex-grow", String((this._starts[index + 1] ?? duration) - this._starts[index]));
      return cell;
    }));
    this._fit();
  }

  /** A name without room is not cut: half of G♯m is G♯, which is another chord. */
  _fit() {
    const cells = [...this._list.children];
    for (const cell of cells) cell.classList.remove("narrow");
    const narrow = cells.map((cell) => cell.scrollWidth > cell.clientWidth);
    cells.forEach((cell, index) => cell.classList.toggle("narrow", narrow[index]));
  }

  /** Light the chord at this second; none with null. */
  light(position) {
    const now = position === null ? -1 : this._starts.findLastIndex((start) => start <= position + 0.001);
    if (now === this._lit) return;
    this._list.children[this._lit]?.classList.remove("now");
    this._list.children[now]?.classList.add("now");
    this._lit = now;
  }
}

/** A button for each take of a piece, A, B, C…; pressing one goes on with it at the same moment. */
export class Takes {
  /** @param {(take: object) => void} choose */
  constructor(place, choose) {
    this._place = place;
    this._choose = choose;
    this._all = [];
    this._buttons = [];
  }

  get all() { return this._all; }

  show(takes, current) {
    this._place.hidden = takes.length < 2;
    const same = takes.length === this._all.length && takes.every((take, index) => take.id === this._all[index].id);
    this._all = takes.slice(0, MOST_TAKES);
    if (!same) {
      this._buttons = this._all.map((_, index) => h("button", { type: "button", onclick: () => this._choose(this._all[index]) }, String.fromCharCode(65 + index)));
      this._place.replaceChildren(...this._buttons);
    }
    this._all.forEach((take, index) => {
      const button = this._buttons[index];
      const words = isActive(take) ? `${Math.round(100 * take.progress)} %` : take.status === "succeeded" ? (stars.has(take.id) ? "starred" : "") : take.status;
      button.setAttribute("aria-pressed", String(take.id === current.id));
      button.setAttribute("aria-label", [`Take ${button.textContent}`, `seed ${take.seed}`, words].filter(Boolean).join(", "));
      button.title = `Take ${button.textContent}: seed ${take.seed} (${index + 1})`;
      button.disabled = ["failed", "canceled"].includes(take.status) && !take.audio?.seconds;
      button.classList.toggle("starred", stars.has(take.id));
      button.style.setProperty("--progress", isActive(take) ? take.progress : 1);
    });
  }
}
