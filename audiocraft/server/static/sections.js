// The sections of a song along its wave: where each begins; pressing one goes there.

import { clock, h } from "./dom.js";
import { say } from "./language.js";

const LEVELS = { calm: "Calm", alert: "Alert", tense: "Tense", battle: "Battle" }; // of tension, in the music of a game

/** [{name, start, end}] in seconds, of a song that is made or will be. */
export function sectionsOf({ kind, request, plan, result }) {
  if (kind === "bank") return (result?.sections ?? []).map((level) => ({ ...level, name: say(LEVELS[level.name] ?? level.name) }));
  const tempo = plan?.tempo ?? request?.tempo, beats = plan?.beats_per_bar ?? request?.beats_per_bar;
  if (kind !== "song" || !tempo || !beats) return [];
  let bars = 0;
  return request.sections.map((section) => {
    const start = (bars * beats * 60) / tempo;
    bars += section.bars;
    return { name: section.name, start, end: (bars * beats * 60) / tempo };
  });
}

export class Sections {
  /** @param {(second: number) => void} seek */
  constructor(list, seek) {
    this._list = list;
    this._seek = seek;
    this._shown = "";
    this._all = [];
    this._lit = -1;
  }

  show(sections) {
    const shown = JSON.stringify(sections);
    if (shown === this._shown) return;
    this._shown = shown;
    this._all = sections;
    this._lit = -1;
    this._list.hidden = !sections.length;
    this._list.replaceChildren(...sections.map(({ name, start, end }) => {
      const cell = h("li", {}, h("button", { type: "button", title: `Go to “${name}”, ${clock(start)}`, onclick: () => this._seek(start) }, name));
      cell.style.setProperty("flex-grow", String(end - start));
      return cell;
    }));
  }

  /** Light the section at this second; none with null. */
  light(position) {
    const now = position === null ? -1 : this._all.findLastIndex(({ start }) => start <= position + 0.001);
    if (now === this._lit) return;
    this._list.children[this._lit]?.classList.remove("now");
    this._list.children[now]?.classList.add("now");
    this._lit = now;
  }
}
