// What is to be made: a piece, a song and so on, each with a form of its own in the same place.

import { $ } from "./dom.js";
import { read, write } from "./store.js";

const FORMS = { music: "composer", sound: "composer", song: "song-form", podcast: "podcast-form", bank: "bank-form" };
const TITLES = {
  composer: ["Describe it.", "Hear it as it is made."],
  "song-form": ["Section by section.", "One key, one tempo."],
  "podcast-form": ["Bring a voice.", "It gets its music."],
  "bank-form": ["Music that follows.", "Places that sound."],
};

export class Workbench {
  constructor() {
    $("kind").addEventListener("change", ({ target }) => { write("bench", target.value); this._show(target.value); });
    const kept = read("bench", "music");
    if (FORMS[kept] && FORMS[kept] !== "composer") this.choose(kept);
  }

  /** The form that is there. */
  get form() { return FORMS[document.querySelector("input[name=kind]:checked").value]; }

  /** Go to the form of music, sound or song. */
  choose(kind) {
    const input = document.querySelector(`input[name=kind][value=${kind}]`);
    if (!input.checked) { input.checked = true; input.dispatchEvent(new Event("change", { bubbles: true })); }
    this._show(kind);
  }

  _show(kind) {
    const wanted = FORMS[kind];
    for (const form of new Set(Object.values(FORMS))) $(form).hidden = form !== wanted;
    const [first, second] = $("composer-title").children;
    [first.textContent, second.textContent] = TITLES[wanted];
  }
}
