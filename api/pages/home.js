// Runs and jobs, as they go on.
import { badge, count, duration, fill, find, h, jobPage, moment, name, runPage, say, words } from "./elements.js";
import { progress } from "./progress.js";
import { ended, follow, get, start } from "./service.js";

// A browser opens six connections to a service, for all its tabs together: the first running jobs in view are followed
// event by event, all others are asked for with the list; a page that nobody looks at does neither.
const MOST_FOLLOWED = 2;
const MOST_ASKED_FOR = 10;
const BUSY_SECONDS = 2;
const QUIET_SECONDS = 5;
const RUNS_AT_ONCE = 10;

const form = find("#filters");
const FILTERS = ["query", "status", "kind", "run", "tag"];
const rows = new Map(); // id of a job → {job, element}
const inView = new Set(); // ids
const followed = new Map(); // id → AbortController
let nextJobs = null;
let nextRuns = null;
let paged = false; // whether there are more than the first page's jobs on the page
let pagedRuns = false;
let asked = new AbortController();

const chosen = () => Object.fromEntries(FILTERS.map((filter) => [filter, form.elements[filter].value.trim()]).filter(([, text]) => text));

const seen = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) inView.add(target.dataset.id);
    else inView.delete(target.dataset.id);
  }
  followRunning();
});

function jobRow(job) {
  const element = h("tr", { role: "row", "data-id": job.id });
  seen.observe(element);
  return { job: null, element, progress: progress() };
}

const cell = (label, ...content) => h("td", { role: "cell", "data-label": label }, content);

/** Bring a row up to date; its link stays the same element, so that it keeps the focus. */
function update(row, job) {
  const unchanged = row.job && JSON.stringify(row.job) === JSON.stringify(job);
  const before = row.job;
  row.job = job;
  row.progress.show(job);
  if (unchanged) return;
  if (before && before.status !== job.status) say(find("#told"), `${words(job.kind)} ${job.id}: ${job.status}`);
  row.link ??= h("a", { href: jobPage(job.id) }, words(job.kind));
  row.state ??= cell("Status");
  fill(row.state, badge(job.status), ended(job) ? null : row.progress.element);
  row.took ??= cell("Took");
  fill(row.took, job.started_at && job.finished_at ? duration((new Date(job.finished_at) - new Date(job.started_at)) / 1000) : "");
  if (before) return;
  row.element.append(
    h("th", { role: "rowheader", scope: "row", "data-label": "Job" }, row.link, h("code", { class: "id" }, job.id)),
    row.state,
    cell("Run", job.run ? h("a", { href: runPage(job.run) }, name(job.run)) : "", job.step === null ? null : h("span", { class: "step" }, `step ${job.step}`),
      job.parent ? h("a", { href: jobPage(job.parent), class: "step" }, "part of a sweep") : null),
    cell("Tags", job.tags.map((tag) => h("button", { type: "button", class: "tag", title: "Show jobs with this tag", onclick: () => choose("tag", tag) }, name(tag)))),
    cell("Created", moment(job.created_at)),
    row.took);
}

function choose(filter, text) {
  form.elements[filter].value = text;
  changed();
}

function list(place, headings, elements, empty) {
  let body = find("tbody", place);
  if (!elements.length) return fill(place, h("p", { class: "empty" }, empty));
  if (!body) {
    body = h("tbody", { role: "rowgroup" });
    fill(place, h("table", { class: "list", role: "table", "aria-labelledby": `${place.id}-title` },
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, headings.map((heading) => h("th", { role: "columnheader", scope: "col" }, heading)))), body));
  }
  elements.forEach((element, index) => {
    if (body.children[index] !== element) body.insertBefore(element, body.children[index] ?? null);
  });
  while (body.children.length > elements.length) body.lastElementChild.remove();
  return place;
}

function showJobs(jobs, { replace }) {
  const order = replace ? jobs : [...jobs, ...[...rows.values()].map((row) => row.job)];
  const kept = new Map();
  for (const job of order) {
    if (kept.has(job.id)) continue;
    const row = rows.get(job.id) ?? jobRow(job);
    update(row, job);
    kept.set(job.id, row);
  }
  for (const [id, row] of rows) if (!kept.has(id)) forget(id, row);
  rows.clear();
  const sorted = [...kept].sort(([a, { job: one }], [b, { job: other }]) => other.created_at.localeCompare(one.created_at) || b.localeCompare(a));
  for (const [id, row] of sorted) rows.set(id, row);
  list(find("#jobs"), ["Job", "Status", "Run", "Tags", "Created", "Took"], [...rows.values()].map((row) => row.element),
    Object.keys(chosen()).length ? "No job is like this. Clear the search to see all." : "There is no job yet. “New” starts one.");
  find("#jobs").removeAttribute("aria-busy");
  followRunning();
}

function forget(id, row) {
  seen.unobserve(row.element);
  inView.delete(id);
  followed.get(id)?.abort();
}

function followRunning() {
  const running = document.hidden ? [] : [...rows].filter(([id, { job }]) => inView.has(id) && job.status === "running").map(([id]) => id);
  const wanted = running.slice(0, MOST_FOLLOWED);
  for (const [id, control] of followed) if (!wanted.includes(id)) control.abort();
  for (const id of wanted) if (!followed.has(id)) followOne(id);
}

