// The catalogue of metrics.
import { count, fill, find, h, number, pairs, say } from "./elements.js";
import { get, start } from "./service.js";

const SCOPES = { layer: "every layer", weights: "every layer that comes with weights", classifier: "the last layer, with its weights" };
const NEEDS = {
  means: "the class means",
  scatter: "the scatter of each class",
  projected_scatter: "the scatter along the class means",
  scatter_matrix: "the whole matrix of scatter",
  samples: "the samples themselves",
};

/** A formula, with its subscripts set as such: μ_G, M̄, tr(Σ_W Σ_B⁺); the text that is read and copied stays the same. */
export function formula(text) {
  const parts = text.split(/(?<=[\p{L}\p{M}})])_(\{[^}]*\}|[\p{L}\p{N}]+)/u);
  return h("p", { class: "formula", "aria-label": text }, parts.map((part, index) =>
    index % 2 ? h("sub", {}, part.replace(/^\{|\}$/g, "")) : italics(part)));
}

/** Single letters are variables. */
const italics = (text) =>
  text.split(/(?<![\p{L}\p{N}_])(\p{L}\p{M}*)(?![\p{L}\p{N}\p{M}_(])/u).map((part, index) => (index % 2 ? h("i", {}, part) : part));

function card(entry) {
  const conventions = Object.entries(entry.conventions).filter(([, text]) => text);
  return h("article", { class: "card", id: entry.name, "aria-labelledby": `title-${entry.name}` },
    h("h2", { id: `title-${entry.name}` }, entry.title),
    h("p", {}, h("code", {}, entry.name), entry.decides ? h("span", { class: "tag", title: "The summary calls a layer collapsed if every metric that decides says so" }, "decides") : null),
    formula(entry.formula),
    pairs([
      ["ideal", entry.ideal === null ? "none" : typeof entry.ideal === "number" ? number(entry.ideal) : entry.ideal],
      ["collapse lies", entry.direction ? `${entry.direction}` : "neither way"],
      ...(entry.threshold === null ? [] : [["collapsed", `${entry.direction === "higher" ? "from" : "up to"} ${number(entry.threshold)}`]]),
      ["scope", SCOPES[entry.scope] ?? entry.scope],
      ["needs", NEEDS[entry.needs] ?? entry.needs],
      ...conventions,
      ["source", entry.reference],
    ]));
}

start(async () => {
  const entries = await get("/v1/catalogue");
  const cards = entries.map((entry) => ({ entry, element: card(entry), text: `${entry.name} ${entry.title} ${entry.reference} ${entry.formula}`.toLowerCase() }));
  const show = () => {
    const words = find("#query").value.trim().toLowerCase().split(/\s+/);
    const scope = find("#scope").value;
    const found = cards.filter(({ entry, text }) => (!scope || entry.scope === scope) && words.every((word) => text.includes(word)));
    fill(find("#metrics"), found.map(({ element }) => element));
    say(find("#told"), `${count(found.length, "metric")} of ${cards.length}`);
  };
  find("#query").addEventListener("input", show);
  find("#scope").addEventListener("change", show);
  find("form").addEventListener("submit", (event) => event.preventDefault());
  show();
  find("#metrics").removeAttribute("aria-busy");
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
});
