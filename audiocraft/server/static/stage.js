// The piece that is being looked at and listened to: outline, spectrogram, transport, and what can be done with it.

import { send } from "./api.js";
import { $, announce, calm, clock, h, seconds, sentence, setIcon } from "./dom.js";
import { drawRest, drawWave, Spectrogram } from "./draw.js";
import { isActive } from "./jobs.js";
import { Score, Takes } from "./score.js";
import { stars } from "./store.js";

const FORMATS = [["wav", "WAV", "exact"], ["flac", "FLAC", "exact, smaller"], ["mp3", "MP3", "plays everywhere"], ["opus", "Opus", "smallest"]];
const STATES = { queued: "Waiting", starting: "Starting", processing: "Composing", succeeded: "", failed: "Failed", canceled: "Canceled" };

const EMPTY = ["Nothing playing yet", "Write a few words and press Generate. It is made by this server and sent nowhere else."];
const PRELOADED = 4; // takes fetched in advance, so that changing between them is heard as one piece

export class Stage {
  /** @param {(take: object, at: number) => void} choose puts another take of the same piece on the stage */
  constructor(player, shelf, jobs, choose) {
    this.generation = null;
    this._player = player;
    this._shelf = shelf;
    this._jobs = jobs;
    this._spectrogram = new Spectrogram($("spectrum-canvas"));
    this._score = new Score($("score"));
    this._takes = new Takes($("takes"), (take) => choose(take, this._momentFor(take)));
    this._stale = true;
    this._heard = new WeakSet();
    this._wire();
    requestAnimationFrame((time) => this._frame(time));
  }

  /** Put a piece on the stage; with `play`, let it sound as soon as there is something. */
  show(generation, play = false, at = 0) {
    const changed = this.generation?.id !== generation.id;
    this.generation = generation;
    const piece = this._shelf.get(generation);
    if (changed || this._player.piece !== piece) {
      this._spectrogram.show(piece);
      this._listen(piece);
      this._player.show(piece, play, at);
      if (isActive(generation)) this._jobs.follow(generation.id);
    } else if (play) this._player.play();
    this._spectrogram.paint();
    this.refresh();
  }

  _listen(piece) {
    if (this._heard.has(piece)) return;
    this._heard.add(piece);
    piece.addEventListener("data", () => { this._stale = true; });
    piece.addEventListener("open", () => this.refresh());
  }

  /** The take before or after, or the one of this number. */
  take(number) { $("takes").children[number]?.click(); }

  /** Where another take is taken up: at the same moment, if it has come so far. */
  _momentFor(take) {
    const { position, piece, wanted } = this._player;
    const ended = !wanted && position >= piece.duration - 0.05;
    return isActive(take) || ended ? 0 : position;
  }

  clear() {
    this._player.pause();
    this.generation = null;
    $("stage").dataset.state = "empty";
    [$("stage-title").textContent, $("stage-facts").textContent] = EMPTY;
    for (const id of ["stage-status", "progress", "actions", "score", "takes", "star"]) $(id).hidden = true;
    $("play").disabled = true;
    this._sayTitle();
    this._stale = true;
  }

  refresh() {
    const generation = this.generation;
    if (!generation) return;
    const active = isActive(generation);
    const piece = this._player.piece;
    const silent = !active && generation.status !== "succeeded" && !piece?.length && !generation.audio?.seconds;
    $("stage").dataset.state = silent ? "silent" : active ? "active" : generation.status;
    $("stage-title").textContent = generation.prompt || `Untitled ${generation.kind}`;
    const { plan } = generation;
    const failed = generation.status === "failed";
    const facts = [generation.model.split("/").pop(), seconds(generation.duration), `seed ${generation.seed}`, plan?.key ? `${Math.round(plan.tempo)} bpm · ${plan.key}` : null];
    $("stage-facts").textContent = failed && generation.error ? sentence(generation.error.message) : facts.filter(Boolean).join(" · ");
    const status = $("stage-status");
    status.hidden = generation.status === "succeeded";
    status.textContent = this._statusText(generation);
    status.dataset.tone = active ? "live" : failed ? "bad" : "";
    this._showProgress(generation, active);
    this._showActions(generation, active);
    this._score.show(plan, generation.duration);
    this._showTakes(generation);
    $("play").disabled = !piece || (failed && !piece.length) || (!active && piece.complete && !piece.length);
    $("axis-top").textContent = piece?.rate ? `${Number((Math.min(16000, piece.rate / 2) / 1000).toFixed(1))} kHz` : "";
    this._sayTitle();
    this._stale = true;
  }

