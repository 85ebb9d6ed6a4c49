/** A list of the jobs of some kinds, newest first, kept up to date. */
import { element } from "./dom.js";
import { allJobs, onJob } from "./jobs.js";
import { jobView } from "./jobview.js";

/**
 * Make the list.
 *
 * Args: wanted, a function of a job; empty, the text shown while there is none; optionsOf, a function of a job
 * for the options of `jobView`.
 * Returns: {node, refresh()}; `refresh` asks `wanted` again for all jobs.
 */
export function jobFeed(wanted, empty, optionsOf = () => ({})) {
  const none = element("p", { class: "soft empty", text: empty });
  const list = element("div", { class: "feed" });
  const views = new Map();

  /** Put a new view before the first one that is older. */
  const place = (id) => {
    const order = allJobs().map((job) => job.id);
    const next = order.slice(order.indexOf(id) + 1).find((other) => views.has(other));
    list.insertBefore(views.get(id).node, next ? views.get(next).node : null);
  };
  const note = (job) => {
    if (job.removed || !wanted(job)) {
      views.get(job.id)?.node.remove();
      views.delete(job.id);
    } else if (views.has(job.id)) {
      views.get(job.id).update(job);
    } else {
      views.set(job.id, jobView(job, optionsOf(job)));
      place(job.id);
    }
    none.hidden = views.size > 0;
  };
  onJob(note);
  return { node: element("div", {}, none, list), refresh: () => allJobs().forEach(note) };
}
