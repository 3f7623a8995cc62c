// Elements and words. What comes from users is text, never markup: nothing here reads HTML.

/** An element. Attributes: `on…` are listeners, booleans are present or absent, null is left out. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const find = (selector, within = document) => within.querySelector(selector);

/** Put children in place of what is there, unless that is the same already: focus and selection stay where they are. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Set a text only where it changes, so that nothing is announced twice. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A number in four digits, as people write it. */
export function number(value) {
  if (value === null || value === undefined) return "—";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value) && Math.abs(value) < 1e7) return String(value);
  const size = Math.abs(value);
  if (size >= 1e-3 && size < 1e5) return String(Number(value.toPrecision(4)));
  const [digits, power] = value.toExponential(3).split("e");
  return `${Number(digits)}e${Number(power)}`;
}

export const count = (value, one, many = `${one}s`) => `${value.toLocaleString("en")} ${value === 1 ? one : many}`;

const MOMENT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

export const moment = (time) =>
  time ? h("time", { datetime: time, title: time }, MOMENT.format(new Date(time))) : "—";

export function duration(seconds) {
  if (seconds === null || seconds === undefined || seconds < 0) return "—";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${Number(seconds.toPrecision(3))} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export function bytes(size) {
  if (size < 1000) return `${size} B`;
  const power = Math.min(3, Math.floor(Math.log10(size) / 3));
  return `${Number((size / 1000 ** power).toPrecision(3))} ${["B", "kB", "MB", "GB"][power]}`;
}

/** A name of the interface in words: train_dufm → Train DUFM. */
export function words(name) {
  const text = name.replace(/[_-]/g, " ").replace(/\b(dufm|dnc|srg|nc1|etf)\b/g, (short) => short.toUpperCase());
  return text.charAt(0).toUpperCase() + text.slice(1);
}

export const STRUCTURES = {
  zero: "zero",
  dnc: "deep neural collapse",
  srg: "strongly regular graph",
  low_rank: "low rank",
  other: "other",
  none: "none",
  simplex_etf: "simplex ETF",
};
export const structure = (name) => (name ? STRUCTURES[name] ?? name.replace(/_/g, " ") : "—");

/** A state by word, sign and colour. */
export const badge = (status) => h("span", { class: `badge ${status}` }, status);

/** A link to one of our pages. */
export const runPage = (run) => `/runs/${encodeURIComponent(run)}`;
export const jobPage = (id) => `/jobs/${encodeURIComponent(id)}`;

/** A part of an address, as it was before it was encoded. */
export function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // somebody typed a % that encodes nothing
  }
}

/** A long name on one line; all of it on hover, and to be copied. */
export const name = (text) => h("bdi", { class: "name", title: text.length > 28 ? text : null }, text);

/** A few names, and how many more. */
export function named(names, most = 4) {
  const shown = names.slice(0, most).map((text, index) => [index ? ", " : "", h("bdi", { class: "name" }, text)]);
  return names.length > most ? [shown, ` and ${names.length - most} more`] : shown;
}

/** A text of the service, in which `…` is code. */
export const prose = (text) => text.split("`").map((part, index) => (index % 2 ? h("code", {}, part) : part));

/** A table that scrolls by itself, no wider than it needs to be. Columns: {title, cell(row) → child, numeric, head}. */
export function table(caption, columns, rows, { captionHidden = false } = {}) {
  const head = columns.map((column) => h("th", { scope: "col", class: column.numeric ? "number" : null }, column.title));
  const body = rows.map((row, index) =>
    h("tr", {}, columns.map((column) =>
      h(column.head ? "th" : "td", { scope: column.head ? "row" : null, class: column.numeric ? "number" : null },
        column.cell(row, index)))));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", { class: columns.length < 4 ? "compact" : null }, h("caption", { class: captionHidden ? "unseen" : null }, caption), h("thead", {}, h("tr", {}, head)), h("tbody", {}, body)));
}

/** Name and value, one a line. */
export const pairs = (entries) =>
  h("dl", { class: "pairs" }, entries.map(([term, value]) => h("div", {}, h("dt", {}, term), h("dd", {}, value))));

/** A value of a report or of parameters, in words. */
export function value(content) {
  if (content === null || content === undefined) return "—";
  if (typeof content === "number") return number(content);
  if (typeof content === "boolean") return content ? "yes" : "no";
  if (Array.isArray(content)) {
    if (content.length === 0) return "none";
    return content.every((entry) => typeof entry !== "object")
      ? content.map((entry) => (typeof entry === "number" ? number(entry) : String(entry))).join(", ")
      : JSON.stringify(content);
  }
  if (typeof content === "object") {
    const entries = Object.entries(content);
    return entries.length ? pairs(entries.map(([term, inner]) => [term.replace(/_/g, " "), value(inner)])) : "none";
  }
  return String(content);
}

/** Ask before something that cannot be taken back: true if it is to be done. */
export function confirmed(question, action) {
  const dialog = h("dialog", { class: "ask", "aria-labelledby": "question" },
    h("form", { method: "dialog" }, h("p", { id: "question" }, question),
      h("div", { class: "buttons" },
        h("button", { value: "no", class: "plain" }, "Keep as it is"),
        h("button", { value: "yes", class: "danger" }, action))));
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) =>
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    }));
}

const current = find(`nav a[data-of~="${document.documentElement.dataset.page}"]`);
current?.setAttribute("aria-current", "page");
