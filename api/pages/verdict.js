// A report's summary, as sentences.
import { count, h, jobPage, named, number, structure } from "./elements.js";

/** Sentences, each a list item; what a report does not have is not spoken of. */
export function verdict(report) {
  const sentences = [
    ...(report.optimum ? ofOptimum(report.optimum) : []),
    ...(report.training ? ofTraining(report.training) : []),
    ...(report.sweep ? ofSweep(report.sweep) : []),
    ...(report.reproduction ? ofReproduction(report.reproduction) : []),
    ...(report.summary ? ofLayers(report) : []),
  ];
  return h("ul", { class: "verdict" }, sentences.map((sentence) => h("li", {}, sentence)));
}

function ofLayers(report) {
  const { summary } = report;
  const { layers } = summary;
  const decided = layers.filter((layer) => layer.collapsed !== null);
  const collapsed = decided.filter((layer) => layer.collapsed);
  const sentences = [];
  if (!decided.length) sentences.push("Whether a layer has collapsed cannot be told: none of the metrics that decide was measured.");
  else if (!collapsed.length) sentences.push([h("strong", {}, decided.length === 1 ? "The layer has not collapsed." : `None of the ${count(decided.length, "layer")} has collapsed.`), " ", nearest(decided)]);
  else if (collapsed.length === layers.length) sentences.push(h("strong", {}, layers.length === 1 ? "The layer has collapsed." : `All ${count(layers.length, "layer")} have collapsed.`));
  else sentences.push([h("strong", {}, `${collapsed.length} of ${count(layers.length, "layer")} ${collapsed.length === 1 ? "has" : "have"} collapsed: `), named(collapsed.map((layer) => layer.name)), "."]);
  return [...sentences, ...structures(layers), ...ranks(report, layers), ...since(summary.since_previous_step)];
}

/** Of the layer that is closest to collapse, what it lacks. */
function nearest(layers) {
  const last = layers.at(-1);
  const lacking = Object.entries(last.deciding).filter(([, { reached }]) => !reached);
  return ["The last, ", h("bdi", { class: "name" }, last.name), ", has ",
    lacking.map(([metric, { value, threshold }], index) => `${index ? " and " : ""}${metric.replace(/_/g, " ")} ${number(value)} (collapsed from ${number(threshold)})`), "."];
}

function structures(layers) {
  const kinds = new Map();
  for (const { name, structure: kind } of layers) if (kind && kind !== "none") kinds.set(kind, [...(kinds.get(kind) ?? []), name]);
  if (!kinds.size) return ["The class means look like none of the ideals (simplex, orthogonal frame, strongly regular graph) in any layer."];
  return [...kinds].map(([kind, names]) => [`The class means form a ${structure(kind)} in `, named(names), "."]);
}

function ranks(report, layers) {
  const known = layers.filter((layer) => layer.rank !== null);
  if (!known.length) return [];
  const { rank_drops: drops } = report.summary;
  const first = known[0].rank;
  const K = report.num_classes;
  if (known.every((layer) => layer.rank === first)) {
    return [`The class means have rank ${first} of ${K} in every layer${known[0].rank_is === "low" ? ": low, as in a strongly regular graph" : known[0].rank_is === "reduced" ? ": reduced" : ""}.`];
  }
  if (!drops.length) return [`The rank of the class means goes from ${first} to ${known.at(-1).rank} (of ${K} classes), and nowhere down.`];
  return drops.slice(0, 3).map((drop) => ["The rank of the class means drops from ", h("strong", {}, drop.rank_before), " to ", h("strong", {}, drop.rank_after), " between ",
    h("bdi", { class: "name" }, drop.before), " and ", h("bdi", { class: "name" }, drop.after), "."]).concat(drops.length > 3 ? [`It drops ${drops.length - 3} more times further on.`] : []);
}

