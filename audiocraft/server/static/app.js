// Puts the parts together: the form makes pieces, the library lists them, the stage plays one.

import { ApiError, connection, get } from "./api.js";
import { AudioShelf } from "./audio.js";
import { CompareDialog } from "./compare.js";
import { Composer } from "./composer.js";
import { AnalysisDialog, keyboardDialog, keyDialog, ModelsDialog } from "./dialogs.js";
import { canEdit, EditDialog } from "./edit.js";
import { $, announce, calm, colour, paintRange, sentence } from "./dom.js";
import { Jobs, isKept, titleOf } from "./jobs.js";
import { Library } from "./library.js";
import "./language.js";
import { ElementPlayer, Player } from "./player.js";
import { GameForm, PodcastForm } from "./productions.js";
import { refusal, Region } from "./region.js";
import { SongForm } from "./song.js";
import { earlierOf, Stage } from "./stage.js";
import { read, stars, write, writeText } from "./store.js";
import { Workbench } from "./workbench.js";

const SHORTCUTS = [
  [["Ctrl", "Enter"], "Generate"], [["Space"], "Play or pause"], [["←", "→"], "One second back or on"], [["↑", "↓"], "Piece above or below"],
  [["1", "2", "3"], "Take A, B, C at the same moment"],
  [["N"], "New prompt"], [["V"], "Vary: the same with another seed"], [["X"], "Extend: continue this piece"], [["P"], "Redo a part"], [["E"], "Edit: longer, loop, ending, style"], [["S"], "Star"],
  [["D"], "Download"], [["R"], "Rename"], [["Z"], "Undo a deletion or the last change"],
  [["L"], "Repeat"], [["/"], "Search"], [["T"], "Light or dark"], [["?"], "This list"],
];

keyDialog();
const player = Player.supported ? new Player() : new ElementPlayer();
const jobs = new Jobs();
const shelf = new AudioShelf((id, message) => jobs.hear(id, message));
const composer = new Composer(generate);
const stage = new Stage(player, shelf, jobs, (take, at) => show(take, player.wanted, at), (generation, suggestion) => composer.offerTo(generation, suggestion));
const region = new Region((body) => complain(generate([body])), jobs);
const edits = new EditDialog((body) => generate([body]), jobs);
const songs = new SongForm(async (body) => { await generate([body]); return stage.generation; });
const forms = { composer, "song-form": songs, "podcast-form": new PodcastForm((body) => generate([body])), "bank-form": new GameForm((body) => generate([body])) };
const bench = new Workbench();
const models = new ModelsDialog();
stage.refusal = (generation) => refusal(generation, models.models);
const analysis = new AnalysisDialog();
const comparison = new CompareDialog();
const tabs = "BroadcastChannel" in window ? new BroadcastChannel("audiocraft") : null; // the other tabs with this page
const library = new Library(jobs, { show, play, forget, starred: () => stage.refresh(), complain: (promise) => complain(promise), deleted: (id) => tabs?.postMessage({ deleted: id }) });
keyboardDialog(SHORTCUTS);

/** Ask for pieces; the first one comes on the stage and sounds as soon as there is anything of it. */
async function generate(bodies) {
  player.unlock((models.models.find((model) => model.id === bodies[0].model) ?? composer.model)?.sample_rate ?? 0);
  const [first, ...others] = bodies;
  show(await jobs.submit(first), true);
  announce("Composing");
  for (const body of others) await jobs.submit(body);
}

function show(generation, play, at = 0, look = true, address = "pushState") {
  if (!generation) return;
  if (generation.gone) { again(generation); return; }
  stage.show(generation, play, at);
  region.follow(generation);
  // Found again after a reload, by whoever is given the address, and by going back.
  if (location.hash !== `#${generation.id}`) history[address](null, "", `#${generation.id}`);
  if (look) $("stage").scrollIntoView({ block: "nearest", behavior: calm() ? "instant" : "smooth" });
  library.mark(generation.id);
}

/** Let a piece of the list sound, or be silent if it does. */
function play(generation) {
  if (generation && stage.generation?.id === generation.id && player.wanted) player.pause();
  else show(generation, true, 0, false); // the list stays where it is: there is the small player
}

/** Make a piece again from its recipe. */
function again(recipe) {
  reuse(recipe);
  announce("Its settings are in the form");
}