  _showProgress(generation, active) {
    const bar = $("progress");
    bar.hidden = !active;
    bar.toggleAttribute("data-waiting", generation.status !== "processing");
    bar.setAttribute("aria-valuenow", Math.round(100 * generation.progress));
    bar.firstElementChild.style.transform = `scaleX(${generation.progress})`;
  }

  _showActions(generation, active) {
    const done = generation.status === "succeeded";
    $("actions").hidden = false;
    $("cancel").hidden = !active;
    for (const id of ["extend", "inspect", "star"]) $(id).hidden = !done;
    $("download").closest(".menu").hidden = !done;
    $("vary").querySelector("span").textContent = generation.status === "failed" ? "Try again" : "Vary";
    const starred = stars.has(generation.id);
    $("star").classList.toggle("starred", starred);
    $("star").setAttribute("aria-pressed", String(starred));
  }

  _showTakes(generation) {
    const takes = this._jobs.takesOf(generation);
    this._takes.show(takes, generation);
    if (takes.length > PRELOADED || takes.some(isActive) || !this._player.piece?.complete) return;
    for (const take of takes) if (take.status === "succeeded" && take.id !== generation.id) this._shelf.get(take).load();
  }

  /** The name of the tab: how far it is, or what plays. */
  _sayTitle() {
    const { generation } = this;
    const mark = !generation ? "" : isActive(generation) ? `${Math.round(100 * generation.progress)} % ` : this._player.wanted ? "▶ " : "";
    document.title = generation ? `${mark}${generation.prompt || "Untitled"} · AudioCraft` : "AudioCraft";
  }

  restyle() { this._spectrogram.recolour(); this._stale = true; }

