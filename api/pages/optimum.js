// One solution of the catalogue.
import { fill, find, h, number, pairs, structure, table, value } from "./elements.js";
import { heatMap, readMatrices, singularValues } from "./matrices.js";
import { referencesTable } from "./report.js";
import { get, getBytes, start } from "./service.js";

const [, , K, L] = location.pathname.split("/");
const decay = new URLSearchParams(location.search).get("decay");
const base = `/v1/optima/${K}/${L}`;
const query = decay === null ? "" : `?${new URLSearchParams({ decay })}`;

function matrices(buffer) {
  const found = [...readMatrices(buffer)];
  return [
    h("section", { "aria-labelledby": "matrices" }, h("h2", { id: "matrices" }, "Matrices"),
      h("p", { class: "small" }, "Blue is below 0, orange above; full colour is the largest size in a matrix."),
      h("div", { class: "matrices" }, found.map(([name, matrix]) =>
        h("figure", {}, h("figcaption", {}, h("b", {}, name.replace("_", "")), ` ${matrix.rows} × ${matrix.columns}`), h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": name }, heatMap(name, matrix)))))),
    h("section", { "aria-labelledby": "singular" }, h("h2", { id: "singular" }, "Singular values"),
      table("Singular values, largest first", [
        { title: "matrix", head: true, cell: ([name]) => name },
        { title: "values", cell: ([, matrix]) => singularValues(matrix).map((entry) => number(entry < 1e-12 ? 0 : entry)).join(", ") },
      ], found, { captionHidden: true })),
  ];
}

start(async () => {
  const entry = await get(`${base}${query}`);
  fill(find("#optimum"),
    h("p", { class: "crumbs" }, h("a", { href: `/optima?decay=${entry.decay}` }, "Optima"), " › ", `K = ${entry.num_classes}, L = ${entry.depth}`),
    h("h1", {}, `K = ${entry.num_classes}, L = ${entry.depth}, decay ${entry.decay}`),
    h("ul", { class: "verdict" }, entry.sentences.map((sentence) => h("li", {}, sentence))),
    h("div", { class: "buttons" },
      h("a", { class: "button", href: `${base}/solution.safetensors${query}`, download: `K${K}-L${L}-${entry.decay}.safetensors` }, "Matrices (safetensors)"),
      h("a", { class: "button", href: `${base}${query}`, download: `K${K}-L${L}-${entry.decay}.json` }, "JSON"),
      h("a", { class: "button", href: `/new?kind=find_dufm_optimum&num_classes=${entry.num_classes}&depth=${entry.depth}&weight_decay=${entry.decay}&feature_decay=${entry.decay}` }, "Search a better one")),
    h("section", { "aria-labelledby": "losses" }, h("h2", { id: "losses" }, "Losses"), referencesTable(entry.references, entry.loss)),
    h("section", { "aria-labelledby": "ranks" }, h("h2", { id: "ranks" }, "Ranks"),
      table("Rank of the class means, layer by layer", [
        { title: "layer", head: true, cell: ([layer]) => layer },
        { title: "rank", numeric: true, cell: ([, rank]) => String(rank) },
      ], Object.entries(entry.ranks), { captionHidden: true })),
    h("div", { id: "solution", "aria-busy": "true" }),
    h("section", { "aria-labelledby": "more" }, h("h2", { id: "more" }, "More"), pairs([
      ["fit", number(entry.fit)], ["regularization", number(entry.regularization)], ["gap to the lower bound", number(entry.gap)],
      ["neurons used", value(entry.widths)], ["found from", entry.start], ["gradient norm", number(entry.stationarity.gradient_norm)],
      ["steepest descent", number(entry.stationarity.descent)], ["pre-activations at the kink", value(entry.stationarity.kinks)]])));
  find("#optimum").removeAttribute("aria-busy");
  fill(find("#solution"), matrices(await getBytes(`${base}/solution.safetensors${query}`)));
  find("#solution").removeAttribute("aria-busy");
});
