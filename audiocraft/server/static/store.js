// What this browser remembers: choices, stars, and the recipes of pieces that the server may have forgotten.

const PREFIX = "audiocraft.";
const KEPT = 300;
const KEPT_KINDS = ["music", "sound", "continuation", "melody", "style", "drums"];

export function read(name, otherwise) {
  try {
    const found = localStorage.getItem(PREFIX + name);
    return found === null ? otherwise : JSON.parse(found);
  } catch {
    return otherwise;
  }
}

export function write(name, value) {
  try {
    localStorage.setItem(PREFIX + name, JSON.stringify(value));
  } catch {
    // Full, or refused in a private window: the page works without it.
  }
}

export function writeText(name, value) {
  try { localStorage.setItem(PREFIX + name, value); } catch { /* as above */ }
}

/** What is written in this tab, until it is closed. */
export const draft = {
  read() { try { return JSON.parse(sessionStorage.getItem(PREFIX + "draft")) ?? {}; } catch { return {}; } },
  write(words) { try { sessionStorage.setItem(PREFIX + "draft", JSON.stringify(words)); } catch { /* as above */ } },
};

/** Pieces made here, newest first: enough to find them and to make them again. */
export const recipes = {
  all: () => read("recipes", []),
  keep(generation) {
    const { id, prompt, kind, model, duration, seed, created_at, request } = generation;
    if (!KEPT_KINDS.includes(kind)) return; // what is made of several is not made again from a few words
    const { temperature, guidance, top_k, decoding_steps, span_arrangement, flow_solver, flow_steps } = request;
    const recipe = { id, prompt, kind, model, duration, seed, created_at, request: { temperature, guidance, top_k, decoding_steps, span_arrangement, flow_solver, flow_steps } };
    write("recipes", [recipe, ...this.all().filter((known) => known.id !== id)].slice(0, KEPT));
  },
  drop(id) { write("recipes", this.all().filter((known) => known.id !== id)); },
};

export const stars = {
  has: (id) => read("stars", []).includes(id),
  toggle(id) {
    const all = read("stars", []);
    write("stars", all.includes(id) ? all.filter((known) => known !== id) : [id, ...all].slice(0, KEPT));
  },
};
