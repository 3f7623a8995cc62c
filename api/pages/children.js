// The parts of a sweep: how each of them stands.
import { badge, count, fill, h, jobPage, table, value } from "./elements.js";
import { get } from "./service.js";

const MOST = 200;
let asking = false;
let again = null;

/** Show them; while they are being asked for, the last of the calls in between is done afterwards. */
export async function showChildren(place, job) {
  if (asking) {
    again = job;
    return;
  }
  asking = true;
  try {
    const { items } = await get(`${job.children.link}&limit=${MOST}`);
    fill(place, section(job, [...items].reverse()));
  } finally {
    asking = false;
  }
  const next = again;
  again = null;
  if (next) await showChildren(place, next);
}

function section(job, children) {
  const { total, link, ended, ...byStatus } = job.children;
  const numbers = Object.entries(byStatus).filter(([, jobs]) => jobs).map(([status, jobs]) => h("span", { class: `badge ${status}` }, `${jobs} ${status}`));
  return h("section", { "aria-labelledby": "children-title" },
    h("h2", { id: "children-title" }, "Its jobs"),
    h("p", { class: "state-line" }, `${count(total, "job")}: `, numbers, total > children.length ? `the newest ${children.length} of them:` : null),
    table("Jobs of this sweep", [
      { title: "job", head: true, cell: (child) => h("a", { href: jobPage(child.id) }, h("code", {}, child.id)) },
      ...Object.keys(job.parameters.grid ?? {}).map((parameter) => ({ title: parameter.replace(/_/g, " "), cell: (child) => value(child.parameters[parameter]) })),
      { title: "status", cell: (child) => badge(child.status) },
      { title: "progress", numeric: true, cell: (child) => `${Math.floor(100 * child.progress.fraction)} %` },
    ], children, { captionHidden: true }));
}
