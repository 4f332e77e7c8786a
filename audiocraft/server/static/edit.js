// What can be done to a piece that is there: more bars, a loop, an ending, another style. The piece stays; what comes of it
// is a take beside it, heard from the same moment.

import { $, paintRange, sentence } from "./dom.js";

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

export class EditDialog {
  /** @param {(body: object) => Promise<void>} make asks for what comes of it */
  constructor(make, jobs) {
    this._make = make;
    this._jobs = jobs;
    this._generation = null;
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
    if (edit === "restyle" && !words) { this._complain("Which style? Say it in a few words."); $("edit-words").focus(); return; }
    $("edit-go").disabled = true;
    try {
      const metadata = await this._jobs.beside(this._generation);
      const own = { extend: { [document.querySelector("input[name=edit-side]:checked").value]: bars }, loop: { bars }, end: { bars, ending: $("edit-ending").value }, restyle: {} }[edit];
      await this._make({ kind: "edit", edit, audio: { generation: this._generation.id }, ...own, ...(words && FIELDS[edit].includes("words") && { prompt: words }), metadata });
      $("edit-dialog").close();
    } catch (error) {
      this._complain(sentence(error.message));
    } finally {
      $("edit-go").disabled = false;
    }
  }

  _complain(text) { $("edit-error").hidden = !text; $("edit-error").textContent = text; }
}
