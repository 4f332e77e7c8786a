// The samples of a piece, as they arrive: one way for pieces that are being made and for finished ones.

import { ApiError, pause, send } from "./api.js";

const PEAK_SPAN = 256; // samples per entry of the outline

export class PieceAudio extends EventTarget {
  /** @param {{id: string, duration: number}} generation */
  constructor(generation) {
    super();
    this.id = generation.id;
    this.expected = generation.duration; // seconds
    this.rate = 0;
    this.channels = [];
    this.length = 0;
    this.complete = false;
    this.error = null;
    this.peaks = new Float32Array(0);
    this.loudest = 0;
    this._stop = new AbortController();
    this._started = false;
  }

  /** Seconds in all: what is expected until the end has come. */
  get duration() { return this.complete && this.rate ? this.length / this.rate : Math.max(this.expected, this.rate ? this.length / this.rate : 0); }
  get total() { return Math.round(this.duration * this.rate); }

  async load() {
    if (this._started) return;
    this._started = true;
    try {
      const response = await this._open();
      const type = response.headers.get("Content-Type") || "";
      this.rate = Number(/rate=(\d+)/.exec(type)?.[1] || 0);
      const count = Number(/channels=(\d+)/.exec(type)?.[1] || 1);
      const room = Math.ceil(this.expected * this.rate) + this.rate;
      this.channels = Array.from({ length: count }, () => new Float32Array(room));
      this.peaks = new Float32Array(Math.ceil(room / PEAK_SPAN));
      this.dispatchEvent(new Event("open"));
      await this._read(response.body.getReader(), count);
    } catch (error) {
      if (this._stop.signal.aborted) return;
      this.error = error;
    }
    this.complete = true;
    this.dispatchEvent(new Event("data"));
  }

  drop() { this._stop.abort(); }

  /** The beginning may be a queue away: the server then asks to come back. */
  async _open() {
    for (;;) {
      try {
        return await send(`/v1/generations/${this.id}/stream?format=pcm`, { signal: this._stop.signal });
      } catch (error) {
        if (!(error instanceof ApiError) || !error.retryAfter) throw error;
        await pause(1000 * Math.min(5, error.retryAfter));
      }
    }
  }

  async _read(reader, count) {
    const width = 2 * count;
    let rest = new Uint8Array(0);
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const data = new Uint8Array(rest.length + value.length);
      data.set(rest);
      data.set(value, rest.length);
      const frames = Math.floor(data.length / width);
      rest = data.slice(frames * width);
      if (frames) this._append(new DataView(data.buffer, 0, frames * width), frames, count);
    }
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

/** The last few pieces stay in memory; what is being made stays until it is complete. */
export class AudioShelf {
  constructor(room = 8) { this._room = room; this._pieces = new Map(); }

  get(generation) {
    let piece = this._pieces.get(generation.id);
    if (piece?.error && (piece.length === 0 || generation.status === "succeeded")) piece = undefined; // once more
    piece ??= new PieceAudio(generation);
    this._pieces.delete(generation.id);
    this._pieces.set(generation.id, piece);
    for (const [id, old] of this._pieces) {
      if (this._pieces.size <= this._room) break;
      old.drop();
      this._pieces.delete(id);
    }
    return piece;
  }

  forget(id) { this._pieces.get(id)?.drop(); this._pieces.delete(id); }
}