function forget(id) {
  shelf.forget(id);
  if (stage.generation?.id === id) { stage.clear(); history.replaceState(null, "", "/"); }
  else stage.refresh();
}

jobs.addEventListener("change", ({ detail: { generation, ended } }) => {
  const shown = stage.generation;
  if (shown?.id === generation.id) {
    stage.generation = generation;
    if (ended && player.piece?.error) stage.show(generation, player.wanted, player.position); // its stream broke: now it is a file
    else stage.refresh();
  } else if (shown?.metadata?.set && shown.metadata.set === generation.metadata?.set) stage.refresh();
  if (!ended) return;
  const words = { succeeded: "is finished", failed: "failed", canceled: "was canceled" };
  announce(`${titleOf(generation)} ${words[generation.status]}`);
});
jobs.addEventListener("gone", ({ detail: id }) => { library.drop(id); forget(id); });
for (const event of ["state", "end"]) player.addEventListener(event, () => library.playing(player.wanted ? stage.generation?.id ?? null : null));

jobs.addEventListener("renamed", ({ detail: id }) => tabs?.postMessage({ renamed: id }));

// What another tab did that the server does not tell by itself.
if (tabs) tabs.onmessage = ({ data }) => {
  if (data.deleted) { jobs.forget(data.deleted); library.drop(data.deleted); forget(data.deleted); }
  if (data.renamed && jobs.known.has(data.renamed)) complain(get(`/v1/generations/${data.renamed}`).then((generation) => jobs.take(generation)));
};
addEventListener("storage", ({ key }) => { if (key === "audiocraft.stars") { stage.refresh(); library.load().catch(() => {}); } });
// A tab that nobody looked at for a while may have missed what happened on other machines.
let left = 0;
document.addEventListener("visibilitychange", () => {
  if (document.hidden) left = Date.now();
  else if (Date.now() - left > 30000) complain(library.load());
});
models.addEventListener("change", () => { composer.setModels(models.models, models.adapters); stage.refresh(); });

const say = (text) => { $("server-state").textContent = text; };
connection.addEventListener("lost", () => { say("The server cannot be reached. Trying again…"); reconnect(); });
connection.addEventListener("found", () => say(""));

let trying = false;
async function reconnect() {
  if (trying) return;
  trying = true;
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 2000));
    try { await start(); break; } catch { /* still away */ }
  }
  trying = false;
}

async function vary() {
  const { generation } = stage;
  if (!generation) return;
  const { seed, webhook, priority, metadata: { title, ...metadata } = {}, ...request } = generation.request;
  if (generation.kind === "song") { // the same plan, with other takes
    delete request.base;
    request.sections = request.sections.map(({ seed: _, ...section }) => section);
  }
  await generate([{ ...request, metadata }]); // the words in its metadata make it a take of the same piece
}

async function extend() {
  const { generation } = stage;
  if (!generation || !isKept(generation)) return;
  bench.choose(composer.kindOf(generation));
  await composer.extend(generation);
  $("composer").scrollIntoView({ block: "nearest" });
  $("generate").focus();
}

const complain = (promise) => promise?.catch((error) => {
  if (!(error instanceof ApiError)) return; // said already, and tried again
  say(sentence(error.message));
  setTimeout(() => say(""), 6000);
});

/** Put the settings of a piece into the form that it came from. */
function reuse(generation) {
  if (generation.kind === "song") { bench.choose("song"); songs.fill(generation); songs.focus(); return; }
  bench.choose(composer.kindOf(generation));
  composer.fill(generation);
  composer.focus();
}

function edit() {
  const { generation } = stage;
  if (generation && isKept(generation) && canEdit(generation)) edits.open(generation);
}

/** Have back what was deleted last, else what the piece was before its last change, at the same moment. */
async function undo() {
  if (library.undo()) return;
  const id = stage.generation && earlierOf(stage.generation);
  if (!id) return;
  const before = jobs.known.get(id) ?? (await get(`/v1/generations/${id}`).catch(() => null));
  if (!before) { say("What it was made from is not there any more."); return; }
  jobs.know(before);
  show(before, player.wanted, player.position);
  announce("As it was before");
}

