// The piece that is being looked at and listened to: outline, spectrogram, transport, and what can be done with it.

import { nameOf, send } from "./api.js";
import { $, announce, bytes, calm, clock, h, makerOf, pitch, seconds, sentence, setIcon } from "./dom.js";
import { drawRest, drawWave, pitchAxis, Spectrogram, timeAxis } from "./draw.js";
import { canEdit } from "./edit.js";
import { isActive, isKept, lengthOf, titleOf } from "./jobs.js";
import { SceneLane } from "./scene.js";
import { chordsOf, Score, Takes } from "./score.js";
import { Sections, sectionsOf } from "./sections.js";
import { stars } from "./store.js";

const FORMATS = [["wav", "WAV", "exact"], ["flac", "FLAC", "exact, smaller"], ["mp3", "MP3", "plays everywhere"], ["opus", "Opus", "small"], ["acx", "ACX", "codes, the smallest"]];
const STATES = { queued: "Waiting", starting: "Starting", processing: "Composing", succeeded: "", failed: "Failed", canceled: "Canceled" };

const EMPTY = ["Nothing playing yet", "Write a few words and press Generate. It is made by this server and sent nowhere else."];
const FRAME = 30; // milliseconds
const PRELOADED = 4; // takes fetched in advance, so that changing between them is heard as one piece

