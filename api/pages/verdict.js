// What a report says, in the service's own words.
import { h, jobPage } from "./elements.js";
import { get } from "./service.js";

/** The sentences on a job, and the way to the one that they compare with; `asked` is its report, on its way. */
export async function verdict(job, asked) {
  const [{ sentences }, report] = await Promise.all([get(`/v1/jobs/${encodeURIComponent(job)}/verdict`), asked]);
  const previous = report.summary?.since_previous_step;
  return [
    h("ul", { class: "verdict" }, sentences.map((sentence) => h("li", {}, sentence))),
    previous ? h("p", { class: "small" }, "The step before: ", h("a", { href: jobPage(previous.job_id) }, `step ${previous.step}`)) : null,
  ];
}
