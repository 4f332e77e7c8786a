// The forms of podcasts and of games: a voice that gets its music, and music that follows what happens.

import { upload } from "./api.js";
import { Complaint } from "./complaint.js";
import { $, announce, h, pitch, seconds } from "./dom.js";
import { say } from "./language.js";
import { canRecord, Recorder } from "./record.js";
import { read, write } from "./store.js";
import { KEYS } from "./words.js";

const THEMES = ["Science, calm", "News, energetic", "A story, warm piano"];
const CHAPTER = /^\s*(?:(\d+):)?(\d{1,2}):(\d{1,2}(?:\.\d+)?)\s+(\S.*)$/;

/** Lines such as 02:30 Questions as {start, title}; null where one is none. */
export function chaptersOf(text) {
  const lines = text.split("\n").filter((line) => line.trim());
  const found = lines.map((line) => CHAPTER.exec(line)).map((match) => match && { start: Number(match[1] ?? 0) * 3600 + Number(match[2]) * 60 + Number(match[3]), title: match[4].trim().slice(0, 60) });
  return found.every(Boolean) ? found : null;
}

class ProductionForm {
  /** @param {Record<string, string>} fields the id of the field for each name of the request */
  constructor(name, make, fields) {
    this._name = name;
    this._make = make;
    this._fields = fields;
    this._complaint = new Complaint(`${name}-form`, `${name}-error`);
    const form = $(`${name}-form`);
    for (const event of ["input", "change"]) form.addEventListener(event, () => this._keep());
    $(`${name}-form`).addEventListener("submit", (event) => { event.preventDefault(); this.submit(); });
    $(`${name}-form`).addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); this.submit(); } });
  }

  async submit() {
    const body = this._body();
    if (!body) return;
    this._complain("");
    const button = $(`${this._name}-make`);
    button.disabled = true;
    try { await this._make(body); } catch (error) { this._complaint.tell(error, $(this._fields[(error.field ?? "").split(".")[0]])); } finally { button.disabled = false; }
  }

  _complain(text, place = null) { this._complaint.say(text, place); }

  /** What can be typed, chosen or ticked: a reload, or another language, loses nothing of it. */
  get _inputs() { return [...$(`${this._name}-form`).querySelectorAll("input:not([type=file]), select, textarea")]; }
  _keep() { write(this._name, Object.fromEntries(this._inputs.map((input) => [input.id || input.value, input.type === "checkbox" ? input.checked : input.value]))); }
  _restore() {
    const kept = read(this._name, {});
    for (const input of this._inputs) {
      const value = kept[input.id || input.value];
      if (input.type === "checkbox") input.checked = typeof value === "boolean" ? value : input.checked;
      else if (typeof value === "string" && (input.tagName !== "SELECT" || [...input.options].some((one) => one.value === value))) input.value = value;
    }
  }
}

export class PodcastForm extends ProductionForm {
  constructor(make) {
    super("podcast", make, { voice: "voice-drop", theme: "podcast-theme", chapters: "podcast-chapters", intro: "podcast-music", outro: "podcast-music", bed: "podcast-bed", channels: "podcast-mono", metadata: "podcast-title" });
    this._voice = null;
    this._recorder = null;
    $("podcast-themes").replaceChildren(...THEMES.map((theme) => h("button", { type: "button", onclick: () => { $("podcast-theme").value = say(theme); this._keep(); } }, theme)));
    $("voice-pick").addEventListener("click", () => $("voice-file").click());
    $("voice-file").addEventListener("change", () => { const [file] = $("voice-file").files; $("voice-file").value = ""; if (file) this._take(file); });
    $("voice-drop").addEventListener("click", () => { this._voice = null; this._show(); $("voice-pick").focus(); });
    $("voice-record").addEventListener("click", () => this._record().catch((error) => this._complain(`The microphone cannot be used: ${error.message}`)));
    if (!canRecord()) $("voice-record").disabled = true;
    this._restore();
    this._show();
  }

