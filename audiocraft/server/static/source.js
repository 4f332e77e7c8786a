// Audio to start from: a file that is chosen or dropped anywhere on the page, the microphone, or a piece that was made.

import { send } from "./api.js";
import { $, announce, seconds, sentence } from "./dom.js";
import { drawOutline } from "./draw.js";
import { canRecord, Recorder } from "./record.js";

const MAX_UPLOAD = 25 * 2 ** 20;

/** "change" when there is other audio; "problem" with what went wrong. */
export class AudioSource extends EventTarget {
  constructor() {
    super();
    this.audio = null; // as the server knows it
    this._recorder = null;
    $("pick").addEventListener("click", () => $("file").click());
    $("file").addEventListener("change", () => { const [file] = $("file").files; $("file").value = ""; if (file) this.attach(file); });
    $("detach").addEventListener("click", () => { this.detach(); $("pick").focus(); });
    $("record").addEventListener("click", () => this._record().catch((error) => this._complain(`The microphone cannot be used: ${error.message}`)));
    if (!canRecord()) { $("record").disabled = true; $("record").title = "Recording needs https, or this machine itself"; }
    this._wireDrop();
  }

  /** What is done with it: continuation, melody or style. */
  get use() { return document.querySelector("input[name=use]:checked").value; }
  set use(value) { document.querySelector(`input[name=use][value=${value}]`).checked = true; }

  async attach(file, use = null) {
    this._complain("");
    if (file.size > MAX_UPLOAD) { this._complain("The file is too large: 25 MB at most."); return; }
    $("source").setAttribute("aria-busy", "true");
    $("pick").disabled = true;
    try {
      const form = new FormData();
      form.append("file", file, file.name);
      this.audio = await (await send("/v1/uploads", { method: "POST", form })).json();
      $("attached-name").textContent = this.audio.name;
      $("attached-facts").textContent = `${seconds(this.audio.seconds)} · ${(this.audio.sample_rate / 1000).toFixed(1)} kHz`;
      $("attached").hidden = false;
      $("drop").hidden = true;
      if (use) this.use = use;
      this.dispatchEvent(new Event("change"));
      drawOutline($("attached-outline"), await outlineOf(file), "--accent");
      announce(`${this.audio.name} is ready`);
    } catch (error) {
      this._complain(sentence(error.message));
    } finally {
      $("source").removeAttribute("aria-busy");
      $("pick").disabled = false;
    }
  }

  detach() {
    this.audio = null;
    $("attached").hidden = true;
    $("drop").hidden = false;
    this.dispatchEvent(new Event("change"));
  }

  /** Forbid what the model cannot do -> words about it. */
  allow(model) {
    const missing = ["melody", "style"].filter((use) => model && !model.takes.includes(use));
    for (const use of ["melody", "style"]) document.querySelector(`input[name=use][value=${use}]`).disabled = missing.includes(use);
    if (missing.includes(this.use)) this.use = "continuation";
    return missing.length ? `${model.id.split("/").pop()} cannot follow a ${missing.join(" or ")}; a model that can is chosen under Fine control.` : "";
  }

  _complain(text) { this.dispatchEvent(new CustomEvent("problem", { detail: text })); }

  _wireDrop() {
    const carries = (event) => event.dataTransfer?.types.includes("Files") && !document.querySelector("dialog[open]");
    let leaving = null;
    const show = (over) => { clearTimeout(leaving); document.body.classList.toggle("dropping", over); $("drop").classList.toggle("over", over); };
    document.addEventListener("dragover", (event) => { if (carries(event)) { event.preventDefault(); show(true); } });
    document.addEventListener("dragleave", () => { leaving = setTimeout(() => show(false), 80); });
    document.addEventListener("drop", (event) => {
      if (!carries(event)) return;
      event.preventDefault();
      show(false);
      const [file] = event.dataTransfer.files;
      if (file) { this.attach(file); $("source").scrollIntoView({ block: "nearest" }); }
    });
  }

  async _record() {
    const button = $("record");
    const label = button.querySelector("span");
    if (this._recorder) {
      clearInterval(this._ticking);
      const recorder = this._recorder;
      this._recorder = null;
      button.setAttribute("aria-pressed", "false");
      button.style.removeProperty("--level");
      label.textContent = "Record";
      const file = await recorder.stop();
      if (file) await this.attach(file);
      return;
    }
    const recorder = new Recorder();
    await recorder.start();
    this._recorder = recorder;
    button.setAttribute("aria-pressed", "true");
    const tick = () => {
      label.textContent = `Stop, ${seconds(Math.floor(recorder.seconds))}`;
      button.style.setProperty("--level", `${Math.round(100 * Math.min(1, 3 * recorder.level))}%`);
    };
    tick();
    this._ticking = setInterval(tick, 100);
    announce("Recording");
  }
}

/** The outline of a file as this browser decodes it; flat where it cannot. */
async function outlineOf(file) {
  try {
    const context = new OfflineAudioContext(1, 1, 8000);
    const samples = (await context.decodeAudioData(await file.arrayBuffer())).getChannelData(0);
    const step = Math.max(1, Math.floor(samples.length / 60));
    return Array.from({ length: 60 }, (_, index) => samples.subarray(index * step, (index + 1) * step).reduce((most, value) => Math.max(most, Math.abs(value)), 0));
  } catch {
    return new Array(60).fill(0.1);
  }
}
