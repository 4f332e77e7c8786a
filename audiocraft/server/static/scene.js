// Which sounds a piece has and when, or which instruments: a row for each kind, lit while it is heard.

import { h } from "./dom.js";

const MOST_KINDS = 8; // more rows push the wave off the screen
const MOST_EVENTS = 200;
const MOST_BLOCKS = 400;
const LATE = 0.4, EARLY = 0.5; // seconds that nobody misses

const short = (value) => String(Math.round(10 * value) / 10);

export class SceneLane {
  constructor(list) {
    this._list = list;
    this._shown = "";
    this._events = [];
  }

  /**
   * @param {{kind: string, start: number, end: number}[]} events of a piece of so many seconds
   * @param {boolean} music instruments, not shown where all play throughout
   */
  show(events, duration, music = false) {
    const told = events.filter(({ start }) => start < duration);
    const heard = music && told.every(({ start, end }) => start <= LATE && end >= duration - EARLY) ? [] : told;
    this._list.setAttribute("aria-label", music ? "Instruments" : "Sounds");
    const kinds = [...new Set(heard.map(({ kind }) => kind))];
    const shown = JSON.stringify([heard, duration]);
    if (shown === this._shown) return;
    this._shown = shown;
    this._list.hidden = !kinds.length || kinds.length > MOST_KINDS || heard.length > MOST_EVENTS;
    this._events = this._list.hidden ? [] : heard;
    this._rows = new Map(kinds.map((kind) => [kind, this._row(kind, heard.filter((one) => one.kind === kind), duration)]));
    this._list.replaceChildren(...(this._list.hidden ? [] : this._rows.values()));
  }

  _row(kind, events, duration) {
    const times = events.map(({ start, end }) => `${short(start)}–${short(Math.min(end, duration))} s`).join(", ");
    const loud = events.flatMap(({ start, end, bursts }) => (bursts?.length ? bursts : [[start, end]]));
    const row = h("li", { title: `${kind}: ${times}` }, ...loud.slice(0, MOST_BLOCKS).map(([start, end]) => {
      const block = h("i");
      block.style.left = `${(100 * start) / duration}%`;
      block.style.width = `${(100 * (Math.min(end, duration) - start)) / duration}%`;
      return block;
    }), h("span", {}, kind), h("span", { class: "hidden" }, `: ${times}`));
    row.style.setProperty("--from", `${Math.min(80, (100 * events[0].start) / duration)}%`);
    return row;
  }

  /** Light what is heard at this second; nothing with null. */
  light(position) {
    const now = position === null ? [] : this._events.filter(({ start, end }) => start <= position && position < end);
    const kinds = new Set(now.map(({ kind }) => kind));
    for (const [kind, row] of this._rows ?? []) row.classList.toggle("now", kinds.has(kind));
  }
}
