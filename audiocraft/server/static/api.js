// The server's API: plain requests, WebSockets for what stays open, and the key where one is needed.

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
export async function send(path, { method = "GET", json, form, headers = {}, signal, keepalive = false } = {}) {
  for (;;) {
    const sent = { ...headers };
    const secret = key();
    if (secret) sent.Authorization = `Bearer ${secret}`;
    if (json !== undefined) sent["Content-Type"] = "application/json";
    const response = await fetch(path, {
      method, signal, keepalive, headers: sent, body: json !== undefined ? JSON.stringify(json) : form, credentials: "same-origin",
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
export const patch = async (path, json) => (await send(path, { method: "PATCH", json })).json();
/** With `last`, the request is made even while the page is being left. */
export const remove = (path, { last = false } = {}) => send(path, { method: "DELETE", keepalive: last });

/** What the server takes, as far as it has said so. */
export const limits = { upload: Infinity };

/** What is said of a file that is larger than the server takes it; null of any other. */
function tooLarge(file) {
  if (file.size <= limits.upload) return null;
  return `“${file.name}” is too large: ${Math.floor(limits.upload / 2 ** 20)} MB at most.`;
}

/** The name that an answer gives its file, in whatever alphabet. */
export function nameOf(response) {
  const said = response.headers.get("Content-Disposition") || "";
  const encoded = /filename\*=utf-8''([^;]+)/i.exec(said);
  return encoded ? decodeURIComponent(encoded[1]) : /filename="([^"]+)"/.exec(said)?.[1];
}

/** Bring a file to the server -> what it knows of it. What is refused is said with the name of the file. */
export async function upload(file) {
  if (tooLarge(file)) throw new ApiError(413, { message: tooLarge(file) });
  const form = new FormData();
  form.append("file", file, file.name);
  // Its name as it is here: what is sent of it has %22 in place of quotes.
  try { return { ...await (await send("/v1/uploads", { method: "POST", form })).json(), name: file.name }; } catch (error) {
    if (error instanceof ApiError) error.message = `“${file.name}”: ${error.message}`;
    throw error;
  }
}

/** A WebSocket of the server. What stays open uses these: of plain requests a browser keeps six per server and no more, all
 * tabs together, and everything else would wait behind them. Browsers cannot give it a header, so the key is a protocol. */
export function openSocket() {
  const address = new URL("/v1/stream", location.href);
  address.protocol = address.protocol.replace("http", "ws");
  const secret = key();
  const socket = new WebSocket(address, secret ? ["bearer", secret] : []);
  socket.binaryType = "arraybuffer";
  return socket;
}

/** The events of an answer that is a stream of them. */
export async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const fields = Object.fromEntries(block.split("\n").map((line) => [line.slice(0, line.indexOf(": ")), line.slice(line.indexOf(": ") + 2)]));
      if (fields.data) yield { kind: fields.event, data: JSON.parse(fields.data) };
    }
  }
}

export const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

export const loadModel = (id) => post(`/v1/models/${id}/load`);
export const unloadModel = (id) => post(`/v1/models/${id}/unload`);
