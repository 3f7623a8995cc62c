// A report: the verdict in words, its figures, its tables.
import { badge, bytes, count, fill, h, jobPage, named, number, pairs, prose, structure, table, value } from "./elements.js";
import { gallery } from "./figures.js";
import { get, save, showError } from "./service.js";
import { verdict } from "./verdict.js";

const section = (id, title, ...content) =>
  h("section", { "aria-labelledby": id }, h("h2", { id }, title), content);

/** Everything that a succeeded job has to show. */
export async function showReport(place, job) {
  const asked = get(job.links.report);
  const [report, sentences, plots, artifacts] = await Promise.all([
    asked,
    verdict(job.id, asked),
    get(job.links.plots).catch((error) => (showError(error), [])),
    get(job.links.artifacts),
  ]);
  fill(place,
    section("verdict", "In words", sentences),
    plots.length ? section("figures", "Figures", h("div", { class: "gallery" }, gallery(plots))) : null,
    report.training ? trainingTable(report.training) : null,
    report.optimum ? optimumTable(report.optimum) : null,
    report.sweep ? sweepTable(report.sweep) : null,
    report.reproduction ? statements(report.reproduction) : null,
    report.layers.length ? layersTable(report) : null,
    warnings(report),
    artifacts.length ? section("files", "Files", h("ul", {}, artifacts.map((file) =>
      h("li", {}, h("a", { href: file.link, download: file.name }, file.name), ` ${bytes(file.size_bytes)}`)))) : null,
    section("environment", "Environment", pairs([
      ...Object.entries(report.environment).map(([key, content]) => [key.replace(/_/g, " "), value(content)]),
      ["samples", value(report.num_samples)],
      ["classes", value(report.num_classes)],
      ...Object.entries(report.timings).map(([key, seconds]) => [key.replace(/_seconds$/, "").replace(/_/g, " "), `${number(seconds)} s`]),
    ])));
}

/** What is said of many layers, with the name of each, is said once, with their names before it. */
function warnings(report) {
  const all = [...report.warnings.map((warning) => [null, warning]), ...report.layers.flatMap((layer) => layer.warnings.map((warning) => [layer.name, warning]))];
  if (!all.length) return null;
  const same = new Map();
  for (const [layer, warning] of all) {
    const key = JSON.stringify([layer === null, warning.code, layer === null ? warning.detail : warning.detail.replaceAll(layer, "…")]);
    const entry = same.get(key) ?? { warning, layers: [] };
    if (layer !== null) entry.layers.push(layer);
    same.set(key, entry);
  }
  return section("warnings", "Warnings", h("ul", { class: "warnings" }, [...same.values()].map(({ warning, layers }) =>
    h("li", {}, layers.length ? [h("strong", {}, named(layers)), layers.length > 1 ? "; of the first: " : ": "] : null, prose(warning.detail),
      warning.metrics.length ? h("details", {}, h("summary", { class: "small" }, count(warning.metrics.length, "metric")), h("span", { class: "small" }, warning.metrics.join(", "))) : null))));
}

const MAIN = ["variability_trace_ratio", "within_class_variability", "class_mean_rank", "class_mean_effective_rank", "simplex_etf_distance", "orthogonal_frame_distance", "nearest_center_accuracy", "weight_alignment", "balancedness"];

/** Layer by metric; the main metrics at first, all on demand. */
export function layersTable(report, { title = "Layers", id = "layers" } = {}) {
  const measured = Object.keys(report.catalogue).filter((metric) => report.layers.some((layer) => (layer.metrics[metric] ?? null) !== null));
  const main = MAIN.filter((metric) => measured.includes(metric));
  const place = h("div", {});
  const verdicts = report.summary?.layers ?? [];
  const show = (metrics) => fill(place, table(`${title}: metrics by layer`, [
    { title: "layer", head: true, cell: (layer) => h("bdi", { class: "name" }, layer.name) },
    { title: "d", numeric: true, cell: (layer) => String(layer.dim) },
    { title: "collapsed", cell: (_, index) => value(verdicts[index]?.collapsed) },
    { title: "structure", cell: (layer) => structure(layer.structure?.kind) },
    ...metrics.map((metric) => ({ title: h("span", { title: report.catalogue[metric].title }, metric.replace(/_/g, " ")), numeric: true, cell: (layer) => number(layer.metrics[metric]) })),
  ], report.layers, { captionHidden: true }));
  const all = h("input", { type: "checkbox", id: `${id}-all`, onchange: () => show(all.checked ? measured : main) });
  show(main.length ? main : measured);
  return section(id, title,
    h("div", { class: "row" },
      main.length && main.length < measured.length ? h("label", { class: "check", for: all.id }, all, ` all ${measured.length} metrics`) : null,
      h("button", { type: "button", class: "plain", onclick: () => save(csv(report), `${report.job_id}.csv`) }, "Metrics as CSV")),
    place);
}

