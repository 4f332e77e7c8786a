// The server's API: plain requests, event streams that go on where they were cut, and the key where one is needed.

const PLACE = "audiocraft.key";
let askForKey = null;
let kept = null;

export class ApiError extends Error {
  constructor(status, body) {
    super(body.message || `the server answered ${status}`);
    this.status = status;
    this.code = body.code || "";
    this.field = body.field || null;
    this.retryAfter = 0;
  }
}

/** The server did not answer at all. */
export class Unreachable extends Error {
  constructor() { super("The server cannot be reached."); this.retryAfter = 0; }
}

/** "lost" when a request got no answer, "found" at the first answer after that. */
export const connection = new EventTarget();
let lost = false;
function connected(now) {
  if (now === !lost) return;
  lost = !now;
  connection.dispatchEvent(new Event(lost ? "lost" : "found"));
}

export function onKeyNeeded(ask) { askForKey = ask; }

export function rememberKey(secret, forGood) {
  kept = secret;
  try {
    sessionStorage.setItem(PLACE, secret);
    if (forGood) localStorage.setItem(PLACE, secret);
    else localStorage.removeItem(PLACE); // an earlier one, which was refused
  } catch { /* private windows may refuse: it is known until the page is left */ }
}

function key() {
  try { return kept || sessionStorage.getItem(PLACE) || localStorage.getItem(PLACE); } catch { return kept; }
}

export const hasKey = () => Boolean(key());

/** A response that is fine; anything else becomes an ApiError. A missing key is asked for, once at a time. */
export async function send(path, { method = "GET", json, form, headers = {}, signal } = {}) {
  for (;;) {
    const sent = { ...headers };
    const secret = key();
    if (secret) sent.Authorization = `Bearer ${secret}`;
    if (json !== undefined) sent["Content-Type"] = "application/json";
    const response = await fetch(path, {
      method, signal, headers: sent, body: json !== undefined ? JSON.stringify(json) : form, credentials: "same-origin",
    }).catch((error) => {
      if (signal?.aborted) throw error;
      connected(false);
      throw new Unreachable();
    });
    connected(true);
    if (response.ok) return response;
    if (response.status === 401 && askForKey) { await askForKey(); continue; }
    const error = new ApiError(response.status, await response.json().catch(() => ({})));
    error.retryAfter = Number(response.headers.get("Retry-After")) || 0;
    throw error;
  }
}

export const get = async (path, options) => (await send(path, options)).json();
export const post = async (path, json) => (await send(path, { method: "POST", json })).json();
export const remove = (path) => send(path, { method: "DELETE" });

/** The events of a piece until it ends; connections that break are taken up again after the last event seen. */
export async function* events(id, signal) {
  let last = 0;
  let failures = 0;
  for (;;) {
    try {
      const headers = last ? { "Last-Event-ID": String(last) } : {};
      const response = await send(`/v1/generations/${id}/events`, { headers, signal });
      for await (const event of parse(response.body)) {
        failures = 0;
        last = event.id || last;
        yield event;
        if (["succeeded", "failed", "canceled"].includes(event.kind)) return;
      }
      if (last && failures++ > 3) return;
    } catch (error) {
      if (signal?.aborted || error instanceof ApiError) throw error;
      failures++;
    }
    await pause(300 * 2 ** Math.min(failures, 4));
  }
}

async function* parse(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      rest += value;
      const blocks = rest.split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const fields = {};
        for (const line of block.split("\n")) {
          const cut = line.indexOf(": ");
          if (cut > 0) fields[line.slice(0, cut)] = line.slice(cut + 2);
        }
        if (fields.data) yield { id: Number(fields.id), kind: fields.event, data: JSON.parse(fields.data) };
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

export const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

export const loadModel = (id) => post(`/v1/models/${id}/load`);
export const unloadModel = (id) => post(`/v1/models/${id}/unload`);
