// The original and what the codec makes of it, at the same moment: a slider that is heard. All that was decoded runs
// together, silent but for one; the slider changes which, so the moment stays.

import { nameOf, send } from "./api.js";
import { $, clock, paintRange, sentence, setIcon } from "./dom.js";
import { isKept, titleOf } from "./jobs.js";

const FADE = 0.02; // seconds from one to the other
const CODEBOOKS_AT = 44; // where an .acx file says how many codebooks it has (docs/codec-format.md)

export class CompareDialog {
  constructor() {
    this._context = null;
    this._stop = null;
    this._reset();
    $("compare-dialog").addEventListener("close", () => this._leave());
    $("compare-play").addEventListener("click", () => (this.playing ? this.pause() : this.play()));
    $("compare-books").addEventListener("input", () => this.choose(Number($("compare-books").value)));
    $("compare-save").addEventListener("click", () => this._save());
  }

  /** Seconds into the piece. */
  get position() {
    if (!this.playing) return this._rest;
    return (this._rest + Math.max(0, this._context.currentTime - this._began)) % this.duration;
  }
  get duration() { return this._versions.get(0)?.buffer.duration ?? 0; }
  /** What sounds: 0 is the original, others are numbers of codebooks. */
  get heard() { return this._heard; }

  async open(generation) {
    if (!isKept(generation)) return;
    this._leave();
    this._reset();
    const stop = this._stop = new AbortController();
    $("compare-title").textContent = titleOf(generation);
    $("compare-dialog").showModal();
    this._context ??= new AudioContext(); // in the click that opens it: browsers allow sound only then
    await this._try(stop.signal, async () => {
      const response = await send(`/v1/generations/${generation.id}/audio?format=wav&download=true`, { signal: stop.signal });
      this._file = new File([await response.blob()], nameOf(response) ?? `${generation.id}.wav`, { type: "audio/wav" });
      this._versions.set(0, await this._version(await this._file.arrayBuffer()));
      const whole = await this._compressed(null, stop.signal);
      const most = new DataView(whole).getUint16(CODEBOOKS_AT, true);
      await this._expanded(most, whole, stop.signal);
      const slider = $("compare-books");
      slider.max = most + 1; // the last place is the original
      slider.value = most;
      slider.disabled = $("compare-play").disabled = false;
      await this.choose(most);
      slider.focus();
    });
  }

  /** Let so many codebooks be heard, or beyond the most the original. */
  async choose(place) {
    const slider = $("compare-books"), stop = this._stop;
    const wanted = place >= Number(slider.max) ? 0 : place;
    this._wanted = wanted;
    paintRange(slider);
    this._say();
    if (!this._versions.has(wanted)) {
      await this._try(stop.signal, async () => {
        if (!this._asked.has(wanted)) this._asked.set(wanted, this._make(wanted, stop.signal));
        await this._asked.get(wanted).catch((error) => { this._asked.delete(wanted); throw error; });
      });
    }
    if (stop.signal.aborted || this._wanted !== wanted || !this._versions.has(wanted)) return;
    this._heard = wanted;
    this._balance();
    this._say();
  }

  play() {
    if (!this._versions.size) return;
    this._context.resume();
    this.playing = true;
    this._began = this._context.currentTime + FADE;
    for (const version of this._versions.values()) this._start(version, this._rest, this._began);
    this._balance(0);
    setIcon($("compare-play"), "pause");
    $("compare-play").setAttribute("aria-label", "Pause");
    this._tick();
  }

  pause() {
    this._rest = this.position;
    this.playing = false;
    for (const version of this._versions.values()) this._halt(version);
    setIcon($("compare-play"), "play");
    $("compare-play").setAttribute("aria-label", "Play");
  }

  async _make(codebooks, signal) { await this._expanded(codebooks, await this._compressed(codebooks, signal), signal); }

  /** The piece as an .acx file with so many codebooks; null: with all. */
  async _compressed(codebooks, signal) {
    const form = new FormData();
    form.append("file", this._file, this._file.name);
    if (codebooks !== null) form.append("codebooks", codebooks);
    return (await send("/v1/codec/compress", { method: "POST", form, signal })).arrayBuffer();
  }

  async _expanded(codebooks, acx, signal) {
    const form = new FormData();
    form.append("file", new File([acx], "piece.acx"), "piece.acx");
    const wav = await (await send("/v1/codec/expand", { method: "POST", form, signal })).arrayBuffer();
    const version = await this._version(wav);
    version.acx = acx;
    if (signal.aborted) return;
    this._versions.set(codebooks, version);
    if (this.playing) { // at the moment where the others are, silent so far
      const at = this._context.currentTime + FADE;
      this._start(version, (this._rest + at - this._began) % this.duration, at);
    }
  }

  async _version(content) {
    const gain = this._context.createGain();
    gain.gain.value = 0;
    gain.connect(this._context.destination);
    return { buffer: await this._context.decodeAudioData(content), gain, source: null, acx: null };
  }

  _start(version, from, at) {
    const source = version.source = this._context.createBufferSource();
    source.buffer = version.buffer;
    source.loop = true;
    source.loopEnd = this.duration; // all go round together, should one end a sample later
    source.connect(version.gain);
    source.start(at, Math.max(0, from));
  }

  _halt(version) {
    version.source?.stop();
    version.source?.disconnect();
    version.source = null;
  }

  _balance(time = FADE) {
    for (const [codebooks, { gain }] of this._versions) {
      const level = codebooks === this._heard ? 1 : 0;
      gain.gain.cancelScheduledValues(this._context.currentTime);
      if (time) gain.gain.setTargetAtTime(level, this._context.currentTime, time / 3);
      else gain.gain.value = level;
    }
  }

  _say() {
    const acx = this._versions.get(this._wanted)?.acx;
    const name = this._wanted === 0 ? "Original" : `${this._wanted} of ${Number($("compare-books").max) - 1}`;
    const size = acx ? `${(acx.byteLength * 8e-3 / this.duration).toFixed(2)} kb/s` : this._wanted === 0 ? "" : "…";
    $("compare-shown").textContent = [name, size].filter(Boolean).join(" · ");
    $("compare-books").setAttribute("aria-valuetext", $("compare-shown").textContent);
    $("compare-save").disabled = !acx;
    $("compare-all").textContent = clock(this.duration);
    $("compare-now").textContent = clock(this.position);
  }

  _tick() {
    if (!this.playing) return;
    $("compare-now").textContent = clock(this.position);
    requestAnimationFrame(() => this._tick());
  }

  _save() {
    const acx = this._versions.get(this._heard)?.acx;
    if (!acx) return;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([acx], { type: "audio/x-acx" }));
    link.download = this._file.name.replace(/\.wav$/, ".acx");
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  async _try(signal, work) {
    $("compare-error").hidden = true;
    try { await work(); } catch (error) {
      if (signal.aborted) return;
      $("compare-error").hidden = false;
      $("compare-error").textContent = sentence(error.message);
    }
  }

  _leave() {
    this._stop?.abort();
    if (this.playing) this.pause();
    for (const { gain } of this._versions.values()) gain.disconnect();
  }

  _reset() {
    this._versions = new Map(); // by number of codebooks, 0 is the original: {buffer, gain, source, acx}
    this._asked = new Map();
    this._file = null;
    this._rest = this._began = this._heard = this._wanted = 0;
    this.playing = false;
    $("compare-books").disabled = $("compare-play").disabled = $("compare-save").disabled = true;
    $("compare-shown").textContent = "…";
    $("compare-error").hidden = true;
  }
}