  focus() { $(this._voice ? "podcast-theme" : "voice-pick").focus(); }

  _body() {
    if (!this._voice) { this._complain("Choose the recording of a voice, or record one.", $("voice-pick")); return null; }
    const chapters = chaptersOf($("podcast-chapters").value);
    if (!chapters) { this._complain("Chapters are a time and a title a line, such as 02:30 Questions.", $("podcast-chapters")); return null; }
    const theme = $("podcast-theme").value.trim();
    const long = Number($("podcast-music").value);
    return {
      kind: "podcast", voice: { upload: this._voice.id }, ...(theme && { theme }), chapters, intro: long, outro: long, bed: $("podcast-bed").checked,
      channels: $("podcast-mono").checked ? 1 : 2, metadata: { title: $("podcast-title").value.trim() || this._voice.name.replace(/\.\w+$/, "") },
    };
  }

  async _take(file) {
    this._complain("");
    $("voice-pick").disabled = true;
    try {
      this._voice = await upload(file);
      announce(`${this._voice.name} is ready`);
      this._show();
      $("podcast-theme").focus();
    } catch (error) {
      this._voice = null; // an earlier one is not what was meant
      this._show();
      this._complaint.tell(error);
    } finally {
      $("voice-pick").disabled = false;
    }
  }

  async _record() {
    const button = $("voice-record"), label = button.querySelector("span");
    if (this._recorder) {
      clearInterval(this._ticking);
      const recorder = this._recorder;
      this._recorder = null;
      button.setAttribute("aria-pressed", "false");
      label.textContent = "Record";
      const file = await recorder.stop();
      if (file) await this._take(file);
      return;
    }
    const recorder = new Recorder();
    await recorder.start();
    this._recorder = recorder;
    button.setAttribute("aria-pressed", "true");
    this._ticking = setInterval(() => { label.textContent = `Stop, ${seconds(Math.floor(recorder.seconds))}`; }, 200);
    announce("Recording");
  }

  _show() {
    const voice = this._voice;
    $("voice").hidden = Boolean(voice);
    $("voice-there").hidden = !voice;
    if (voice) [$("voice-name").textContent, $("voice-facts").textContent] = [voice.name, seconds(Math.round(voice.seconds))];
  }
}

export class GameForm extends ProductionForm {
  constructor(make) {
    super("bank", make, { prompt: "bank-words", locations: "bank-own", environments: "bank-sounds", ambience_seconds: "bank-ambience", bars: "bank-bars", tempo: "bank-tempo", key: "bank-key", format: "bank-format", metadata: "bank-title" });
    $("bank-key").append(h("option", { value: "" }, "from the words"), ...KEYS.map((key) => h("option", { value: key }, pitch(key))));
    this._restore();
  }

  focus() { $("bank-words").focus(); }

  _body() {
    const named = $("bank-own").value.split(",").map((one) => one.trim().toLowerCase()).filter(Boolean);
    const locations = [...new Set([...[...document.querySelectorAll("#bank-places input:checked")].map((input) => input.value), ...named])];
    if (!locations.length) { this._complain("Choose a place, or name one.", $("bank-own")); return null; }
    if (locations.length > 8) { this._complain("Eight places at most.", $("bank-own")); return null; }
    if (!$("bank-tempo").validity.valid) { this._complain("Tempo is from 40 to 240 bpm.", $("bank-tempo")); return null; }
    const prompt = $("bank-words").value.trim(), tempo = Number($("bank-tempo").value);
    return {
      kind: "bank", ...(prompt && { prompt }), locations, ...($("bank-sounds").checked ? {} : { environments: [] }), ambience_seconds: Number($("bank-ambience").value),
      bars: Number($("bank-bars").value), ...(tempo && { tempo }), ...($("bank-key").value && { key: $("bank-key").value }), format: $("bank-format").value,
      metadata: { title: $("bank-title").value.trim() || [prompt, ...locations].filter(Boolean).join(", ").slice(0, 100) },
    };
  }
}