function csv(report) {
  const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const lines = report.layers.flatMap((layer) => Object.entries(layer.metrics).map(([metric, number]) =>
    [report.job_id, report.run ?? "", report.step ?? "", layer.name, layer.index, metric, number ?? ""].map((entry) => quoted(String(entry))).join(",")));
  return new Blob([["job_id,run,step,layer,layer_index,metric,value", ...lines, ""].join("\r\n")], { type: "text/csv" });
}

/** What a loss is to be compared with, the least first. */
export function referencesTable(references, loss) {
  const known = [
    ["deep neural collapse (DNC)", references.dnc],
    ["strongly regular graph (SRG)", references.srg?.loss],
    ...references.families.map((family) => [`the family “${family.family.replace(/_/g, " ")}”`, family.loss]),
    ["zero", references.zero],
    ["lower bound, proved", references.lower_bound],
  ];
  const best = references.best_known === loss ? [["this solution, the best known", loss]] : [["this solution", loss], ["best known", references.best_known]];
  const rows = [...best, ...known].filter(([, value]) => value !== null && value !== undefined).sort(([, one], [, other]) => one - other);
  return table("Losses to compare with", [
    { title: "solution", head: true, cell: ([label]) => (label.startsWith("this") ? h("strong", {}, label) : label) },
    { title: "loss", numeric: true, cell: ([, value]) => number(value) },
    { title: "over DNC", numeric: true, cell: ([, value]) => (references.dnc ? number(value / references.dnc) : "—") },
  ], rows, { captionHidden: true });
}

const trainingTable = (training) =>
  section("runs", "Trainings",
    training.advice.length ? h("ul", { class: "notice" }, training.advice.map((advice) => h("li", {}, prose(advice)))) : null,
    table("Where the trainings ended", [
      { title: "seed", head: true, cell: (run, index) => [String(run.seed), index === training.best_run ? h("span", { class: "tag" }, "best") : null] },
      { title: "loss", numeric: true, cell: (run) => number(run.loss) },
      { title: "fit", numeric: true, cell: (run) => number(run.fit) },
      { title: "regularization", numeric: true, cell: (run) => number(run.regularization) },
      { title: "structure", cell: (run) => structure(run.structure) },
      { title: "ended by", cell: (run) => run.stop_reason.replace(/_/g, " ") },
      { title: "steps", numeric: true, cell: (run) => String(run.steps) },
    ], training.runs),
    h("h3", {}, "Losses to compare with"), referencesTable(training.references, training.best_run === null ? null : training.runs[training.best_run].loss));

const optimumTable = (optimum) =>
  section("solution", "The solution",
    pairs([["loss", number(optimum.loss)], ["fit", number(optimum.fit)], ["regularization", number(optimum.regularization)],
      ["structure", structure(optimum.structure)], ["found from", optimum.start], ["restarts", value(optimum.restarts)],
      ["reached by", optimum.reached_by === null ? "—" : `${number(100 * optimum.reached_by)} % of the restarts`], ["gap to the lower bound", number(optimum.gap)], ["ended by", optimum.stopped_by]]),
    h("h3", {}, "Losses to compare with"), referencesTable(optimum.references, optimum.loss));

const sweepTable = (sweep) =>
  section("cells", "The grid",
    table("Cells of the grid", [
      ...Object.keys(sweep.grid).map((parameter) => ({ title: parameter.replace(/_/g, " "), head: true, cell: (cell) => value(cell.values[parameter]) })),
      { title: "least loss", numeric: true, cell: (cell) => number(cell.loss) },
      { title: "over DNC", numeric: true, cell: (cell) => number(cell.loss_over_dnc) },
      { title: "mean rank", numeric: true, cell: (cell) => number(cell.rank_mean) },
      { title: "diverged", numeric: true, cell: (cell) => String(cell.diverged) },
      { title: "jobs", cell: (cell) => cell.jobs.map((id, index) => [index ? ", " : "", h("a", { href: jobPage(id), "aria-label": `job ${id}` }, String(index + 1))]) },
    ], sweep.cells),
    sweep.failures.length ? table("Jobs that brought nothing", [
      { title: "job", head: true, cell: (failure) => h("a", { href: jobPage(failure.job_id) }, failure.job_id) },
      { title: "status", cell: (failure) => badge(failure.status) },
      { title: "reason", cell: (failure) => failure.detail ?? "—" },
    ], sweep.failures) : null);

const statements = (reproduction) =>
  section("statements", "What the paper says", table("Statements of the paper, and whether this agrees", [
    { title: "statement", head: true, cell: (entry) => entry.statement },
    { title: "agrees", cell: (entry) => (entry.agrees === null ? "cannot be told at this scale" : value(entry.agrees)) },
    { title: "measured", cell: (entry) => value(entry.measured) },
    { title: "where", cell: (entry) => entry.source },
  ], reproduction.statements, { captionHidden: true }));
