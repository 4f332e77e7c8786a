// Audio to start from: a file that is chosen or dropped anywhere on the page, the microphone, or a piece that was made.

import { get, upload } from "./api.js";
import { $, announce, h, seconds, sentence } from "./dom.js";
import { drawOutline } from "./draw.js";
import { isKept, lengthOf, titleOf } from "./jobs.js";
import { canRecord, Recorder } from "./record.js";

const POINTS = 24;
const USES = ["melody", "style"];

/** "change" when there is other audio; "problem" with what went wrong; "model" with the model that is wanted instead. */
export class AudioSource extends EventTarget {
  constructor() {
    super();
    this.audio = null; // {upload or generation: its id, name, seconds}
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
    $("source").setAttribute("aria-busy", "true");
    $("pick").disabled = true;
    try {
      const { id, name, seconds: length, sample_rate: rate } = await upload(file);
      this._show({ upload: id, name, seconds: length }, `${seconds(length)} · ${(rate / 1000).toFixed(1)} kHz`, use);
      drawOutline($("attached-outline"), await outlineOf(file), "--accent");
    } catch (error) {
      if (this.audio) this.detach(); // what was there before is not what was meant
      this._complain(sentence(error.message));
    } finally {
      $("source").removeAttribute("aria-busy");
      $("pick").disabled = false;
    }
  }

  /** Start from a piece of this server: it has the audio already. */
  async take(generation, use) {
    this._complain("");
    if (!isKept(generation)) return;
    this._show({ generation: generation.id, name: titleOf(generation), seconds: generation.audio.seconds }, `${seconds(lengthOf(generation))} · one of your pieces`, use);
    const { peaks } = await get(`/v1/generations/${generation.id}/peaks?points=${POINTS}`);
    drawOutline($("attached-outline"), peaks, "--accent");
  }

  _show(audio, facts, use) {
    this.audio = audio;
    $("attached-name").textContent = audio.name;
    $("attached-facts").textContent = facts;
    $("attached").hidden = false;
    $("drop").hidden = true;
    if (use) this.use = use;
    this.dispatchEvent(new Event("change"));
    announce(`${audio.name} is ready`);
  }

  detach() {
    this.audio = null;
    $("attached").hidden = true;
    $("drop").hidden = false;
    this.dispatchEvent(new Event("change"));
  }

  /** Forbid what the model cannot do, and lead to one that can. */
  allow(model, models) {
    const missing = USES.filter((use) => model && !model.takes.includes(use));
    for (const use of USES) document.querySelector(`input[name=use][value=${use}]`).disabled = missing.includes(use);
    if (missing.includes(this.use)) this.use = "continuation";
    const place = $("use-other");
    place.hidden = !missing.length;
    if (!missing.length) return;
    if (model.kind === "sound") { place.textContent = "Models of sounds follow no melody and no style."; return; }
    const press = (other, use) => h("button", { type: "button", class: "link", onclick: () => this.dispatchEvent(new CustomEvent("model", { detail: { id: other.id, use } })) }, other.id.split("/").pop());
    const parts = missing.flatMap((use) => {
      const others = models.filter((one) => one.kind === model.kind && one.takes.includes(use)).slice(0, 2);
      return others.length
        ? [`A ${use} is followed by `, ...others.flatMap((other, index) => [index ? " or " : "", press(other, use)]), ". "]
        : [`For a model that follows a ${use}, run `, h("code", {}, `audiocraft models pull facebook/musicgen-${use}`), " where the server runs.", " "];
    });
    place.replaceChildren(...parts);
  }

  /** Choose what to do with the audio, and stay there. */
  choose(use) {
    this.use = use;
    document.querySelector(`input[name=use][value=${use}]`).focus();
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
