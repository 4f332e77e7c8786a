// Pictures of sound on canvases: the outline with its playhead, the spectrogram, and small outlines for lists.

import { calm, clock, colour, h } from "./dom.js";

const BAR = 3, GAP = 2;
const FLOOR_DB = -84, TOP_DB = -16;
const LOWEST = 40, HIGHEST = 16000; // Hz
const WINDOW = 2048;
const COLUMNS = 720, ROWS = 110;

/** A canvas at the resolution of the screen -> its context, scaled to CSS pixels, and its size in them. */
export function prepared(canvas) {
  const scale = Math.min(3, devicePixelRatio || 1);
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

function bar(context, x, middle, half, width = BAR) {
  context.roundRect(x, middle - half, width, 2 * half, width / 2);
}

/** The outline of a piece: what was heard, what is there, and what is still to come. */
export function drawWave(canvas, piece, position, phase) {
  const { context, width, height } = prepared(canvas);
  const count = Math.floor((width + GAP) / (BAR + GAP));
  const middle = height / 2;
  const total = piece.total || 1;
  const gain = (0.96 * middle) / Math.max(0.12, piece.loudest);
  const played = piece.rate ? (position * piece.rate) / total : 0;
  const gradient = context.createLinearGradient(0, 0, width, 0);
  gradient.addColorStop(0, colour("--wave-done-a"));
  gradient.addColorStop(1, colour("--wave-done-b"));
  const groups = { done: [], rest: [], ahead: [] };
  for (let index = 0; index < count; index++) {
    const from = (index / count) * total, to = ((index + 1) / count) * total;
    const known = piece.rate && from < piece.length;
    const group = !known ? groups.ahead : (index + 0.5) / count <= played ? groups.done : groups.rest;
    const half = known ? Math.max(1.5, piece.peak(from, to) * gain) : 1.5 + (calm() ? 0 : Math.max(0, Math.sin(index / 9 - phase * 3)) * 2.2);
    group.push([index * (BAR + GAP), half]);
  }
  const fills = { done: gradient, rest: colour("--wave-rest"), ahead: colour("--wave-ahead") };
  for (const [name, bars] of Object.entries(groups)) {
    context.beginPath();
    for (const [x, half] of bars) bar(context, x, middle, half);
    context.fillStyle = fills[name];
    context.fill();
  }
  if (position > 0 && played < 1) {
    context.fillStyle = colour("--ink");
    context.fillRect(Math.round(played * width) - 0.75, 4, 1.5, height - 8);
  }
}

/** What stands where a piece will be: slow waves. */
export function drawRest(canvas, time) {
  const { context, width, height } = prepared(canvas);
  const lines = 5;
  const fade = context.createLinearGradient(0, 0, width, 0);
  for (const [place, name] of [[0, "--card"], [0.25, "--wave-done-a"], [0.75, "--wave-done-b"], [1, "--card"]]) fade.addColorStop(place, colour(name));
  context.strokeStyle = fade;
  for (let line = 0; line < lines; line++) {
    context.globalAlpha = 0.7 - line * 0.13;
    context.lineWidth = line === 0 ? 2.2 : 1.3;
    context.beginPath();
    for (let x = 0; x <= width; x += 3) {
      const at = x / width;
      const envelope = Math.sin(Math.PI * at) ** 2;
      const swing = Math.sin(at * (7 + line * 1.7) + time * (0.5 - line * 0.06) + line * 0.9) + 0.45 * Math.sin(at * 17 - time * 0.35 + line);
      const y = height / 2 + swing * envelope * height * (0.24 - line * 0.024);
      if (x === 0) context.moveTo(x, y); else context.lineTo(x, y);
    }
    context.stroke();
  }
  context.globalAlpha = 1;
}

/** A small outline from numbers between 0 and 1. */
export function drawOutline(canvas, peaks, tone = "--wave-rest") {
  const { context, width, height } = prepared(canvas);
  const count = Math.floor((width + 1.5) / 3.5);
  const loudest = Math.max(0.12, ...peaks);
  context.beginPath();
  for (let index = 0; index < count; index++) {
    const from = Math.floor((index / count) * peaks.length);
    const to = Math.max(from + 1, Math.floor(((index + 1) / count) * peaks.length));
    const peak = peaks.length ? Math.max(...peaks.slice(from, to)) / loudest : 0;
    bar(context, index * 3.5, height / 2, Math.max(1, peak * height * 0.48), 2);
  }
  context.fillStyle = colour(tone);
  context.fill();
}

/** A line of values between 0 and 1 over time, with a dashed line at a threshold; gaps where there is none. */
export function drawCurve(canvas, values, threshold) {
  const { context, width, height } = prepared(canvas);
  const y = (value) => 6 + (1 - value) * (height - 12);
  if (threshold !== null) {
    context.setLineDash([4, 4]);
    context.strokeStyle = colour("--line-strong");
    context.beginPath();
    context.moveTo(0, y(threshold));
    context.lineTo(width, y(threshold));
    context.stroke();
    context.setLineDash([]);
  }
  context.strokeStyle = colour("--accent");
  context.lineWidth = 2;
  context.lineJoin = "round";
  context.beginPath();
  let drawing = false;
  values.forEach((value, index) => {
    const x = values.length > 1 ? (index / (values.length - 1)) * width : width / 2;
    if (value === null) { drawing = false; return; }
    if (drawing) context.lineTo(x, y(value)); else context.moveTo(Math.max(0, x - (values.length > 1 ? 0 : 20)), y(value));
    if (values.length === 1) context.lineTo(x + 20, y(value));
    drawing = true;
  });
  context.stroke();
}

/** A spectrogram that grows with its piece. Levels are kept, so that a change of colours costs no second look. */
export class Spectrogram {
  constructor(canvas) {
    this._canvas = canvas;
    this._levels = new Uint8Array(COLUMNS * ROWS);
    this._picture = document.createElement("canvas");
    this._picture.width = COLUMNS;
    this._picture.height = ROWS;
    this._piece = null;
    this._done = 0;
    this._total = 0; // samples that the width stands for
  }

  show(piece) {
    this._piece = piece;
    this._done = this._total = 0;
    this._levels.fill(0);
    this._picture.getContext("2d").clearRect(0, 0, COLUMNS, ROWS);
    this.paint();
  }

  /** Compute what has become possible; true if the picture changed. At most a few columns at a time: it must not be felt. */
  update(most = 60) {
    const piece = this._piece;
    if (!piece?.rate) return false;
    // A piece that ends early is as long as it got: its columns stand elsewhere then.
    if (Math.abs(piece.total - this._total) > 0.005 * this._total) { this._total = piece.total; this._done = 0; }
    const before = this._done;
    if (this._rowsRate !== piece.rate) { this._rows = rowsOf(piece.rate); this._rowsRate = piece.rate; }
    while (this._done < COLUMNS && this._done - before < most) {
      const middle = Math.round(((this._done + 0.5) / COLUMNS) * this._total);
      if (middle + WINDOW / 2 > piece.length && !piece.complete) break;
      this._column(this._done++, piece, middle - WINDOW / 2);
    }
    if (this._done === before) return false;
    this._colour(before, this._done);
    this.paint();
    return true;
  }

  recolour() { this._map = null; this._colour(0, this._done); this.paint(); }

  paint() {
    const { context, width, height } = prepared(this._canvas);
    context.imageSmoothingQuality = "high";
    context.drawImage(this._picture, 0, 0, width, height);
  }

  _column(column, piece, start) {
    const real = new Float32Array(WINDOW), imaginary = new Float32Array(WINDOW);
    const samples = piece.channels[0];
    for (let index = 0; index < WINDOW; index++) {
      const at = start + index;
      if (at >= 0 && at < piece.length) real[index] = samples[at] * HANN[index];
    }
    transform(real, imaginary);
    for (let row = 0; row < ROWS; row++) {
      const { first, last, part } = this._rows[row];
      let power = 0;
      if (part === null) for (let bin = first; bin <= last; bin++) power = Math.max(power, real[bin] ** 2 + imaginary[bin] ** 2);
      else power = (1 - part) * (real[first] ** 2 + imaginary[first] ** 2) + part * (real[last] ** 2 + imaginary[last] ** 2);
      const decibels = 10 * Math.log10(power / (WINDOW / 4) ** 2 + 1e-12);
      this._levels[column * ROWS + row] = 255 * Math.max(0, Math.min(1, (decibels - FLOOR_DB) / (TOP_DB - FLOOR_DB))) ** 1.35;
    }
  }

  _colour(from, to) {
    if (to <= from) return;
    this._map ??= colourMap();
    const context = this._picture.getContext("2d");
    const image = context.createImageData(to - from, ROWS);
    for (let column = from; column < to; column++) {
      for (let row = 0; row < ROWS; row++) {
        const level = this._levels[column * ROWS + row];
        const at = 4 * ((ROWS - 1 - row) * (to - from) + column - from);
        image.data.set(this._map.subarray(3 * level, 3 * level + 3), at);
        image.data[at + 3] = 255;
      }
    }
    context.putImageData(image, from, 0);
  }
}

const HANN = Float32Array.from({ length: WINDOW }, (_, index) => 0.5 - 0.5 * Math.cos((2 * Math.PI * index) / WINDOW));

/** For each row, low to high, the bins of the transform it shows, in equal steps of pitch: the loudest of several, or
 * a place between two. */
function rowsOf(rate) {
  const top = Math.min(rate / 2, HIGHEST);
  const bin = (row) => (LOWEST * (top / LOWEST) ** (row / ROWS) * WINDOW) / rate;
  return Array.from({ length: ROWS }, (_, row) => {
    const low = bin(row), high = bin(row + 1);
    if (high - low >= 2) return { first: Math.round(low), last: Math.min(WINDOW / 2, Math.round(high) - 1), part: null };
    const middle = (low + high) / 2;
    return { first: Math.floor(middle), last: Math.floor(middle) + 1, part: middle % 1 };
  });
}

const PITCHES = [[100, "100 Hz"], [300, "300 Hz"], [1000, "1 kHz"], [3000, "3 kHz"], [10000, "10 kHz"]];

/** Names and lines for pitches along the height of a spectrogram. */
export function pitchAxis(place, rate) {
  const span = Math.log(Math.min(rate / 2, HIGHEST) / LOWEST);
  place.replaceChildren(...PITCHES.map(([hertz, name]) => [Math.log(hertz / LOWEST) / span, name]).filter(([at]) => at < 0.95).map(([at, name]) => {
    const mark = h("span", {}, h("b", {}, name));
    mark.style.bottom = `${(100 * at).toFixed(2)}%`;
    return mark;
  }));
}

/** Times along the width of one, as many as are easy to read. */
export function timeAxis(place, duration) {
  const room = Math.max(3, Math.floor(place.clientWidth / 58));
  const step = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300].find((one) => duration / one <= room) ?? 600;
  const count = duration ? Math.floor(duration / step + 1e-6) : -1;
  place.replaceChildren(...Array.from({ length: count + 1 }, (_, index) => {
    const mark = h("span", {}, step < 1 ? `${(index * step).toFixed(1)} s` : clock(index * step));
    mark.style.left = `${((100 * index * step) / duration).toFixed(3)}%`;
    return mark;
  }));
}