function since(previous) {
  if (!previous) return [];
  const gained = previous.layers.filter((layer) => layer.collapsed_now && layer.collapsed_before === false).map((layer) => layer.name);
  const lost = previous.layers.filter((layer) => layer.collapsed_now === false && layer.collapsed_before).map((layer) => layer.name);
  const ranks = previous.layers.filter((layer) => layer.rank.before !== null && layer.rank.now !== null && layer.rank.before !== layer.rank.now);
  const link = h("a", { href: jobPage(previous.job_id) }, `step ${previous.step}`);
  const parts = [
    gained.length ? [named(gained), " collapsed"] : null,
    lost.length ? [named(lost), " no longer collapsed"] : null,
    ranks.length ? ["the rank changed in ", named(ranks.map((layer) => `${layer.name} (${layer.rank.before} → ${layer.rank.now})`))] : null,
  ].filter((part) => part);
  return [["Since ", link, ": ", parts.length ? parts.map((part, index) => [index ? "; " : "", part]) : "the same layers are collapsed, with the same ranks", "."]];
}

function overDnc(loss, references) {
  if (!references.dnc) return "";
  const ratio = loss / references.dnc;
  return Math.abs(ratio - 1) < 1e-4 ? ", that of deep neural collapse" : `, ${number(ratio)} times that of deep neural collapse`;
}

function ofOptimum(optimum) {
  const sentences = [[h("strong", {}, `The best solution found has loss ${number(optimum.loss)}`), `${overDnc(optimum.loss, optimum.references)}; its structure: ${structure(optimum.structure)}.`]];
  const { best_known: best } = optimum.references;
  if (optimum.improves_best_known) sentences.push(h("strong", {}, "It is better than the best one known."));
  else if (best !== null) sentences.push(`The best one known has ${number(best)}.`);
  if (optimum.references.lower_bound !== null) sentences.push(`No solution lies below ${number(optimum.references.lower_bound)}; the gap is ${number(optimum.gap)}.`);
  if (optimum.stopped_by === "budget") sentences.push("The time given ran out first: a longer budget may find a better one.");
  return sentences;
}

function ofTraining(training) {
  const { runs, best_run: best, references } = training;
  const diverged = runs.filter((run) => run.stop_reason === "diverged").length;
  if (best === null) return [h("strong", {}, runs.length === 1 ? "The training diverged." : `All ${count(runs.length, "training")} diverged.`)];
  const { loss, structure: kind } = runs[best];
  const sentences = [[h("strong", {}, `${runs.length === 1 ? "The training" : `The best of ${count(runs.length, "training")}`} ends at loss ${number(loss)}`), `${overDnc(loss, references)}; its structure: ${structure(kind)}.`]];
  if (references.dnc) sentences.push(`${count(runs.filter((run) => run.loss !== null && run.loss < references.dnc).length, "training ends", "trainings end")} below deep neural collapse.`);
  if (diverged) sentences.push(`${count(diverged, "training")} diverged.`);
  return sentences;
}

function ofSweep(sweep) {
  const best = sweep.cells.filter((cell) => cell.loss !== null).sort((one, other) => one.loss - other.loss)[0];
  const failed = sweep.failures.length;
  return [
    best ? [h("strong", {}, `The least loss, ${number(best.loss)}`), `, is at ${Object.entries(best.values).map(([parameter, content]) => `${parameter.replace(/_/g, " ")} ${number(content)}`).join(", ")}.`] : "No cell of the grid brought a loss.",
    failed ? `${count(failed, "job")} brought nothing; the table tells why.` : null,
  ].filter((sentence) => sentence);
}

function ofReproduction({ statements }) {
  const told = statements.filter((entry) => entry.agrees !== null);
  const agree = told.filter((entry) => entry.agrees).length;
  return [h("strong", {}, told.length ? `${agree} of ${count(told.length, "statement")} of the paper hold here.` : "At this scale nothing can be told of the paper’s statements.")];
}
