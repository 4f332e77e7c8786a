// The windows over the page: models, analysis, keyboard, key.

import { ApiError, eventsOf, get, hasKey, limits, loadModel, onKeyNeeded, rememberKey, send, unloadModel } from "./api.js";
import { $, bytes, h, pitch, seconds, sentence } from "./dom.js";
import { drawCurve, pitchAxis, Spectrogram, timeAxis } from "./draw.js";
import { isKept, titleOf } from "./jobs.js";

for (const dialog of document.querySelectorAll("dialog")) {
  dialog.addEventListener("click", (event) => { if (event.target === dialog && dialog.id !== "secret-dialog") dialog.close(); });
  dialog.querySelector("[data-close]")?.addEventListener("click", () => dialog.close());
}

/** Asks for the key once, however many requests wait for it. */
export function keyDialog() {
  let asking = null;
  $("secret-dialog").addEventListener("cancel", (event) => event.preventDefault());
  onKeyNeeded(() => {
    asking ??= new Promise((resolve) => {
      const dialog = $("secret-dialog");
      $("secret").value = "";
      $("secret-error").hidden = !hasKey(); // one was sent, and refused
      dialog.showModal();
      dialog.addEventListener("close", () => { rememberKey($("secret").value.trim(), $("remember").checked); asking = null; resolve(); }, { once: true });
    });
    return asking;
  });
}

export class ModelsDialog extends EventTarget {
  constructor() {
    super();
    this.models = [];
    this.adapters = [];
    $("open-models").addEventListener("click", () => { $("models-dialog").showModal(); this._try(this.refresh()); });
  }

  async refresh() {
    const { data, adapters = [], upload_bytes: most } = await get("/v1/models");
    limits.upload = most;
    this.models = data;
    this.adapters = adapters;
    $("models").replaceChildren(...this.models.map((model) => this._row(model)), ...adapters.map((one) => this._rowOf(one)));
    this.dispatchEvent(new Event("change"));
  }

  _row(model) {
    const does = { music: "Music", sound: "Sounds", audio: "Audio", codec: "Codec", decoder: "Decoder" }[model.kind];
    const facts = [
      does + (model.default && model.kind !== "codec" ? ", the default" : ""), ...model.takes.map((what) => TAKES[what] ?? what),
      model.sample_rate ? `${model.sample_rate / 1000} kHz` : null, model.window ? `${seconds(model.window)} at a time` : null, model.license,
    ];
    const memory = model.loaded ? (model.bytes ? `In memory: ${bytes(model.bytes)}` : "In memory") : null;
    const button = ["codec", "decoder"].includes(model.kind) ? null : h("button", { type: "button", class: "soft", "aria-label": `${model.loaded ? "Unload" : "Load"} ${model.id}` }, model.loaded ? "Unload" : "Load");
    button?.addEventListener("click", () => this._change(model, button));
    return h("li", {}, h("strong", { class: model.loaded ? "on" : "" }, model.id), h("small", {}, facts.filter(Boolean).join(" · ")), memory ? h("small", { class: "memory" }, memory) : null, button);
  }

  _rowOf(adapter) { return h("li", {}, h("strong", {}, adapter.id), h("small", {}, `Adapter of ${adapter.base} · ${bytes(adapter.bytes)}`)); }

  async _change(model, button) {
    button.disabled = true;
    button.textContent = model.loaded ? "Unloading" : "Loading";
    const changed = await this._try(model.loaded ? unloadModel(model.id) : loadModel(model.id));
    const again = this.refresh();
    await (changed ? this._try(again) : again.catch(() => {})); // what went wrong first is said
    button.disabled = false;
    $("models").querySelector(`[aria-label$="${CSS.escape(model.id)}"]`)?.focus();
  }

  /** Wait for an answer -> whether it came; what went wrong is said in the dialog. */
  async _try(promise) {
    $("models-error").hidden = true;
    try { await promise; return true; } catch (error) {
      $("models-error").hidden = false;
      $("models-error").textContent = sentence(error.message);
      return false;
    }
  }
}

const TAKES = {
  continuation: "continues audio", keep: "makes a part of a piece anew", plan: "follows tempo, key and chords",
  chords: "follows chords", drums: "follows drums", melody: "follows a melody", style: "follows a style",
};
const PICTURE_RATE = 24000;
const VERDICTS = { real: "Sounds like a recording", generated: "Sounds generated", unknown: "No verdict" };

/** What is said of a watermark; null where audio is silent or short. */
function watermarkOf(found) {
  if (!found) return "cannot be told";
  if (found.ours) return "AudioCraft, made by a machine";
  if (found.marked) return "of someone else";
  return found.share > 0 ? `in ${Math.round(100 * found.share)} % of it` : "none found";
}

export class AnalysisDialog {
  constructor() {
    this._stop = null;
    $("open-analysis").addEventListener("click", () => this.open());
    $("analysis-dialog").addEventListener("close", () => this._leave());
    $("analysis-pick").addEventListener("click", () => $("analysis-file").click());
    const dialog = $("analysis-dialog");
    dialog.addEventListener("dragover", (event) => { if (event.dataTransfer?.types.includes("Files")) event.preventDefault(); });
    dialog.addEventListener("drop", (event) => { event.preventDefault(); const [file] = event.dataTransfer.files; if (file) this.analyse(file, file.name); });
    $("analysis-file").addEventListener("change", () => { const [file] = $("analysis-file").files; $("analysis-file").value = ""; if (file) this.analyse(file, file.name); });
  }

