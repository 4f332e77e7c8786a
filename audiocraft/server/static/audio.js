// The samples of a piece, as they arrive. What is being made comes over a WebSocket, with what happens to it; what is
// finished is one plain request. Only the piece on the stage has a connection: others keep what they have, and go on later.

import { ApiError, openSocket, pause, send, Unreachable } from "./api.js";
import { isActive } from "./jobs.js";

const PEAK_SPAN = 256; // samples per entry of the outline
const TRIES = 6;
const TELLS = ["succeeded", "failed", "canceled"];

export class PieceAudio extends EventTarget {
  /** @param {(id: string, message: object) => void} hear is told what happens to the piece while it is made */
  constructor(generation, hear) {
    super();
    this.id = generation.id;
    this.generation = generation;
    this.rate = 0;
    this.channels = [];
    this.length = 0;
    this.complete = false;
    this.error = null;
    this.peaks = new Float32Array(0);
    this.loudest = 0;
    this._hear = hear;
    this._stop = null;
    this._loading = null;
    this._plain = false; // WebSockets do not get through
  }

  /** Seconds in all: what is expected until the end has come. */
  get duration() { return this.complete && this.rate ? this.length / this.rate : Math.max(this.generation.duration, this.rate ? this.length / this.rate : 0); }
  get loading() { return this._loading !== null; }
  get total() { return Math.round(this.duration * this.rate); }

  /** Fetch what is missing -> a promise of the end, or of the rest in between. */
  load() {
    if (this.complete || this._loading) return this._loading;
    if (!isActive(this.generation) && !this.generation.audio?.seconds) { // nothing was ever heard of it
      this.complete = true;
      this.dispatchEvent(new Event("data"));
      return null;
    }
    this._stop = new AbortController();
    const { signal } = this._stop;
    this._loading = this._fetch(signal).finally(() => { if (!signal.aborted) this._loading = null; });
    return this._loading;
  }

  /** Leave the connection to others, and keep what is there. */
  rest() {
    this._stop?.abort();
    this._loading = null;
  }

  async _fetch(signal) {
    for (let failures = 0; ;) {
      const before = this.length;
      try {
        await (isActive(this.generation) && !this._plain ? this._overSocket(signal) : this._overRequest(signal));
        break;
      } catch (error) {
        if (signal.aborted) return;
        if (this.generation.status === "failed" && this.length) break; // it breaks off where it failed
        failures = this.length > before ? 1 : failures + 1;
        if (error instanceof Unreachable) this._plain = false; // it was not the WebSocket: the server is away
        const refused = error instanceof ApiError && !error.retryAfter && error.status < 500;
        // A server that is away comes back, and goes on with what it makes.
        if (refused || (failures >= TRIES && !error.retryAfter && !isActive(this.generation))) { this.error = error; break; }
        // The beginning may be a queue away: the server then asks to come back.
        await pause(1000 * Math.min(5, error.retryAfter || 0.3 * failures));
        if (signal.aborted) return;
      }
    }
    this.complete = true;
    this.dispatchEvent(new Event("data"));
  }

  _overSocket(signal) {
    return new Promise((resolve, reject) => {
      const socket = openSocket();
      let opened = false, ended = false, told = false;
      const leave = () => socket.close();
      signal.addEventListener("abort", leave, { once: true });
      const over = () => { if (ended && told) socket.close(); };
      socket.onopen = () => { opened = true; socket.send(JSON.stringify({ type: "follow", id: this.id, format: "pcm" })); };
      socket.onmessage = ({ data }) => {
        if (signal.aborted) return;
        if (typeof data !== "string") { this._take(new Uint8Array(data)); return; }
        const message = JSON.parse(data);
        if (message.type === "audio_format") this._begin(message.sample_rate, message.channels);
        else if (message.type === "audio_end") { ended = true; resolve(); setTimeout(leave, 5000); }
        else if (message.type === "error") { reject(new ApiError(message.status, message)); leave(); }
        else this._hear(this.id, message);
        told ||= TELLS.includes(message.type);
        over();
      };
      socket.onclose = () => {
        signal.removeEventListener("abort", leave);
        if (!opened) this._plain = true;
        reject(new Error("The connection broke."));
      };
    });
  }

