// A run: one training's analyses, by step.
import { badge, count, decoded, fill, find, h, jobPage, moment, name, runPage, table } from "./elements.js";
import { figure, replaceFigure } from "./figures.js";
import { layersTable } from "./report.js";
import { ended, get, showError, start } from "./service.js";
import { verdict } from "./verdict.js";

const run = decoded(location.pathname.slice("/runs/".length));
const base = `/v1/runs/${encodeURIComponent(run)}`;
const BUSY_SECONDS = 2;
const PAUSE = 150; // milliseconds at one step before its report is asked for
const FIRST = ["variability_trace_ratio", "class_mean_rank"];

const given = new URLSearchParams(location.search);
const chosen = { metric: given.get("metric"), compare: given.get("compare") ?? "", step: given.get("step") };

function remember(changes) {
  Object.assign(chosen, changes);
  const query = new URLSearchParams(Object.entries(chosen).filter(([, text]) => text !== null && text !== ""));
  history.replaceState(null, "", `${location.pathname}${query.size ? `?${query}` : ""}`);
}

const option = (text, title, selected) => h("option", { value: text, selected }, title);

function head(view) {
  return [
    h("p", { class: "crumbs" }, h("a", { href: "/" }, "Runs and jobs"), " › ", name(view.run)),
    h("h1", { class: "long" }, h("bdi", {}, view.run)),
    h("p", { class: "state-line" }, view.num_steps ? `${count(view.num_steps, "step")}, ${view.first_step} to ${view.last_step}; ` : "No steps; ",
      Object.entries(view.jobs).filter(([, jobs]) => jobs).map(([status, jobs]) => h("span", { class: `badge ${status}` }, `${jobs} ${status}`)),
      " changed ", moment(view.updated_at)),
  ];
}

/** Metric by step, one line a layer; beside it the lines of another run. */
async function series(view) {
  const titles = Object.fromEntries((await get("/v1/catalogue")).map((entry) => [entry.name, entry.title]));
  if (!view.metrics.includes(chosen.metric)) chosen.metric = FIRST.find((metric) => view.metrics.includes(metric)) ?? view.metrics[0];
  const place = h("div", { id: "series" });
  const downloads = h("p", { class: "links", id: "series-links" });
  const other = h("p", { class: "links" });
  const metric = h("select", { id: "metric", onchange: () => (remember({ metric: metric.value }), draw()) },
    view.metrics.map((entry) => option(entry, titles[entry] ?? entry, entry === chosen.metric)));
  const others = h("datalist", { id: "others" });
  const compare = h("input", { id: "compare", type: "search", list: "others", maxlength: "255", autocomplete: "off", value: chosen.compare, placeholder: "name of another run", "aria-describedby": "compare-told" });
  const told = h("span", { id: "compare-told", class: "field-error", role: "alert" });
  const wrong = (text) => {
    told.textContent = text;
    compare.setAttribute("aria-invalid", String(Boolean(text)));
  };
  const suggest = async () => {
    const { items } = await get(`/v1/runs?${new URLSearchParams({ limit: 20, ...(compare.value && { query: compare.value }) })}`);
    fill(others, items.filter((other) => other.run !== run).map((other) => h("option", { value: other.run })));
  };
  let typing = 0;
  compare.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(suggest, PAUSE);
  });
  const choose = async () => {
    const other = compare.value.trim();
    if (other === chosen.compare) return;
    try {
      if (other) await get(`/v1/runs/${encodeURIComponent(other)}`);
      wrong("");
      remember({ compare: other });
      draw();
    } catch (error) {
      wrong(error.message);
    }
  };
  compare.addEventListener("change", choose);
  const draw = () => {
    const query = chosen.compare ? `?${new URLSearchParams({ compare: chosen.compare })}` : "";
    const drawn = `${base}/plots/${encodeURIComponent(chosen.metric)}`;
    const title = `${titles[chosen.metric] ?? chosen.metric}, by step${chosen.compare ? `, and of ${chosen.compare}` : ""}`;
    replaceFigure(place, title, { svg: `${drawn}.svg${query}`, png: `${drawn}.png${query}`, vega_lite: `${drawn}.vl.json${query}` }, { wide: true });
    const asked = (format) => `${base}/series?${new URLSearchParams({ metric: chosen.metric, ...(chosen.compare && { compare: chosen.compare }), format })}`;
    fill(downloads, "The numbers: ", ["csv", "parquet", "json"].map((format) => h("a", { href: asked(format), download: `series.${format}` }, format.toUpperCase())));
    fill(other, chosen.compare ? ["Compared with: ", h("a", { href: runPage(chosen.compare) }, name(chosen.compare))] : null);
  };
  draw();
  suggest();
  return h("section", { "aria-labelledby": "series-title" }, h("h2", { id: "series-title" }, "Metric by step"),
    h("div", { class: "row" },
      h("div", { class: "field wide" }, h("label", { for: "metric" }, "Metric"), metric),
      h("div", { class: "field wide" }, h("label", { for: "compare" }, "Compare with"), compare, others, told)),
    place, other, downloads);
}