  open() {
    if (!$("analysis-dialog").open) $("analysis-dialog").showModal();
    if (!$("analysis").childElementCount) this._say("Loudness, tempo, key, and whether it sounds recorded or generated. Choose a wav, flac, ogg, mp3 or acx file, or drop it here.");
  }

  async analyse(file, name) {
    this.open();
    this._leave();
    $("analysis-title").textContent = name;
    const form = new FormData();
    form.append("file", file, file.name ?? "audio.wav");
    const stop = this._stop = new AbortController();
    const began = performance.now();
    let part = null;
    const tick = () => this._say(part === null ? `Listening… ${Math.floor((performance.now() - began) / 1000) || ""}`.trim() : `Listening… ${Math.round(100 * part)} %`);
    tick();
    const ticking = setInterval(tick, 500);
    try {
      const report = await this._ask(form, stop.signal, (progress) => { part = progress; });
      clearInterval(ticking);
      this._show(report);
      await this._picture(file, stop.signal);
    } catch (error) {
      if (stop.signal.aborted) return;
      const absent = error instanceof ApiError && (error.status === 404 || error.status === 501);
      this._say(absent ? "This server has no detector." : sentence(error.message));
    } finally {
      clearInterval(ticking);
    }
  }

  /** The report, told of on the way by servers that can. */
  async _ask(form, signal, onProgress) {
    const response = await send("/v1/analyze", { method: "POST", form, signal, headers: { Accept: "text/event-stream, application/json" } });
    if (!response.headers.get("Content-Type")?.startsWith("text/event-stream")) return response.json();
    for await (const { kind, data } of eventsOf(response)) {
      if (kind === "progress") onProgress(data.progress);
      if (kind === "report") return data;
      if (kind === "error") throw new ApiError(data.status, data);
    }
    throw new Error("The server stopped before it had listened to everything.");
  }

  /** Nobody waits for it any more: the server need not go on either. */
  _leave() { this._stop?.abort(); this._stop = null; }

  async generation(generation) {
    if (!isKept(generation)) return;
    $("analysis").replaceChildren();
    const response = await send(`/v1/generations/${generation.id}/${generation.status === "succeeded" ? "audio" : "stream"}?format=wav`);
    await this.analyse(new File([await response.blob()], "piece.wav", { type: "audio/wav" }), titleOf(generation));
  }

  /** The spectrogram in the colours of this page, with its axes. */
  async _picture(file, signal) {
    const samples = await new OfflineAudioContext(1, 1, PICTURE_RATE).decodeAudioData(await file.arrayBuffer()).then((decoded) => decoded.getChannelData(0), () => null);
    if (!samples?.length || signal.aborted) return; // a format that the server knows and this browser does not
    const canvas = h("canvas", { role: "img", "aria-label": "Spectrogram: time from left to right, pitch from bottom to top" });
    const pitches = h("div", { class: "pitches", "aria-hidden": "true" }), times = h("div", { class: "times", "aria-hidden": "true" });
    $("analysis").querySelector(".numbers").before(h("figure", {}, h("div", { class: "spectrum" }, canvas, pitches), times));
    const spectrogram = new Spectrogram(canvas);
    spectrogram.show({ rate: PICTURE_RATE, channels: [samples], length: samples.length, total: samples.length, complete: true });
    pitchAxis(pitches, PICTURE_RATE);
    timeAxis(times, samples.length / PICTURE_RATE);
    while (!signal.aborted && spectrogram.update()) await new Promise((resolve) => requestAnimationFrame(resolve));
  }

  _say(text) { $("analysis").replaceChildren(h("p", { class: "hint" }, text)); }

  _show(report) {
    const number = (value, unit, digits = 1) => (value === null || value === undefined ? "none" : `${value.toFixed(digits)} ${unit}`);
    // Where there is no verdict, a number would look like one.
    const scored = report.verdict !== "unknown" && report.score !== null && report.score !== undefined;
    const curve = h("canvas", { role: "img", "aria-label": "How much it sounds like a recording, over time" });
    const facts = [
      ["Loudness", number(report.level.loudness, "LUFS")], ["True peak", number(report.level.true_peak, "dB")],
      ["Tempo", number(report.music.tempo, "bpm", 0)], ["Key", report.music.key ? pitch(report.music.key) : "none"],
      ["Watermark", watermarkOf(report.watermark)],
      ["Length", seconds(report.duration)], ["Sample rate", `${report.sample_rate / 1000} kHz`],
    ];
    $("analysis").replaceChildren(
      h("p", { class: "verdict" }, h("span", {}, VERDICTS[report.verdict] ?? report.verdict), scored ? h("small", {}, `${Math.round(100 * report.score)} % likely a recording`) : null),
      ...(report.windows.length && scored ? [h("figure", {}, curve, h("figcaption", {}, "From generated, below, to recorded, above; the line is the threshold"))] : []),
      h("dl", { class: "numbers" }, ...facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
      ...(report.in_domain || report.notes.length ? [] : [h("p", { class: "hint" }, "It is unlike anything the detector was trained on, so it does not judge.")]),
      ...report.notes.map((note) => h("p", { class: "hint" }, note)),
    );
    if (curve.isConnected) drawCurve(curve, report.windows.map((window) => window.score), report.threshold);
  }
}

export function keyboardDialog(shortcuts) {
  $("shortcuts").replaceChildren(...shortcuts.flatMap(([keys, what]) => [h("dt", {}, ...keys.map((key) => h("kbd", {}, key))), h("dd", {}, what)]));
  $("open-keys").addEventListener("click", () => $("keys-dialog").showModal());
}
