// What the server is doing: every piece that is not finished is watched, the chosen one event by event, the others
// together with one question at a time (browsers allow only a handful of connections).

import { ApiError, events, get, pause, post } from "./api.js";

export const ACTIVE = ["queued", "starting", "processing"];
export const isActive = (generation) => ACTIVE.includes(generation.status);

export class Jobs extends EventTarget {
  constructor() {
    super();
    this.known = new Map();
    this._followed = null;
    this._polling = false;
  }

  /** Remember what the server said of a piece -> what was known before. */
  know(generation) {
    const before = this.known.get(generation.id);
    generation.plan = generation.result?.plan ?? generation.plan ?? before?.plan; // told when it begins, stored when it ends
    this.known.set(generation.id, generation);
    return before;
  }

  /** The same, and tell everyone. */
  take(generation) {
    const before = this.know(generation);
    if (isActive(generation)) this._poll();
    const ended = Boolean(before && isActive(before) && !isActive(generation));
    this.dispatchEvent(new CustomEvent("change", { detail: { generation, ended, fresh: !before } }));
  }

  /** The pieces that were asked for together with one, or as variations of it: the first one first. */
  takesOf(generation) {
    const set = generation.metadata?.set;
    if (!set) return [generation];
    return [...this.known.values()].filter((one) => one.metadata?.set === set).sort((one, other) => (one.id < other.id ? -1 : 1));
  }

  get active() { return [...this.known.values()].filter(isActive); }

  forget(id) { this.known.delete(id); if (this._followed?.id === id) this._followed.stop.abort(); }

  async submit(body) {
    const generation = await post("/v1/generations", body);
    this.take(generation);
    return generation;
  }

  async cancel(id) { this.take(await post(`/v1/generations/${id}/cancel`)); }

  /** Watch one piece closely; the one before goes back to the others. */
  async follow(id) {
    if (this._followed?.id === id) return;
    this._followed?.stop.abort();
    const stop = new AbortController();
    this._followed = { id, stop };
    this._poll(); // for the one that was followed before
    try {
      for await (const event of events(id, stop.signal)) this._hear(id, event);
    } catch {
      // Another piece is watched now, or this one is gone: the questions below find out.
    }
    if (this._followed?.stop === stop) this._followed = null;
    if (!stop.signal.aborted && this.known.has(id) && isActive(this.known.get(id))) this._poll();
  }

  _hear(id, { kind, data }) {
    const known = this.known.get(id);
    if (data.generation) { this.take(data.generation); return; }
    if (!known || !isActive(known)) return;
    const progress = kind === "progress" ? data.done / data.total : kind === "audio" ? data.seconds / known.duration : known.progress;
    const plan = data.plan ?? known.plan;
    this.take({ ...known, plan, status: "processing", progress: Math.max(known.progress, Math.min(0.999, progress)), remaining: kind === "progress" ? (data.elapsed / data.done) * (data.total - data.done) : known.remaining });
  }

  async _poll() {
    if (this._polling) return;
    this._polling = true;
    try {
      for (;;) {
        await pause(600);
        const wanted = this.active.filter((one) => one.id !== this._followed?.id);
        if (!wanted.length) break;
        const query = ACTIVE.map((status) => `status=${status}`).join("&");
        const found = new Map((await get(`/v1/generations?limit=100&${query}`)).data.map((one) => [one.id, one]));
        for (const one of wanted) {
          const now = found.get(one.id) ?? (await get(`/v1/generations/${one.id}`).catch((error) => { if (error instanceof ApiError && error.status === 404) return null; throw error; }));
          if (now) this.take(now);
          else this.forget(one.id);
        }
      }
    } catch {
      setTimeout(() => this._poll(), 3000);
    } finally {
      this._polling = false;
    }
  }
}
