// How far a job is: a bar and words. The words are announced when the phase changes, not with every number.
import { duration, h, say } from "./elements.js";

export function progress() {
  const bar = h("progress", { max: "1", "aria-label": "progress" });
  const told = h("span", { class: "told" });
  const element = h("span", { class: "progress" }, bar, told);
  return {
    element,
    show(job) {
      const { fraction, phase, current, total, eta_seconds: left } = job.progress;
      if (job.status === "queued" && !total) bar.removeAttribute("value");
      else bar.value = fraction;
      const parts = job.children
        ? [`${job.children.ended} of ${job.children.total} jobs have ended`]
        : [phase, total ? `${Math.floor(100 * fraction)} %` : current ? `${current}` : null];
      if (left !== null && job.status === "running") parts.push(`about ${duration(left < 10 ? Math.ceil(left) : Math.round(left))} left`);
      say(told, job.status === "queued" ? "waiting for a worker" : parts.filter((part) => part).join(" · "));
    },
  };
}