function star() {
  const { generation } = stage;
  if (!generation || !isKept(generation)) return;
  stars.toggle(generation.id);
  library.refresh(generation.id);
  stage.refresh();
}

$("cancel").addEventListener("click", () => complain(jobs.cancel(stage.generation.id)));
$("vary").addEventListener("click", () => complain(vary()));
const redo = () => stage.generation && region.start(stage.generation, player.position, models.models);
$("redo").addEventListener("click", redo);
$("extend").addEventListener("click", () => complain(extend()));
$("reuse").addEventListener("click", () => reuse(stage.generation));
$("star").addEventListener("click", star);
$("edit").addEventListener("click", edit);
$("back").addEventListener("click", () => complain(undo()));
$("inspect").addEventListener("click", () => complain(analysis.generation(stage.generation)));
$("compare").addEventListener("click", () => { player.pause(); complain(comparison.open(stage.generation)); });
$("volume").value = player.volume = read("volume", 0.9);
$("volume").addEventListener("change", (event) => write("volume", Number(event.target.value)));
$("volume").addEventListener("input", (event) => paintRange(event.target));
paintRange($("volume"));

function toggleTheme() {
  const dark = document.documentElement.dataset.theme !== "dark";
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  writeText("theme", dark ? "dark" : "light");
  restyle();
}
function restyle() {
  document.querySelector("meta[name=theme-color]").content = colour("--bg");
  stage.restyle();
  library.redraw();
}
$("toggle-theme").addEventListener("click", toggleTheme);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", ({ matches }) => {
  let chosen = null;
  try { chosen = localStorage.getItem("audiocraft.theme"); } catch { /* never chosen, then */ }
  if (!chosen) { document.documentElement.dataset.theme = matches ? "dark" : "light"; restyle(); }
});

const COMMANDS = {
  " ": () => stage.generation && player.toggle(),
  ArrowLeft: () => player.seek(player.position - 1), ArrowRight: () => player.seek(player.position + 1),
  ArrowUp: () => show(library.neighbour(-1), player.wanted), ArrowDown: () => show(library.neighbour(1), player.wanted),
  r: () => stage.openName(), z: undo, n: () => forms[bench.form].focus(), e: edit, v: () => complain(vary()), x: () => complain(extend()), p: redo, s: star, d: () => $("download").click(), l: () => $("loop").click(),
  "/": () => $("search").focus(), t: toggleTheme, "?": () => $("keys-dialog").showModal(),
};
for (let number = 1; number <= 9; number++) COMMANDS[number] = () => stage.take(number - 1);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || document.querySelector("dialog[open]")) return;
  const typing = event.target.closest("input:not([type=radio]):not([type=range]), textarea, select");
  if (event.key === "Escape" && typing) { typing.blur(); return; }
  const own = event.target.closest("button, a, summary, [role=slider], input");
  if (typing || (own && (event.key === " " || event.key.startsWith("Arrow")))) return;
  const command = COMMANDS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!command) return;
  event.preventDefault();
  command();
});

async function start() {
  await models.refresh();
  await library.load();
  if (stage.generation) return;
  if (!addressed()) show(jobs.active[0], false, 0, true, "replaceState");
  else await arrive();
}

/** The piece that the address names, or nothing. */
const addressed = () => /^#(gen_\w+)$/.exec(location.hash)?.[1];

/** Show the piece of the address: somebody went back, or wrote another one. */
async function arrive() {
  const id = addressed();
  if (!id) { if (!location.hash && stage.generation) { stage.clear(); region.follow(null); library.mark(null); } return; }
  if (id === stage.generation?.id) return;
  const found = jobs.known.get(id) ?? (await get(`/v1/generations/${id}`).catch((error) => { if (error.status === 404) return null; throw error; }));
  if (addressed() !== id) return; // gone on meanwhile
  if (!found) { complain(Promise.reject(new ApiError(404, { message: "The piece of this address is not there any more." }))); return; }
  jobs.take(found);
  show(jobs.known.get(id) ?? found, player.wanted);
}
addEventListener("hashchange", () => complain(arrive()));

// For the console and for tests: what sounds, what is known.
window.audiocraft = Object.freeze({ player, jobs, stage, comparison, get });
start().catch((error) => { if (error instanceof ApiError) say(sentence(error.message)); }).finally(() => jobs.watch());
