// What the server is doing: it tells of every piece that changes over one WebSocket, whoever asked for it. Where there is no
// WebSocket, as behind some proxies, it is asked, one question at a time.

import { ApiError, get, openSocket, patch, pause, post } from "./api.js";

const PLACES = { song: "/v1/songs", edit: "/v1/edits", podcast: "/v1/podcasts", bank: "/v1/banks" }; // where else something is asked for, by its kind

export const ACTIVE = ["queued", "starting", "processing"];
export const isActive = (generation) => ACTIVE.includes(generation.status);

/** What a piece is called: its title, else its words. */
export const titleOf = (generation) => generation.metadata?.title?.trim() || generation.prompt || `Untitled ${generation.kind}`;

/** How much of a piece can be heard, in seconds. */
export const lengthOf = (generation) => (["canceled", "failed"].includes(generation.status) ? generation.audio?.seconds ?? 0 : generation.duration);

/** How many seconds a piece takes yet where only its progress is told: less in the same measure. What begins anew does not say. */
function remainingAfter(before, { status, progress }) {
  if (before?.remaining === undefined || before.status !== "processing" || status !== "processing" || progress < before.progress) return undefined;
  return before.remaining * ((1 - progress) / (1 - before.progress || 1));
}

/** Whether there is audio of a piece that has ended. */
export const isKept = (generation) => generation.status === "succeeded" || (generation.status === "canceled" && generation.audio?.seconds > 0);

/** "change" with {generation, ended, fresh}; "gone" with the id of a piece that somebody deleted while it was made;
 * "renamed" with the id of one that was given a title here. */
export class Jobs extends EventTarget {
  constructor() {
    super();
    this.known = new Map();
    this.watching = false; // whether the server tells by itself
    this._dropped = new Set(); // deleted here: news of them come too late
    this._gathered = new Set(); // whose takes were asked for
    this._takes = new Map(); // which take of a piece is being made, where those before were silent: {take, of}
  }

  /** Remember what the server said of a piece -> what was known before. */
  know(generation) {
    const before = this.known.get(generation.id);
    generation.plan = generation.result?.plan ?? generation.plan ?? before?.plan; // told when it begins, stored when it ends
    generation.understood ??= before?.understood;
    generation.remaining ??= remainingAfter(before, generation);
    generation.again = isActive(generation) ? this._takes.get(generation.id) : undefined;
    const same = before?.again?.take === generation.again?.take; // another take begins anew
    if (before && same && generation.status === "processing") generation.progress = Math.max(before.progress, generation.progress);
    this.known.set(generation.id, generation);
    return before;
  }

  /** The same, and tell everyone. */
  take(generation) {
    if (this._dropped.has(generation.id)) return;
    const before = this.known.get(generation.id);
    // An answer may come after news that are newer: what has ended does not begin again.
    if (before && !isActive(before) && isActive(generation)) return;
    this.know(generation);
    const ended = Boolean(before && isActive(before) && !isActive(generation));
    this.dispatchEvent(new CustomEvent("change", { detail: { generation, ended, fresh: !before } }));
  }

  /** The pieces that were asked for together with one, or as variations of it: the first one first. */
  takesOf(generation) {
    const set = generation.metadata?.set;
    if (!set) return [generation];
    return [...this.known.values()].filter((one) => one.metadata?.set === set).sort((one, other) => (one.id < other.id ? -1 : 1));
  }

  /** Ask for the takes of a piece that were never shown here -> whether there are some. */
  async gather(generation) {
    const set = generation.metadata?.set;
    if (!set || this._gathered.has(set)) return false;
    this._gathered.add(set);
    const { data } = await get(`/v1/generations?${new URLSearchParams({ set, limit: "100" })}`).catch((error) => { this._gathered.delete(set); throw error; });
    const missing = data.filter(({ id }) => !this.known.has(id) && !this._dropped.has(id));
    missing.forEach((one) => this.know(one));
    return missing.length > 0;
  }

  get active() { return [...this.known.values()].filter(isActive); }

  forget(id) { this.known.delete(id); this._dropped.add(id); }

  /** After all, it was not deleted. */
  recall(generation) { this._dropped.delete(generation.id); this.known.set(generation.id, generation); }

  async submit(body) {
    const generation = await post(PLACES[body.kind] ?? "/v1/generations", body);
    this.take(generation);
    return this.known.get(generation.id) ?? generation; // news of its end may have been quicker than this answer
  }

  /** The words by which what is made of a piece is a take beside it. */
  async beside(generation) {
    const { set, title } = generation.metadata ?? {};
    const words = { set: set ?? Math.random().toString(36).slice(2, 12), ...(title && { title }) };
    if (!set) this.take(await patch(`/v1/generations/${generation.id}`, { metadata: { set: words.set } }));
    return words;
  }

  async cancel(id) { this.take(await post(`/v1/generations/${id}/cancel`)); }

  async rename(id, title) {
    this.take(await patch(`/v1/generations/${id}`, { metadata: { title: title.trim().slice(0, 200) || null } }));
    this.dispatchEvent(new CustomEvent("renamed", { detail: id }));
  }

  /** Take over what is said about a piece where its audio comes from: more often than elsewhere. */
  hear(id, { type, generation, ...data }) {
    if (type === "retry") this._takes.set(id, { take: data.take, of: data.of });
    if (generation) { this.take({ ...generation, plan: data.plan }); return; }
    const known = this.known.get(id);
    if (!known || !isActive(known)) return;
    const progress = type === "progress" ? data.done / data.total : type === "audio" ? data.seconds / known.duration : known.progress;
    this.take({ ...known, plan: data.plan ?? known.plan, status: "processing", progress: Math.max(known.progress, Math.min(0.999, progress)), remaining: type === "progress" ? (data.elapsed / data.done) * (data.total - data.done) : known.remaining });
  }

  /** Hear of every change from now on. */
  async watch() {
    for (let failures = 0; ; ) {
      const opened = failures < 3 || failures % 10 === 0 ? await this._listen() : false;
      failures = opened ? 0 : failures + 1;
      // What happened meanwhile is asked for; without WebSockets, this is how everything is known.
      await this._look().catch(() => {});
      await pause(1000);
    }
  }

  /** Listen until the connection is lost -> whether there was one. */
  _listen() {
    return new Promise((resolve) => {
      const socket = openSocket();
      let opened = false;
      socket.addEventListener("open", () => socket.send(JSON.stringify({ type: "watch" })));
      socket.addEventListener("message", ({ data }) => {
        const { type, generation, id } = JSON.parse(data);
        if (type === "watching") { opened = this.watching = true; this._look().catch(() => {}); }
        if (type === "changed") this.take(generation);
        if (type === "deleted") { this.known.delete(id); this.dispatchEvent(new CustomEvent("gone", { detail: id })); }
      });
      socket.addEventListener("close", () => { this.watching = false; resolve(opened); });
    });
  }

  /** Ask once for everything that is not finished here or there. */
  async _look() {
    const query = ACTIVE.map((status) => `status=${status}`).join("&");
    const wanted = this.active;
    const found = (await get(`/v1/generations?limit=100&${query}`)).data;
    found.forEach((generation) => this.take(generation));
    for (const { id } of wanted.filter((one) => !found.some((other) => other.id === one.id))) {
      const now = await get(`/v1/generations/${id}`).catch((error) => { if (error instanceof ApiError && error.status === 404) return null; throw error; });
      if (now) this.take(now);
      else { this.known.delete(id); this.dispatchEvent(new CustomEvent("gone", { detail: id })); }
    }
  }
}
