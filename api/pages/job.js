// One job: where it stands, what it found, what can be done with it.
import { showChildren } from "./children.js";
import { badge, confirmed, decoded, duration, fill, find, h, jobPage, moment, name, pairs, runPage, say, value, words } from "./elements.js";
import { progress } from "./progress.js";
import { showReport } from "./report.js";
import { ended, follow, get, send, showError, start } from "./service.js";

const id = decoded(location.pathname.split("/").pop());
const links = { self: `/v1/jobs/${encodeURIComponent(id)}` };
const bar = progress();
const head = {};
let control = new AbortController();
let seen = null;

/** What a failure is to whoever reads it: the service's words, and where to go from there. */
const failure = (error) =>
  h("div", { class: "notice error", role: "alert" },
    h("h2", {}, "It failed"), h("p", {}, error.detail), h("p", { class: "small" }, "Code: ", h("code", {}, error.code)));

function build(job) {
  head.state = h("p", { class: "state-line", id: "state" });
  head.error = h("div", {});
  head.times = h("div", {});
  head.actions = h("div", { class: "buttons", id: "actions" });
  fill(find("#job"),
    h("p", { class: "crumbs" }, h("a", { href: "/" }, "Runs and jobs"), " › ",
      job.run ? [h("a", { href: runPage(job.run) }, name(job.run)), " › "] : null,
      job.parent ? [h("a", { href: jobPage(job.parent) }, "its sweep"), " › "] : null, h("code", { class: "id" }, job.id)),
    h("h1", {}, words(job.kind), job.step === null ? null : h("span", { class: "step" }, `, step ${job.step}`)),
    head.state, head.error, head.actions, head.times);
  fill(find("#parameters"), h("section", { "aria-labelledby": "parameters-title" }, h("h2", { id: "parameters-title" }, "Parameters"),
    pairs(Object.entries(job.parameters).map(([parameter, content]) => [parameter.replace(/_/g, " "), value(content)]))));
  find("#job").removeAttribute("aria-busy");
  document.title = `${words(job.kind)} · Collapse analysis`;
}

function show(job) {
  if (!seen) build(job);
  bar.show(job);
  if (seen?.status !== job.status) {
    fill(head.state, badge(job.status), ended(job) ? null : bar.element);
    fill(head.error, job.error ? failure(job.error) : null);
    fill(head.actions, actions(job));
    if (seen) say(find("#told"), `The job is ${job.status}.`);
  } else if (seen.progress.phase !== job.progress.phase) say(find("#told"), job.progress.phase ?? "");
  fill(head.times, facts(job));
  if (job.children) showChildren(find("#children"), job).catch(showError);
  seen = job;
}

const facts = (job) =>
  pairs([
    ["created", moment(job.created_at)],
    ["started", moment(job.started_at)],
    ["ended", moment(job.finished_at)],
    ["took", job.started_at && job.finished_at ? duration((new Date(job.finished_at) - new Date(job.started_at)) / 1000) : "—"],
    ["attempts", job.attempts],
    ["tags", job.tags.length ? job.tags.map((tag) => h("a", { class: "tag", href: `/?tag=${encodeURIComponent(tag)}` }, name(tag))) : "none"],
  ]);

function actions(job) {
  if (!ended(job)) return h("button", { type: "button", class: "danger", id: "cancel", onclick: cancel }, "Cancel the job");
  return [
    job.status === "succeeded" ? downloads(job) : null,
    h("button", { type: "button", class: "danger plain", id: "delete", onclick: remove }, "Delete the job"),
  ];
}

const downloads = (job) => [
  h("a", { class: "button", href: job.links.report, download: `${job.id}.json` }, "Report (JSON)"),
  h("a", { class: "button", href: `${job.links.report}.html`, download: `${job.id}.html` }, "Report (HTML)"),
];

async function cancel() {
  if (!(await confirmed("Cancel this job? What it has computed so far is lost.", "Cancel the job"))) return;
  const button = find("#cancel");
  button.disabled = true;
  try {
    show(await send("POST", `${links.self}/cancel`));
    say(find("#told"), "The job is asked to stop.");
    button.textContent = "Stopping …";
  } catch (error) {
    button.disabled = false;
    showError(error);
  }
}

async function remove() {
  if (!(await confirmed("Delete this job with its report and files? This cannot be taken back.", "Delete"))) return;
  try {
    await send("DELETE", links.self);
    location.assign("/");
  } catch (error) {
    showError(error);
  }
}

/** One stream while somebody looks; none of the browser's few connections for a page in the background. */
async function watch() {
  control = new AbortController();
  const { signal } = control;
  for await (const job of follow(id, signal)) show(job);
  if (signal.aborted) return;
  await finish();
}

async function finish() {
  if (seen.status === "succeeded") await showReport(find("#report"), seen);
}

document.addEventListener("visibilitychange", () => {
  if (!seen || ended(seen)) return;
  if (document.hidden) control.abort();
  else start(watch);
});

start(async () => {
  show(await get(links.self));
  if (ended(seen)) await finish();
  else if (!document.hidden) start(watch);
});