  async _overRequest(signal) {
    const response = await send(`/v1/generations/${this.id}/stream?format=pcm`, { signal });
    const type = response.headers.get("Content-Type") || "";
    this._begin(Number(/rate=(\d+)/.exec(type)?.[1] || 0), Number(/channels=(\d+)/.exec(type)?.[1] || 1));
    const reader = response.body.getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done || signal.aborted) return;
      this._take(value);
    }
  }

  /** The first sample of the piece is next, once more perhaps: what is known of it is passed over. */
  _begin(rate, count) {
    this._known = this.length;
    this._rest = new Uint8Array(0);
    if (this.rate) return;
    this.rate = rate;
    const room = Math.ceil(this.generation.duration * rate) + rate;
    this.channels = Array.from({ length: count }, () => new Float32Array(room));
    this.peaks = new Float32Array(Math.ceil(room / PEAK_SPAN));
    this.dispatchEvent(new Event("open"));
  }

  _take(value) {
    const count = this.channels.length, width = 2 * count;
    const data = new Uint8Array(this._rest.length + value.length);
    data.set(this._rest);
    data.set(value, this._rest.length);
    const frames = Math.floor(data.length / width);
    this._rest = data.slice(frames * width);
    const passed = Math.min(frames, this._known);
    this._known -= passed;
    if (frames > passed) this._append(new DataView(data.buffer, passed * width, (frames - passed) * width), frames - passed, count);
  }

  _append(view, frames, count) {
    this._makeRoom(this.length + frames);
    for (let channel = 0; channel < count; channel++) {
      const samples = this.channels[channel];
      for (let frame = 0; frame < frames; frame++) {
        const value = view.getInt16(2 * (frame * count + channel), true) / 32768;
        const at = this.length + frame;
        samples[at] = value;
        const size = Math.abs(value);
        const slot = Math.floor(at / PEAK_SPAN);
        if (size > this.peaks[slot]) this.peaks[slot] = size;
        if (size > this.loudest) this.loudest = size;
      }
    }
    this.length += frames;
    this.dispatchEvent(new Event("data"));
  }

  _makeRoom(needed) {
    if (needed <= this.channels[0].length) return;
    const larger = (old, size) => { const grown = new Float32Array(size); grown.set(old); return grown; };
    this.channels = this.channels.map((old) => larger(old, 2 * needed));
    this.peaks = larger(this.peaks, Math.ceil((2 * needed) / PEAK_SPAN));
  }

  /** The loudest sample between two points, given in samples. */
  peak(from, to) {
    const first = Math.floor(from / PEAK_SPAN);
    const last = Math.min(Math.ceil(to / PEAK_SPAN), Math.ceil(this.length / PEAK_SPAN));
    let found = 0;
    for (let slot = first; slot < Math.max(last, first + 1); slot++) found = Math.max(found, this.peaks[slot] || 0);
    return found;
  }
}

/** The last few pieces stay in memory; one at a time has a connection. */
export class AudioShelf {
  constructor(hear, room = 8) { this._hear = hear; this._room = room; this._pieces = new Map(); }

  get(generation) {
    let piece = this._pieces.get(generation.id);
    if (piece?.error && (piece.length === 0 || generation.status === "succeeded")) { piece.rest(); piece = undefined; } // once more
    piece ??= new PieceAudio(generation, this._hear);
    piece.generation = generation;
    this._pieces.delete(generation.id);
    this._pieces.set(generation.id, piece);
    for (const id of [...this._pieces.keys()]) {
      if (this._pieces.size <= this._room) break;
      this.forget(id);
    }
    return piece;
  }

  /** Whether something is being fetched. */
  get busy() { return [...this._pieces.values()].some((piece) => piece.loading); }

  /** Let this piece be loaded, and none beside it. */
  only(chosen) { for (const piece of this._pieces.values()) if (piece !== chosen) piece.rest(); }

  forget(id) { this._pieces.get(id)?.rest(); this._pieces.delete(id); }
}