async function followOne(id) {
  const control = new AbortController();
  followed.set(id, control);
  try {
    for await (const job of follow(id, control.signal)) {
      const row = rows.get(id);
      if (!row) break;
      update(row, job);
    }
  } catch {
    // It was deleted: the next list is without it.
  } finally {
    followed.delete(id);
    if (!control.signal.aborted) followRunning();
  }
}

const address = (path, query) => `${path}?${new URLSearchParams(query)}`;

async function refreshJobs(signal) {
  const page = await get(address("/v1/jobs", chosen()), { signal });
  if (!paged) nextJobs = page.next_cursor;
  const first = new Set(page.items.map((job) => job.id));
  const others = [...rows].filter(([id, { job }]) => !first.has(id) && inView.has(id) && !ended(job)).slice(0, MOST_ASKED_FOR);
  const asked = paged ? await Promise.all(others.map(([id]) => get(`/v1/jobs/${id}`, { signal }).catch(() => null))) : [];
  showJobs([...page.items, ...asked.filter((job) => job)], { replace: !paged });
  find("#more-jobs").hidden = !nextJobs;
}

const runRow = (run) =>
  h("tr", { role: "row" },
    h("th", { role: "rowheader", scope: "row", "data-label": "Run" }, h("a", { href: runPage(run.run) }, name(run.run))),
    cell("Steps", run.num_steps > 1 ? `${run.num_steps}, from ${run.first_step} to ${run.last_step}` : run.num_steps ? `1: step ${run.first_step}` : "none"),
    cell("Jobs", Object.entries(run.jobs).filter(([, jobs]) => jobs).map(([status, jobs]) => h("span", { class: `badge ${status}` }, `${jobs} ${status}`))),
    cell("Changed", moment(run.updated_at)));

const shownRuns = new Map(); // name → {told, element}

async function refreshRuns(signal, cursor = null) {
  const { query } = chosen();
  const page = await get(address("/v1/runs", { limit: RUNS_AT_ONCE, ...(query && { query }), ...(cursor && { cursor }) }), { signal });
  if (!cursor) nextRuns = page.next_cursor;
  const elements = page.items.map((run) => {
    const told = JSON.stringify(run);
    const known = shownRuns.get(run.run);
    if (known?.told === told) return known.element;
    const element = runRow(run);
    shownRuns.set(run.run, { told, element });
    return element;
  });
  const kept = cursor ? [...document.querySelectorAll("#runs tbody tr")] : [];
  if (!keepsFocus(find("#runs"), elements)) list(find("#runs"), ["Run", "Steps", "Jobs", "Changed"], [...kept, ...elements], query ? "No run has this in its name." : "There is no run yet: analyses that are sent with a run’s name make one.");
  find("#runs").removeAttribute("aria-busy");
  if (cursor) nextRuns = page.next_cursor;
  find("#more-runs").hidden = !nextRuns;
}

/** Whether somebody is at a row that the refresh would take away. */
const keepsFocus = (place, elements) => place.contains(document.activeElement) && !elements.some((element) => element.contains(document.activeElement));

async function more(path, cursor) {
  return get(address(path, { ...chosen(), cursor }), { signal: asked.signal });
}

find("#more-jobs").addEventListener("click", async () => {
  paged = true;
  const page = await more("/v1/jobs", nextJobs);
  nextJobs = page.next_cursor;
  find("#more-jobs").hidden = !nextJobs;
  showJobs(page.items, { replace: false });
  rows.get(page.items[0]?.id)?.link.focus();
});

find("#more-runs").addEventListener("click", () => {
  pagedRuns = true;
  refreshRuns(asked.signal, nextRuns);
});

/** The filters are in the address: a link to the page keeps them. */
function changed() {
  history.replaceState(null, "", `${location.pathname}${Object.keys(chosen()).length ? `?${new URLSearchParams(chosen())}` : ""}`);
  refresh();
}

let waiting = 0;
let refreshed = 0;

async function refresh() {
  asked.abort();
  asked = new AbortController();
  const { signal } = asked;
  paged = pagedRuns = false;
  clearTimeout(waiting);
  try {
    await Promise.all([refreshJobs(signal), refreshRuns(signal)]);
    say(find("#told"), `${count(rows.size, "job")} shown`);
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    if (!signal.aborted) again();
  }
}

function again() {
  clearTimeout(waiting);
  refreshed = Date.now();
  const busy = [...rows.values()].some(({ job }) => !ended(job));
  waiting = setTimeout(poll, (busy ? BUSY_SECONDS : QUIET_SECONDS) * 1000);
}

async function poll() {
  if (document.hidden) return;
  const { signal } = asked;
  try {
    await refreshJobs(signal);
    if (!pagedRuns) await refreshRuns(signal);
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    if (!signal.aborted) again();
  }
}

document.addEventListener("visibilitychange", () => {
  followRunning();
  if (!document.hidden) poll();
});

let typing = 0;
form.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(changed, 250);
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  changed();
});
form.addEventListener("reset", () => setTimeout(changed));

const given = new URLSearchParams(location.search);
for (const filter of FILTERS) if (given.has(filter)) form.elements[filter].value = given.get(filter);
start(refresh);