  async download(format) {
    const generation = this.generation;
    if (generation?.status !== "succeeded") return;
    $("formats").hidden = true;
    const response = await send(`/v1/generations/${generation.id}/audio?format=${format}&download=true`);
    const name = /filename="([^"]+)"/.exec(response.headers.get("Content-Disposition") || "")?.[1] || `audio.${format}`;
    const address = URL.createObjectURL(await response.blob());
    const link = h("a", { href: address, download: name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(address), 30000);
    announce(`Downloaded ${name}`);
  }

  _statusText(generation) {
    if (generation.status === "queued" && generation.position > 0) return `Waiting, ${generation.position} before it`;
    if (generation.status !== "processing") return STATES[generation.status];
    const left = generation.remaining > 1 ? `, ${seconds(Math.round(generation.remaining))} left` : "";
    return `Composing ${Math.round(100 * generation.progress)} %${left}`;
  }

  _wire() {
    const player = this._player;
    $("play").addEventListener("click", () => player.toggle());
    player.addEventListener("state", () => this._sayState());
    player.addEventListener("end", () => this._sayState());
    $("loop").addEventListener("click", () => { player.loop = !player.loop; $("loop").setAttribute("aria-pressed", player.loop); });
    $("volume").addEventListener("input", (event) => { player.volume = Number(event.target.value); });
    const wave = $("wave");
    for (const picture of [wave, $("spectrum")]) this._wirePointer(picture);
    wave.addEventListener("keydown", (event) => this._seekByKey(event));
    $("formats").replaceChildren(...FORMATS.map(([format, name, note]) => h("li", { role: "none" },
      h("a", { role: "menuitem", href: "#", "data-format": format, onclick: (event) => { event.preventDefault(); this._try(this.download(format)); this._closeMenu(true); } },
        h("span", {}, name), h("small", {}, note)))));
    $("download").addEventListener("click", () => { if ($("formats").hidden) this._openMenu(); else this._closeMenu(); });
    document.addEventListener("click", (event) => { if (!event.target.closest(".menu")) this._closeMenu(); });
    $("formats").addEventListener("keydown", (event) => this._menuKey(event));
    new ResizeObserver(() => { this._stale = true; this._spectrogram.paint(); }).observe($("wave"));
  }

  /** Pictures of the piece are pressed where it should go on. */
  _wirePointer(picture) {
    const player = this._player;
    const label = $("wave-hover");
    const placeOf = (event) => {
      const box = picture.getBoundingClientRect();
      return Math.max(0, Math.min(1, (event.clientX - box.left) / box.width));
    };
    const seek = (event) => { if (player.piece?.rate) { player.seek(placeOf(event) * player.piece.duration); this._stale = true; } };
    picture.addEventListener("pointerdown", (event) => { if (event.button === 0) { picture.setPointerCapture(event.pointerId); seek(event); } });
    picture.addEventListener("pointermove", (event) => {
      if (event.buttons & 1 && picture.hasPointerCapture(event.pointerId)) seek(event);
      label.hidden = event.pointerType !== "mouse" || !player.piece?.rate || !this.generation;
      if (label.hidden) return;
      label.textContent = clock(placeOf(event) * player.piece.duration);
      label.style.left = `${(100 * placeOf(event)).toFixed(2)}%`;
    });
    picture.addEventListener("pointerleave", () => { label.hidden = true; });
  }

  _openMenu() { $("formats").hidden = false; $("download").setAttribute("aria-expanded", "true"); $("formats").querySelector("a").focus(); }

  _closeMenu(focus = false) {
    if ($("formats").hidden) return;
    $("formats").hidden = true;
    $("download").setAttribute("aria-expanded", "false");
    if (focus) $("download").focus();
  }

  _menuKey(event) {
    const items = [...$("formats").querySelectorAll("a")];
    const at = items.indexOf(document.activeElement);
    if (event.key === "Escape") { event.stopPropagation(); this._closeMenu(true); }
    if (event.key === "Tab") this._closeMenu();
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      event.stopPropagation();
      items[(at + (event.key === "ArrowDown" ? 1 : items.length - 1)) % items.length].focus();
    }
  }

  _seekByKey(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1, PageDown: -5, PageUp: 5, Home: -Infinity, End: Infinity }[event.key];
    if (step === undefined || !this._player.piece) return;
    event.preventDefault();
    event.stopPropagation();
    const target = this._player.position + step;
    this._player.seek(target === -Infinity ? 0 : Math.min(target, this._player.piece.duration));
    this._stale = true;
  }

  _sayState() {
    const { wanted } = this._player;
    setIcon($("play"), wanted ? "pause" : "play");
    $("play").setAttribute("aria-label", wanted ? "Pause" : "Play");
    this._sayTitle();
    this._stale = true;
  }

  _try(promise) {
    promise.catch((error) => { const status = $("stage-status"); status.hidden = false; status.dataset.tone = "bad"; status.textContent = sentence(error.message); announce(error.message); });
  }

  _frame(time) {
    requestAnimationFrame((next) => this._frame(next));
    if (document.hidden) return;
    const generation = this.generation;
    if (!generation) {
      if (this._stale || !calm()) drawRest($("wave-canvas"), calm() ? 2 : time / 1000);
      this._stale = false;
      return;
    }
    this._spectrogram.update();
    const player = this._player;
    const waiting = isActive(generation) && !calm();
    if (!this._stale && !player.wanted && !waiting) return;
    this._stale = false;
    drawWave($("wave-canvas"), player.piece, player.position, time / 1000);
    this._score.light(player.position > 0 || player.wanted ? player.position : null);
    const head = $("spectrum-head");
    head.hidden = !(player.position > 0 && player.position < player.piece.duration);
    head.style.left = `${((100 * player.position) / (player.piece.duration || 1)).toFixed(3)}%`;
    $("clock-now").textContent = clock(player.position);
    $("clock-all").textContent = clock(player.piece.duration);
    const wave = $("wave");
    const whole = Math.round(player.position);
    if (Number(wave.getAttribute("aria-valuenow")) !== whole || wave.getAttribute("aria-valuemax") === "0") {
      wave.setAttribute("aria-valuemax", Math.round(player.piece.duration));
      wave.setAttribute("aria-valuenow", whole);
      wave.setAttribute("aria-valuetext", `${clock(player.position)} of ${clock(player.piece.duration)}`);
    }
  }
}
