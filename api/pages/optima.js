// The catalogue of optima as a table: K along, L down.
import { count, fill, find, h, number, structure } from "./elements.js";
import { replaceFigure } from "./figures.js";
import { get, start } from "./service.js";

const given = new URLSearchParams(location.search);
const DEFAULT = "0.004";

/** Share of the way from dark to light at which a cell stands; small ranks and small losses are dark. */
const share = { rank: (entry) => entry.rank / entry.num_classes, loss: (entry) => Math.min(1, entry.loss_over_dnc) };

function cell(entry, colour) {
  const level = Math.round(8 * share[colour](entry));
  const spoken = `K ${entry.num_classes}, L ${entry.depth}: rank ${entry.rank}, ${number(entry.loss_over_dnc)} of the loss of DNC, ${structure(entry.structure)}`;
  return h("td", { class: `level-${level}` },
    h("a", { href: `/optima/${entry.num_classes}/${entry.depth}?decay=${entry.decay}`, "aria-label": spoken, title: spoken, tabindex: "-1" },
      h("b", {}, entry.rank), h("span", {}, entry.loss_over_dnc.toFixed(3))));
}

function diagram(entries, colour) {
  const classes = [...new Set(entries.map((entry) => entry.num_classes))].sort((a, b) => a - b);
  const depths = [...new Set(entries.map((entry) => entry.depth))].sort((a, b) => a - b);
  const at = new Map(entries.map((entry) => [`${entry.num_classes} ${entry.depth}`, entry]));
  const body = depths.map((depth) => h("tr", {}, h("th", { scope: "row" }, `L = ${depth}`),
    classes.map((K) => (at.has(`${K} ${depth}`) ? cell(at.get(`${K} ${depth}`), colour) : h("td", {}, "—")))));
  const table = h("table", { class: "phase" },
    h("caption", {}, `${count(entries.length, "solution")}: rank, and loss over DNC`),
    h("thead", {}, h("tr", {}, h("td", {}), classes.map((K) => h("th", { scope: "col" }, `K = ${K}`)))), h("tbody", {}, body));
  table.addEventListener("keydown", move);
  find("a", table)?.setAttribute("tabindex", "0");
  return h("div", { class: "scroll" }, table);
}

const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], Home: [0, -Infinity], End: [0, Infinity] };

/** One cell is in the order of the Tab key; the arrows move it. */
function move(event) {
  const step = STEPS[event.key];
  const here = event.target.closest("td");
  if (!step || !here || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  const rows = [...here.closest("tbody").rows];
  const bounded = (index, size) => Math.min(size - 1, Math.max(0, index));
  const row = rows[bounded(rows.indexOf(here.parentElement) + step[0], rows.length)];
  const cells = [...row.querySelectorAll("td")];
  const next = find("a", cells[bounded([...here.parentElement.querySelectorAll("td")].indexOf(here) + step[1], cells.length)]);
  if (!next) return;
  find("a", here).setAttribute("tabindex", "-1");
  next.setAttribute("tabindex", "0");
  next.focus();
}

const legend = (colour) =>
  h("p", { class: "legend" }, colour === "rank" ? "rank over K: " : "loss over DNC: ", "0", h("span", { class: "scale", "aria-hidden": "true" },
    Array.from({ length: 9 }, (_, level) => h("span", { class: `level-${level}` }))), "1");

start(async () => {
  const entries = await get("/v1/optima");
  const decays = [...new Set(entries.map((entry) => String(entry.decay)))];
  const wanted = given.get("decay") ?? DEFAULT;
  const decay = find("#decay");
  const colour = find("#colour");
  fill(decay, decays.map((text) => h("option", { selected: text === wanted }, text)));
  if (given.get("colour") in share) colour.value = given.get("colour");
  const show = () => {
    history.replaceState(null, "", `?${new URLSearchParams({ decay: decay.value, colour: colour.value })}`);
    fill(find("#phase"), diagram(entries.filter((entry) => String(entry.decay) === decay.value), colour.value), legend(colour.value));
    const link = (format) => `/v1/optima/plots/phase-diagram.${format}?decay=${decay.value}`;
    replaceFigure(find("#figure"), `Phase diagram at decay ${decay.value}`, { svg: link("svg"), png: link("png"), vega_lite: link("vl.json") });
  };
  find("#choices").addEventListener("change", show);
  show();
  find("#phase").removeAttribute("aria-busy");
});
