// The page in the reader's language. Everything here is written in English; what enters the document is translated there,
// by the catalogue of the language (decision 162), so that nothing else on this page needs to know. What people write,
// titles and prompts, stays as it is.

import { read, write } from "./store.js";

const LANGUAGES = { en: "English", ko: "한국어" };
const ATTRIBUTES = ["aria-label", "title", "placeholder", "aria-valuetext", "content"];
// Where words of people are shown; of the page's own words these hold only what OWN lists.
const WRITTEN = "#stage-title, #stage-words, #mini-title, #attached-name, #analysis-title, #pieces .prompt, #words-groups .chips, #score, #sections, #voice-name, title, textarea, code";
const OWN = ["Nothing playing yet", "The piece", "Analysis", "Untitled music", "Untitled sound", "Untitled continuation", "Untitled melody", "Untitled style", "Untitled edit"];
const PLACE = /\{(\w+)(?::([nt]))?\}/g;
const KINDS = { n: "-?\\d[\\d.,:]*", t: ".+?" };
const BETWEEN = / · (?=[^“”]*(?:“[^“”]*”[^“”]*)*$)/; // parts of a line; what stands in quotes is of somebody's own words
const MOST_NESTED = 4;
const MOST_KEPT = 2000; // texts of which is known what becomes of them

const escape = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

/** English to another language; the same rules as `utils/messages.py`. */
export class Messages {
  constructor(texts) {
    this._exact = new Map(Object.entries(texts).filter(([text]) => !text.includes("{")));
    this._patterns = Object.keys(texts).filter((text) => text.includes("{"))
      .sort((one, other) => other.replace(PLACE, "").length - one.replace(PLACE, "").length)
      .map((text) => ({ pattern: this._pattern(text), said: texts[text], kinds: Object.fromEntries([...text.matchAll(PLACE)].map(([, name, kind]) => [name, kind])) }));
    this._kept = new Map();
  }

  _pattern(text) {
    let from = 0, written = "";
    for (const match of text.matchAll(PLACE)) {
      written += `${escape(text.slice(from, match.index))}(?<${match[1]}>${KINDS[match[2] ?? "t"]})`;
      from = match.index + match[0].length;
    }
    return new RegExp(`^(?:${written}${escape(text.slice(from))})$`, "s");
  }

  say(text) {
    if (!this._kept.has(text)) {
      if (this._kept.size >= MOST_KEPT) this._kept.clear();
      this._kept.set(text, this._said(text, 0));
    }
    return this._kept.get(text);
  }

  _said(text, nested) {
    const known = this._exact.get(text);
    if (known !== undefined || nested >= MOST_NESTED) return known ?? text;
    const parts = text.split(BETWEEN);
    if (parts.length > 1) return parts.map((part) => this._said(part, nested + 1)).join(" · ");
    for (const { pattern, said, kinds } of this._patterns) {
      const groups = pattern.exec(text)?.groups;
      if (groups) return withParticles(said.replace(PLACE, (_, name) => (kinds[name] === "t" ? this._said(groups[name], nested + 1) : groups[name])));
    }
    return this._sentence(text, nested + 1);
  }

  /** What a server says is shown as a sentence, with a capital and a full stop that its text has not. */
  _sentence(text, nested) {
    if (!text.endsWith(".")) return text;
    const bare = text.slice(0, -1);
    for (const one of [bare, bare.charAt(0).toLowerCase() + bare.slice(1)]) {
      const said = this._said(one, nested);
      if (said !== one) return `${said}.`;
    }
    return text;
  }
}

/** A Korean text whose particles fit what is before them. */
export function withParticles(text) {
  return text.replace(/(.)(['"”’)\]]*)\{([^{}/]+)\/([^{}/]+)\}/gu, (_, letter, closing, ended, open) => {
    let ends = letter >= "가" && letter <= "힣" ? (letter.charCodeAt(0) - 0xac00) % 28 : Number("013678lmnLMN".includes(letter));
    if (ended === "으로" && (ends === 8 || "178lL".includes(letter))) ends = 0; // ㄹ takes 로
    return `${letter}${closing}${ends ? ended : open}`;
  });
}

/** The language that was chosen here, or the first that the browser knows. */
function chosen() {
  const asked = read("language", null);
  if (asked in LANGUAGES) return asked;
  return (navigator.languages ?? [navigator.language]).map((one) => one.slice(0, 2).toLowerCase()).find((one) => one in LANGUAGES) ?? "en";
}

let texts = null;

/** A text that a script keeps, such as a prompt to start from, in the reader's language. */
export const say = (text) => texts?.say(text) ?? text;

function translateText(node) {
  const text = node.data.trim();
  if (!/[A-Za-z]{2}|[A-Za-z] ?\d|\d ?[A-Za-z]/.test(text)) return;
  if (node.parentElement?.closest(WRITTEN) && !OWN.includes(text)) return;
  const said = texts.say(text);
  if (said !== text) node.data = node.data.replace(text, () => said);
}

function translateElement(element) {
  for (const name of ATTRIBUTES) {
    const text = element.getAttribute(name);
    if (!text || (name === "content" && element.name !== "description")) continue;
    const said = texts.say(text);
    if (said !== text) element.setAttribute(name, said);
  }
}

function translate(root) {
  if (root.nodeType === Node.TEXT_NODE) { translateText(root); return; }
  if (root.nodeType !== Node.ELEMENT_NODE) return;
  translateElement(root);
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    if (walker.currentNode.nodeType === Node.TEXT_NODE) translateText(walker.currentNode);
    else translateElement(walker.currentNode);
  }
}

/** Changes are seen before anything is painted, so that no English flashes. */
function watch() {
  new MutationObserver((changes) => {
    for (const change of changes) {
      if (change.type === "childList") change.addedNodes.forEach(translate);
      else if (change.type === "characterData") translateText(change.target);
      else translateElement(change.target);
    }
  }).observe(document.documentElement, { subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: ATTRIBUTES });
}

const language = chosen();
const other = Object.keys(LANGUAGES).find((one) => one !== language);
const button = document.getElementById("toggle-language");
button.textContent = LANGUAGES[other];
button.lang = other;
button.addEventListener("click", () => { write("language", other); location.reload(); });

if (language !== "en") {
  const answer = await fetch(`/static/${language}.json`).catch(() => null);
  if (answer?.ok) {
    texts = new Messages(await answer.json());
    document.documentElement.lang = language;
    translate(document.documentElement);
    watch();
  }
}
