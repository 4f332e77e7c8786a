// What can be done to a piece that is there: more bars, a loop, an ending, another style. The piece stays; what comes of it
// is a take beside it, heard from the same moment.

import { Complaint } from "./complaint.js";
import { $, paintRange } from "./dom.js";

const HINTS = {
  extend: "More bars in its tempo, key and chords; what is there stays.",
  loop: "Whole bars whose end leads into their beginning. The file says so to samplers and games.",
  end: "A few bars more, in which it comes to rest on its tonic.",
  restyle: "Its tempo, bars and chords, played as these words say.",
};
const FIELDS = { extend: ["where", "bars", "words"], loop: ["bars"], end: ["bars", "ending"], restyle: ["words"] };
const BARS = { extend: 4, loop: 4, end: 2 };
const KINDS = ["music", "continuation", "melody", "style", "drums", "song", "edit"]; // what has bars

export const canEdit = (generation) => KINDS.includes(generation.kind);

const MOST = 16; // bars
const BESIDE = 0.25; // seconds beside a loop, in which its ends are joined

/** How many bars a loop of a piece may have: as many as it holds, with a little beside them. */
export function barsOfLoop({ plan, audio, duration }) {
  if (!plan?.tempo || !plan.beats_per_bar) return MOST; // its bars are heard first
  const bar = (plan.beats_per_bar * 60) / plan.tempo, length = audio?.seconds ?? duration;
  const first = (((plan.first_beat ?? 0) % bar) + bar) % bar;
  return Math.max(1, Math.min(MOST, Math.floor((length - first - (first >= BESIDE ? 0 : BESIDE)) / bar + 1e-6)));
}

export class EditDialog {
  /** @param {(body: object) => Promise<void>} make asks for what comes of it */
  constructor(make, jobs) {
    this._make = make;
    this._jobs = jobs;
    this._generation = null;
    this._complaint = new Complaint("edit-form", "edit-error");
    $("edit-kind").addEventListener("change", () => this._show(true));
    $("edit-bars").addEventListener("input", () => this._show(false));
    $("edit-form").addEventListener("submit", (event) => { event.preventDefault(); this._go(); });
  }

  open(generation) {
    this._generation = generation;
    $("edit-words").value = "";
    this._complain("");
    this._show(true);
    $("edit-dialog").showModal();
    document.querySelector("input[name=edit]:checked").focus();
  }

  get _edit() { return document.querySelector("input[name=edit]:checked").value; }

  _show(other) {
    const edit = this._edit;
    $("edit-bars").max = String(edit === "loop" ? barsOfLoop(this._generation) : MOST); // and the value is within it
    if (other && BARS[edit]) $("edit-bars").value = BARS[edit];
    for (const name of ["where", "bars", "ending", "words"]) $(`edit-${name}`).closest(".field").hidden = !FIELDS[edit].includes(name);
    $("edit-hint").textContent = HINTS[edit];
    const bars = Number($("edit-bars").value);
    $("edit-bars-shown").textContent = bars === 1 ? "1 bar" : `${bars} bars`;
    $("edit-words").placeholder = edit === "restyle" ? "House with synth bass and drums" : "the same words";
    paintRange($("edit-bars"));
  }

  async _go() {
    const edit = this._edit, bars = Number($("edit-bars").value), words = $("edit-words").value.trim();
    if (edit === "restyle" && !words) { this._complain("Which style? Say it in a few words.", $("edit-words")); return; }
    $("edit-go").disabled = true;
    try {
      const metadata = await this._jobs.beside(this._generation);
      const own = { extend: { [document.querySelector("input[name=edit-side]:checked").value]: bars }, loop: { bars }, end: { bars, ending: $("edit-ending").value }, restyle: {} }[edit];
      await this._make({ kind: "edit", edit, audio: { generation: this._generation.id }, ...own, ...(words && FIELDS[edit].includes("words") && { prompt: words }), metadata });
      $("edit-dialog").close();
    } catch (error) {
      this._complaint.tell(error, $({ bars: "edit-bars", before: "edit-bars", after: "edit-bars", ending: "edit-ending", prompt: "edit-words" }[(error.field ?? "").split(".")[0]]));
    } finally {
      $("edit-go").disabled = false;
    }
  }

  _complain(text, field = null) { this._complaint.say(text, field); }
}