/** A slider over the steps that have a report, and what it says. */
function steps(view) {
  const measured = view.steps.filter((entry) => entry.status === "succeeded" && entry.step !== null);
  if (!measured.length) return null;
  const wanted = measured.findIndex((entry) => String(entry.step) === chosen.step);
  const slider = h("input", { id: "step", type: "range", min: "0", max: String(measured.length - 1), step: "1", value: String(wanted < 0 ? measured.length - 1 : wanted), disabled: measured.length === 1 });
  const told = h("output", { for: "step", id: "step-told" });
  const place = h("div", { id: "step-report" });
  let waiting = 0;
  let latest = null;
  const show = async () => {
    const entry = measured[Number(slider.value)];
    slider.setAttribute("aria-valuetext", `step ${entry.step}`);
    fill(told, `step ${entry.step}`);
    latest = entry;
    place.setAttribute("aria-busy", "true");
    try {
      const asked = get(`/v1/jobs/${entry.job_id}/report`);
      const [report, sentences] = await Promise.all([asked, verdict(entry.job_id, asked)]);
      if (latest !== entry) return; // somebody has moved on
      const metric = report.catalogue[chosen.metric] ? `metric-${chosen.metric}` : "metrics";
      const drawn = `/v1/jobs/${entry.job_id}/plots/${metric}`;
      const all = find("#step-layers-all", place)?.checked;
      fill(place, h("p", {}, "Analysis: ", h("a", { href: jobPage(entry.job_id) }, entry.job_id)), sentences,
        figure(`${report.catalogue[chosen.metric]?.title ?? "Main metrics"}, layer by layer, at step ${entry.step}`, { svg: `${drawn}.svg`, png: `${drawn}.png`, vega_lite: `${drawn}.vl.json` }),
        layersTable(report, { title: `Layers at step ${entry.step}`, id: "step-layers" }));
      if (all) find("#step-layers-all", place)?.click();
    } catch (error) {
      showError(error);
    } finally {
      if (latest === entry) place.removeAttribute("aria-busy");
    }
  };
  slider.addEventListener("input", () => {
    fill(told, `step ${measured[Number(slider.value)].step}`);
    slider.setAttribute("aria-valuetext", told.textContent);
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      remember({ step: String(measured[Number(slider.value)].step) });
      show();
    }, PAUSE);
  });
  show();
  return h("section", { "aria-labelledby": "step-title" }, h("h2", { id: "step-title" }, "Step by step"),
    h("div", { class: "slider" }, h("label", { for: "step" }, "Step"), slider, told), place);
}

/** Every analysis, also those that a later one of the same step has replaced. */
const analyses = (view) =>
  h("section", { "aria-labelledby": "analyses-title" }, h("h2", { id: "analyses-title" }, "Analyses and their history"),
    table("Analyses by step", [
      { title: "step", head: true, cell: (entry) => (entry.step === null ? "none" : String(entry.step)) },
      { title: "job", cell: (entry) => h("a", { href: jobPage(entry.job_id) }, h("code", {}, entry.job_id)) },
      { title: "status", cell: (entry) => badge(entry.status) },
      { title: "created", cell: (entry) => moment(entry.created_at) },
      { title: "replaced", cell: (entry) => (entry.replaced.length ? entry.replaced.map((id, index) => [index ? ", " : "", h("a", { href: jobPage(id) }, h("code", {}, id))]) : "—") },
    ], [...view.steps].reverse(), { captionHidden: true }));

let told = "";

async function show() {
  const view = await get(base);
  if (told === JSON.stringify(view)) return view;
  const again = told !== "";
  told = JSON.stringify(view);
  if (again) { // what changes while somebody reads is at the head and in the history; the rest stays until it is asked for
    fill(find("#head"), head(view));
    fill(find("#analyses"), analyses(view));
    return view;
  }
  fill(find("#run"), h("div", { id: "head" }, head(view)), h("div", { id: "figures" }), h("div", { id: "steps" }), h("div", { id: "analyses" }, analyses(view)));
  document.title = `${view.run} · Collapse analysis`;
  if (view.metrics.length) {
    fill(find("#figures"), await series(view));
    fill(find("#steps"), steps(view));
  } else fill(find("#figures"), h("p", { class: "empty" }, "No analysis of this run has ended with a report yet."));
  return view;
}

/** While analyses are under way, look again. */
function watch(view) {
  if (!view.steps.some((entry) => !ended(entry))) return;
  setTimeout(() => (document.hidden ? watch(view) : start(async () => watch(await grown(view)))), BUSY_SECONDS * 1000);
}

async function grown(before) {
  const view = await show();
  if (view.metrics.length && !before.metrics.length) location.reload();
  return view;
}

start(async () => {
  const view = await show();
  find("#run").removeAttribute("aria-busy");
  watch(view);
});