const listed = (words) => (words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`);

/** The piece that another one was made from: what undoing leads back to. */
export const earlierOf = ({ kind, request }) => (kind === "edit" || request?.keep ? request?.audio?.generation : kind === "song" ? request?.base : null);

/** The further files of a piece: their names, and what each is. */
const filesOf = (generation) => (generation?.result?.files ?? []).map(({ name, bytes: size }) => [name, { zip: "for Godot and the web", mp3: "with chapters", acproj: "the project" }[name.split(".").pop()] ?? bytes(size)]);

export class Stage {
  /**
   * @param {(take: object, at: number) => void} choose puts another take of the same piece on the stage
   * @param {(generation: object, suggestion: object) => void} elsewhere offers to another model the words that it knows
   */
  constructor(player, shelf, jobs, choose, elsewhere) {
    this.generation = null;
    this._player = player;
    this._shelf = shelf;
    this._jobs = jobs;
    this._elsewhere = elsewhere;
    this.refusal = () => ""; // why no part of a piece can be made anew, or an empty text
    this._axes = "";
    this._drawn = 0;
    this._spectrogram = new Spectrogram($("spectrum-canvas"));
    this._score = new Score($("score"));
    this._scene = new SceneLane($("scene"));
    this._sections = new Sections($("sections"), (second) => { player.seek(second); this._stale = true; });
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
    this._shelf.only(piece);
    if (changed) {
      this._closeName();
      this._jobs.gather(generation).then((more) => { if (more) this.refresh(); }).catch(() => {}); // those that are known are shown
    }
    if (changed || this._player.piece !== piece) {
      this._spectrogram.show(piece);
      this._listen(piece);
      this._player.show(piece, play, at);
    } else if (play) this._player.play();
    piece.load();
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
    this._shelf.only(null);
    this._closeName();
    this.generation = null;
    $("stage").dataset.state = "empty";
    [$("stage-title").textContent, $("stage-facts").textContent] = EMPTY;
    for (const id of ["stage-status", "progress", "actions", "score", "scene", "sections", "takes", "back", "star", "rename", "stage-words", "understood", "seam", "mini"]) $(id).hidden = true;
    $("play").disabled = true;
    this._sayTitle();
    this._stale = true;
  }

  refresh() {
    const generation = this.generation;
    if (!generation) return;
    const active = isActive(generation);
    const piece = this._player.piece;
    if (piece?.id === generation.id) piece.generation = generation;
    const silent = !active && generation.status !== "succeeded" && !piece?.length && !generation.audio?.seconds;
    $("stage").dataset.state = silent ? "silent" : active ? "active" : generation.status;
    $("stage-title").textContent = titleOf(generation);
    $("rename").hidden = !$("name-form").hidden;
    const words = generation.prompt && generation.prompt !== titleOf(generation);
    $("stage-words").hidden = !words;
    $("stage-words").textContent = words ? `“${generation.prompt}”` : "";
    const failed = generation.status === "failed";
    $("stage-facts").textContent = failed && generation.error ? sentence(generation.error.message) : this._facts(generation);
    this._showUnderstood(generation);
    const status = $("stage-status");
    status.hidden = generation.status === "succeeded";
    status.textContent = this._statusText(generation);
    status.dataset.tone = active ? "live" : failed ? "bad" : "";
    this._showProgress(generation, active);
    this._showActions(generation, active);
    const duration = piece?.complete ? piece.duration : Math.max(lengthOf(generation), 0.1);
    this._score.show(chordsOf(generation, this._jobs.known.get(generation.request?.audio?.generation)), duration);
    this._scene.show(generation.understood?.scene ?? [], duration, Boolean(generation.understood?.tempo));
    this._sections.show(sectionsOf(generation));
    this._showSeam(generation, duration);
    this._showAxes(piece, duration);
    this._showTakes(generation);
    this._showMini();
    $("play").disabled = !piece || (failed && !piece.length) || (!active && piece.complete && !piece.length);
    this._sayTitle();
    this._stale = true;
  }

  /** What it became: how long, how fast, in which key, with which chords. */
  _facts(generation) {
    const { plan, understood } = generation;
    const takes = generation.result?.takes;
    const length = lengthOf(generation);
    const tempo = plan?.tempo ?? understood?.tempo, key = plan?.key ?? understood?.key;
    const chords = understood?.chords?.length && generation.kind !== "song" ? understood.chords.map(pitch).join(" ").replace(/\s*\|$/, "") : null;
    return [
      makerOf(generation), length < generation.duration ? `${seconds(length)} of ${seconds(generation.duration)}` : seconds(generation.duration),
      tempo ? `${Math.round(tempo)} bpm` : null, key ? pitch(key) : null, chords, `seed ${generation.seed}`, takes ? `take ${takes.take} of ${takes.of}` : null, understood?.read_as ? `understood: ${understood.read_as}` : null,
    ].filter(Boolean).join(" · ");
  }

  /** What of the words could not be honoured, and who could. */
  _showUnderstood(generation) {
    const { notes = [], unknown = [], suggestion } = generation.understood ?? {};
    const said = notes.map((note) => sentence(note.said));
    const fault = generation.result?.fault;
    if (fault) said.push(sentence(fault), "Vary makes it with another seed.");
    const name = generation.model.split("/").pop();
    if (unknown.length && !notes.some((note) => note.what === "words")) said.push(`${name} does not know ${listed(unknown.map((word) => `“${word}”`))}: it made the piece without.`);
    const other = suggestion?.model && suggestion.model !== generation.model ? suggestion : null;
    const shown = JSON.stringify([generation.id, said, other?.model]);
    if (shown === this._understood) return;
    this._understood = shown;
    $("understood").hidden = !said.length && !other;
    const offer = other && h("li", {}, sentence(other.said), h("button", { type: "button", class: "link", onclick: () => this._elsewhere(this.generation, other) }, "Ask it"));
    $("understood").replaceChildren(...said.map((words) => h("li", {}, words)), ...(offer ? [offer] : []));
  }

  /** Where a piece goes on from another. */
  _showSeam(generation, duration) {
    const from = Number(generation.metadata?.from ?? 0);
    $("seam").hidden = !(from > 0 && from < duration);
    $("seam").style.left = `${((100 * from) / duration).toFixed(3)}%`;
    $("seam").title = `Goes on from ${clock(from)}`;
  }

  _showAxes(piece, duration) {
    const width = $("times").clientWidth;
    const shown = `${piece?.rate} ${duration} ${width}`;
    if (shown === this._axes || !width) return;
    this._axes = shown;
    if (piece?.rate) pitchAxis($("pitches"), piece.rate);
    timeAxis($("times"), duration);
  }

  _showProgress(generation, active) {
    const bar = $("progress");
    bar.hidden = !active;
    bar.toggleAttribute("data-waiting", generation.status !== "processing");
    bar.setAttribute("aria-valuenow", Math.round(100 * generation.progress));
    bar.firstElementChild.style.transform = `scaleX(${generation.progress})`;
  }

  _showActions(generation, active) {
    const done = isKept(generation);
    $("actions").hidden = false;
    $("cancel").hidden = !active;
    for (const id of ["extend", "redo", "inspect", "compare", "star"]) $(id).hidden = !done;
    if (generation.kind === "song") $("redo").hidden = true; // its sections are made again one by one, in its form
    if (["podcast", "bank"].includes(generation.kind)) for (const id of ["extend", "redo", "reuse"]) $(id).hidden = true;
    else $("reuse").hidden = generation.kind === "edit";
    if (generation.kind === "edit" && generation.request.edit === "loop") $("vary").hidden = true;
    else $("vary").hidden = false; // a loop is cut, and always the same
    const refused = $("redo").hidden ? "" : this.refusal(generation);
    $("redo").title = refused || "Mark a part and make it anew (P)";
    if (refused) $("redo").setAttribute("aria-disabled", "true"); // pressing it says why
    else $("redo").removeAttribute("aria-disabled");
    $("edit").hidden = !done || !canEdit(generation);
    $("back").hidden = !earlierOf(generation);
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
    const next = takes.find((take) => take.status === "succeeded" && take.id !== generation.id && !this._shelf.get(take).complete);
    // One after the other: connections are few.
    if (next && !this._shelf.busy) this._shelf.get(next).load()?.then(() => { if (this.generation?.id === generation.id) this._showTakes(this.generation); });
  }

  /** The small player, where the large one is out of sight. */
  _showMini() {
    const { generation } = this;
    const shown = Boolean(generation) && this._away && $("stage").dataset.state !== "silent";
    $("mini").hidden = !shown;
    document.body.classList.toggle("with-mini", shown);
    if (shown) $("mini-title").textContent = titleOf(generation);
  }

  /** Let the piece be called otherwise. */
  openName() {
    const { generation } = this;
    if (!generation) return;
    $("name").value = titleOf(generation);
    $("name").placeholder = generation.prompt;
    $("name-form").hidden = false;
    $("rename").hidden = $("stage-title").hidden = true;
    $("name").focus();
    $("name").select();
  }

  _closeName() {
    if ($("name-form").hidden) return;
    $("name-form").hidden = true;
    $("stage-title").hidden = false;
    $("rename").hidden = !this.generation;
  }

  async _keepName() {
    const { generation } = this;
    const name = $("name").value.trim();
    this._closeName();
    if (!generation || name === titleOf(generation)) return;
    await this._jobs.rename(generation.id, name === generation.prompt ? "" : name);
    announce(name ? `Called ${name}` : "It has its own words as its name again");
  }

  /** The name of the tab: how far it is, or what plays. */
  _sayTitle() {
    const { generation } = this;
    const mark = !generation ? "" : isActive(generation) ? `${Math.round(100 * generation.progress)} % ` : this._player.wanted ? "▶ " : "";
    document.title = generation ? `${mark}${titleOf(generation)} · AudioCraft` : "AudioCraft";
  }

  restyle() { this._spectrogram.recolour(); this._stale = true; }

  async download(format) {
    const generation = this.generation;
    if (!generation || !isKept(generation)) return;
    $("formats").hidden = true;
    // Of one that was canceled there is what was heard, not a file.
    const whole = generation.status === "succeeded";
    const response = await send(`/v1/generations/${generation.id}/${whole ? `audio?format=${format}&download=true` : `stream?format=${format}`}`);
    await this._save(response, nameOf(response) ?? `${titleOf(generation).slice(0, 48).replace(/[^\p{L}\p{M}\p{N}]+/gu, "-").toLowerCase()}-${generation.seed}.${format}`);
  }

  /** A further file of the piece, as `result.files` names it. */
  async downloadFile(name) {
    $("formats").hidden = true;
    await this._save(await send(`/v1/generations/${this.generation.id}/files/${encodeURIComponent(name)}`), name);
  }

  async _save(response, name) {
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
    // What was silent is made again before anybody hears it.
    const { again } = generation;
    if (again) return `Silent so far: take ${again.take} of ${again.of}, ${Math.round(100 * generation.progress)} %`;
    return `Composing ${Math.round(100 * generation.progress)} %${left}`;
  }

  _wire() {
    const player = this._player;
    for (const id of ["play", "mini-play"]) $(id).addEventListener("click", () => player.toggle());
    $("mini-title").addEventListener("click", () => { $("stage").scrollIntoView({ block: "start", behavior: calm() ? "instant" : "smooth" }); $("play").focus({ preventScroll: true }); });
    new IntersectionObserver(([entry]) => { this._away = !entry.isIntersecting; this._showMini(); }).observe($("stage"));
    $("rename").addEventListener("click", () => this.openName());
    $("name-form").addEventListener("submit", (event) => { event.preventDefault(); this._try(this._keepName()); $("rename").focus(); });
    $("name").addEventListener("keydown", (event) => { if (event.key === "Escape") { event.stopPropagation(); this._closeName(); $("rename").focus(); } });
    $("name").addEventListener("blur", () => { if (!$("name-form").hidden) this._try(this._keepName()); });
    player.addEventListener("state", () => this._sayState());
    player.addEventListener("end", () => this._sayState());
    $("loop").addEventListener("click", () => { player.loop = !player.loop; $("loop").setAttribute("aria-pressed", player.loop); });
    $("volume").addEventListener("input", (event) => { player.volume = Number(event.target.value); });
    const wave = $("wave");
    for (const picture of [wave, $("spectrum")]) this._wirePointer(picture);
    wave.addEventListener("keydown", (event) => this._seekByKey(event));
    $("download").addEventListener("click", () => { if ($("formats").hidden) this._openMenu(); else this._closeMenu(); });
    document.addEventListener("click", (event) => { if (!event.target.closest(".menu")) this._closeMenu(); });
    $("formats").addEventListener("keydown", (event) => this._menuKey(event));
    new ResizeObserver(() => { this._stale = true; this._spectrogram.paint(); if (this.generation) this.refresh(); }).observe($("wave"));
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

  /** What can be fetched of a piece: further files first, then its audio in every format. */
  _fillMenu() {
    const entry = (name, note, data, action) => h("li", { role: "none" },
      h("a", { role: "menuitem", href: "#", ...data, onclick: (event) => { event.preventDefault(); this._try(action()); this._closeMenu(true); } }, h("span", {}, name), h("small", {}, note)));
    const files = filesOf(this.generation), made = files.filter(([name]) => /\.(zip|mp3)$/.test(name)), rest = files.filter((one) => !made.includes(one));
    const file = ([name, note]) => entry(name, note, { "data-file": name }, () => this.downloadFile(name));
    $("formats").replaceChildren(...made.map(file), ...FORMATS.map(([format, name, note]) => entry(name, note, { "data-format": format }, () => this.download(format))), ...rest.map(file));
  }

  _openMenu() { this._fillMenu(); $("formats").hidden = false; $("download").setAttribute("aria-expanded", "true"); $("formats").querySelector("a").focus(); }

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
    for (const id of ["play", "mini-play"]) {
      setIcon($(id), wanted ? "pause" : "play");
      $(id).setAttribute("aria-label", wanted ? "Pause" : "Play");
    }
    this._sayTitle();
    this._stale = true;
  }

  _try(promise) {
    promise.catch((error) => { const status = $("stage-status"); status.hidden = false; status.dataset.tone = "bad"; status.textContent = sentence(error.message); announce(error.message); });
  }

  _frame(time) {
    requestAnimationFrame((next) => this._frame(next));
    // Half of the screen's pictures are enough, and leave the machine to the model.
    if (document.hidden || time - this._drawn < FRAME) return;
    this._drawn = time;
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
    this._sections.light(player.position > 0 || player.wanted ? player.position : null);
    const heard = player.position > 0 || player.wanted ? player.position : null;
    this._score.light(heard);
    this._scene.light(heard);
    $("clock-chord").textContent = this._score.legible ? "" : this._score.now;
    const head = $("spectrum-head");
    head.hidden = !(player.position > 0 && player.position < player.piece.duration);
    head.style.left = `${((100 * player.position) / (player.piece.duration || 1)).toFixed(3)}%`;
    $("clock-now").textContent = clock(player.position);
    $("clock-all").textContent = clock(player.piece.duration);
    if (!$("mini").hidden) {
      $("mini-clock").textContent = `${clock(player.position)} / ${clock(player.piece.duration)}`;
      $("mini-at").style.transform = `scaleX(${Math.min(1, player.position / (player.piece.duration || 1)).toFixed(4)})`;
    }
    const wave = $("wave");
    const whole = Math.round(player.position);
    if (Number(wave.getAttribute("aria-valuenow")) !== whole || wave.getAttribute("aria-valuemax") === "0") {
      wave.setAttribute("aria-valuemax", Math.round(player.piece.duration));
      wave.setAttribute("aria-valuenow", whole);
      wave.setAttribute("aria-valuetext", `${clock(player.position)} of ${clock(player.piece.duration)}`);
    }
  }
}
