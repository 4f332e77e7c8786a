// What runs along a piece: its chords, the one that sounds lit, and the takes it can be compared with.

import { h } from "./dom.js";
import { isActive } from "./jobs.js";
import { stars } from "./store.js";

const MOST_CHORDS = 40; // more are too narrow to read
const MOST_TAKES = 12;

/** The chords of a plan, each as wide as it is long. */
export class Score {
  constructor(list) {
    this._list = list;
    this._shown = "";
    this._starts = [];
    this._lit = -1;
  }

  show(plan, duration) {
    const chords = (plan?.chords ?? []).filter(([start, name], index, all) => start < duration && name !== all[index - 1]?.[1]);
    const shown = JSON.stringify([chords, duration]);
    if (shown === this._shown) return;
    this._shown = shown;
    this._starts = chords.map(([start]) => Math.max(0, start));
    this._lit = -1;
    this._list.hidden = !chords.length || chords.length > MOST_CHORDS;
    this._list.replaceChildren(...chords.map(([, name], index) => {
      const cell = h("li", {}, name === "N" ? "–" : name.replace("#", "♯").replace(/^([A-G])b/, "$1♭"));
      cell.style.setProperty("flex-grow", String((this._starts[index + 1] ?? duration) - this._starts[index]));
      return cell;
    }));
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
