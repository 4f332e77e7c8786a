// Small helpers. Text only ever becomes text nodes: nothing on this page is built from markup.

export const $ = (id) => document.getElementById(id);

/** An element with properties, attributes, listeners ("on..."), and children. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name === "data") Object.assign(element.dataset, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

export function setIcon(button, name) {
  button.querySelector("use").setAttribute("href", `#i-${name}`);
}

export function clock(seconds) {
  const whole = Math.max(0, Math.round(seconds)); // as lengths are said in words
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

export function seconds(value) {
  return value >= 59.5 ? clock(value) : `${Number(value.toFixed(value < 10 && value % 1 ? 1 : 0))} s`;
}

/** A key or chord with the signs of music: Bb minor, F#m7. */
export const pitch = (name) => name.replace(/#/g, "♯").replace(/(^|\/)([A-G])b/g, "$1$2♭");

/** What a server or browser says, as a sentence. */
export function sentence(text) {
  const words = text.trim();
  return words.charAt(0).toUpperCase() + words.slice(1) + (/[.!?…]$/.test(words) ? "" : ".");
}

export function ago(time) {
  const past = (Date.now() - new Date(time).getTime()) / 1000;
  if (past < 50) return "just now";
  if (past < 3600) return `${Math.round(past / 60)} min ago`;
  if (past < 86400) return `${Math.round(past / 3600)} h ago`;
  return new Date(time).toLocaleDateString(undefined, { day: "numeric", month: "short" });
}

export function bytes(count) {
  if (count >= 2 ** 30) return `${(count / 2 ** 30).toFixed(1)} GB`;
  return count >= 2 ** 20 ? `${Math.round(count / 2 ** 20)} MB` : `${Math.max(1, Math.round(count / 2 ** 10))} kB`;
}

/** Fill the track of a range input up to its value; style sheets cannot know it. */
export function paintRange(input) {
  const part = (input.value - input.min) / (input.max - input.min || 1);
  input.style.setProperty("--at", `${(100 * part).toFixed(1)}%`);
}

let announced = 0;
export function announce(text) {
  const place = $("announcer");
  place.textContent = "";
  const mine = ++announced;
  setTimeout(() => { if (mine === announced) place.textContent = text; }, 50);
}

export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** What a model with an adapter on it is called. */
export const adaptedName = (model, adapter) => `${model}+${adapter}`;

/** What made a piece, in short: its model and the adapters on it. */
export const makerOf = ({ model, request }) => [model.split("/").pop(), ...(request?.adapters ?? []).map((one) => one.name)].join(" + ");