/** 256 colours between those of the style sheet. */
function colourMap() {
  const stops = [0, 1, 2, 3, 4].map((number) => rgb(colour(`--spec-${number}`)));
  const map = new Uint8ClampedArray(3 * 256);
  for (let level = 0; level < 256; level++) {
    const place = (level / 255) * 4, index = Math.min(3, Math.floor(place)), part = place - index;
    for (let channel = 0; channel < 3; channel++) map[3 * level + channel] = stops[index][channel] * (1 - part) + stops[index + 1][channel] * part;
  }
  return map;
}

function rgb(hex) {
  return [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16));
}

/** Fast Fourier transform in place. */
function transform(real, imaginary) {
  const size = real.length;
  for (let index = 1, other = 0; index < size; index++) {
    let bit = size >> 1;
    for (; other & bit; bit >>= 1) other ^= bit;
    other ^= bit;
    if (index < other) { [real[index], real[other]] = [real[other], real[index]]; }
  }
  for (let span = 2; span <= size; span <<= 1) {
    const half = span >> 1, step = (-2 * Math.PI) / span;
    for (let offset = 0; offset < half; offset++) {
      const cosine = Math.cos(step * offset), sine = Math.sin(step * offset);
      for (let start = offset; start < size; start += span) {
        const partner = start + half;
        const re = real[partner] * cosine - imaginary[partner] * sine, im = real[partner] * sine + imaginary[partner] * cosine;
        real[partner] = real[start] - re;
        imaginary[partner] = imaginary[start] - im;
        real[start] += re;
        imaginary[start] += im;
      }
    }
  }
}
