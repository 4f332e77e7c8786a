// What is wrong with a form: said under it, and shown at the field concerned.

import { connection, Unreachable } from "./api.js";
import { $, seconds, sentence } from "./dom.js";

/** What an answer refuses, as a sentence; with when to come back, unless it says so itself. */
export function refusalOf(error) {
  const later = error.retryAfter && !/try again/i.test(error.message) ? ` Try again in ${seconds(error.retryAfter)}.` : "";
  return sentence(error.message) + later;
}

export class Complaint {
  /** @param {string} form is its id; `place` is that of the paragraph that says what is wrong */
  constructor(form, place) {
    this._form = $(form);
    this._place = $(place);
    this._passing = false;
    connection.addEventListener("found", () => { if (this._passing) this.say(""); }); // the server is back
  }

  /** Say what is wrong; an empty text takes it back. `field` is an element, and gets the focus. */
  say(text, field = null) {
    this._passing = false;
    this._place.hidden = !text;
    this._place.textContent = text;
    for (const input of this._form.querySelectorAll("[data-complained]")) this._free(input);
    if (!text || !field) return;
    const own = field.getAttribute("aria-describedby") ?? "";
    field.dataset.complained = own;
    field.setAttribute("aria-describedby", `${own} ${this._place.id}`.trim());
    field.setAttribute("aria-invalid", "true");
    const fold = field.closest("details");
    if (fold) fold.open = true;
    field.focus();
  }

  /** Say what the server refused; what passes by itself is taken back when the server is there again. */
  tell(error, field = null) {
    this.say(refusalOf(error), field);
    this._passing = error instanceof Unreachable || error.status === 503;
  }

  _free(input) {
    if (input.dataset.complained) input.setAttribute("aria-describedby", input.dataset.complained);
    else input.removeAttribute("aria-describedby");
    input.removeAttribute("aria-invalid");
    delete input.dataset.complained;
  }
}
