// Chords at their times, for models that follow them: typed as text, or moved along the piece by pointer and keys.

import { $, announce, h, pitch, seconds, sentence } from "./dom.js";

const STEP = 0.25, LEAST = 0.1; // seconds that a key moves a chord, and that one lasts at least
const AGAIN = ["%", "/", "-", "."];
const TIMED = /^(\S+?)[:@](\d+(?:\.\d+)?)s?$/;

const NAME = /^(?:N|NC|N\.C\.|[A-G][#b♯♭]?(?:m|min|minor|M|maj|major|-|°|o|ø|\+|5|6|m6|7|m7|min7|-7|maj7|M7|mmaj7|9|m9|maj9|add9|madd9|sus|sus2|sus4|7sus4|dim|dim7|m7b5|aug)?(?:\/[A-G][#b♯♭]?)?)$/; // as music/harmony.py reads them

/** Whether this is the name of a chord. */
export const isChord = (name) => NAME.test(name);

const rounded = (second) => Math.round(20 * second) / 20;

/** The tempo that words name as a number, as in "folk, 96 bpm"; 0 where they name none. */
export const namedTempo = (words) => Number(/(\d{2,3}(?:\.\d+)?)\s*bpm\b/i.exec(words)?.[1] ?? 0);

/** The chords of a text -> [[second, name], …]: "C:0 Am:2.5", or bars such as "C | Am F", which last as long as `bar`
 * and come round again; without `bar` they share the piece. */
export function chordsOfText(text, duration, bar) {
  const words = text.trim().split(/[\s,;]+/).filter(Boolean);
  if (!words.length) return [];
  const timed = words.map((word) => TIMED.exec(word));
  if (timed.every(Boolean)) return timed.map(([, name, second]) => [Number(second), name]).sort(([one], [other]) => one - other);
  const sheet = text.includes("|") ? text.trim().replace(/^\||\|$/g, "").split("|").map((part) => part.trim().split(/\s+/).filter(Boolean)) : words.map((word) => [word]);
  const bars = [];
  for (const places of sheet) bars.push(!places.length || (places.length === 1 && places[0] === "%") ? bars.at(-1) ?? [] : places);
  const length = bar || duration / bars.length;
  const found = [];
  for (let number = 0; number * length < duration - 1e-6; number++) {
    const places = bars[number % bars.length];
    places.forEach((name, place) => {
      if (AGAIN.includes(name) || found.at(-1)?.[1] === name) return;
      const second = Math.round(1000 * (number + place / places.length) * length) / 1000;
      if (second < duration) found.push([second, name]);
    });
  }
  return found;
}

/** What of a text is none of its chords, as a sentence; an empty text where all is well. */
export function problemOfText(text, duration) {
  const words = text.trim().split(/[\s,;]+/).filter(Boolean);
  if (!words.length) return "";
  const timed = words.map((word) => TIMED.exec(word));
  const names = (timed.every(Boolean) ? timed.map(([, name]) => name) : text.split(/[\s,;|]+/)).filter((name) => name && !AGAIN.includes(name));
  if (!names.length) return "There is no chord in it; write them like C | Am F | G7.";
  const wrong = [...new Set(names.filter((name) => !isChord(name)))];
  if (wrong.length) return wrong.length === 1 ? `${wrong[0]} is no chord; write them like Am F C/E G7 Bbmaj7` : `${wrong.join(", ")} are no chords; write them like Am F C/E G7 Bbmaj7`;
  const late = timed.every(Boolean) ? timed.find(([, , second]) => Number(second) >= duration) : null;
  return late ? `${late[1]} at ${Number(late[2])} s begins when the piece is over: it lasts ${seconds(duration)}.` : "";
}

/** "change" when somebody has moved, or taken away, a chord. */
export class ChordLane extends EventTarget {
  constructor(list, input) {
    super();
    this._list = list;
    this._input = input;
    this._chords = [];
    this._shown = this._said = "";
    this.duration = 1;
  }

  /** Read what is typed; it is shown where it has changed. */
  read(duration, tempo) {
    this.duration = duration;
    this._chords = chordsOfText(this._input.value, duration, tempo ? 240 / tempo : 0).filter(([second]) => second < duration);
    this._say(problemOfText(this._input.value, duration));
    this._show();
  }

  /** Say under the field what is none of its chords. */
  _say(problem) {
    if (problem === this._said) return;
    this._said = problem;
    $("lane-problem").hidden = !problem;
    $("lane-problem").textContent = problem && sentence(problem);
    if (problem) this._input.setAttribute("aria-invalid", "true");
    else if (!("complained" in this._input.dataset)) this._input.removeAttribute("aria-invalid");
  }

  /** The chords as requests carry them. */
  get chords() { return this._chords.map(([at, chord]) => ({ at, chord })); }

  _show() {
    const shown = JSON.stringify([this._chords, this.duration]);
    if (shown === this._shown) return;
    this._shown = shown;
    this._list.hidden = !this._chords.length;
    const focused = [...this._list.children].indexOf(document.activeElement);
    this._list.replaceChildren(...this._chords.map(([second, name], index) => this._cell(second, name, index)));
    this._list.children[focused]?.focus();
  }

  _cell(second, name, index) {
    const end = this._chords[index + 1]?.[0] ?? this.duration;
    const [least, most] = this._bounds(index);
    const cell = h("div", { role: "slider", tabindex: "0", class: isChord(name) ? "" : "wrong", title: name, "aria-label": `Chord ${pitch(name)}`, "aria-valuemin": String(least), "aria-valuemax": String(most), "aria-valuenow": String(second), "aria-valuetext": `from ${second} s` }, h("span", {}, pitch(name)));
    cell.style.left = `${((100 * second) / this.duration).toFixed(3)}%`;
    cell.style.width = `${((100 * (end - second)) / this.duration).toFixed(3)}%`;
    cell.addEventListener("keydown", (event) => this._key(event, index));
    cell.addEventListener("pointerdown", (event) => this._drag(event, cell, index));
    return cell;
  }

  _key(event, index) {
    const by = { ArrowLeft: -STEP, ArrowRight: STEP, PageDown: -4 * STEP, PageUp: 4 * STEP, Home: -Infinity, End: Infinity }[event.key];
    if (by === undefined && event.key !== "Delete" && event.key !== "Backspace") return;
    event.preventDefault();
    event.stopPropagation();
    if (by !== undefined) { this._move(index, this._chords[index][0] + by); return; }
    this._chords.splice(index, 1);
    this._write();
    (this._list.children[Math.min(index, this._chords.length - 1)] ?? this._input).focus();
  }

  _drag(event, cell, index) {
    if (event.button !== 0) return;
    event.preventDefault();
    cell.focus();
    const box = this._list.getBoundingClientRect();
    const grabbed = ((event.clientX - box.left) / box.width) * this.duration - this._chords[index][0];
    const move = ({ clientX }) => this._move(index, ((clientX - box.left) / box.width) * this.duration - grabbed);
    const stop = () => { document.removeEventListener("pointermove", move); document.removeEventListener("pointerup", stop); document.removeEventListener("pointercancel", stop); };
    document.addEventListener("pointermove", move);
    document.addEventListener("pointerup", stop);
    document.addEventListener("pointercancel", stop);
  }

  /** Where a chord may begin: from its neighbour before to the one behind it. */
  _bounds(index) {
    const least = index ? this._chords[index - 1][0] + LEAST : 0;
    return [rounded(least), rounded(Math.max(least, (this._chords[index + 1]?.[0] ?? this.duration) - LEAST))];
  }

  /** Let a chord begin elsewhere, between its neighbours. */
  _move(index, second) {
    const [least, most] = this._bounds(index);
    const to = rounded(Math.max(least, Math.min(most, second)));
    if (to === this._chords[index][0]) return;
    this._chords[index] = [to, this._chords[index][1]];
    this._write();
    announce(`${pitch(this._chords[index][1])} from ${to} s`);
  }

  _write() {
    this._input.value = this._chords.map(([second, name]) => `${name}:${second}`).join(" ");
    this._show();
    this.dispatchEvent(new Event("change"));
  }
}
