/** A list of the jobs of some kinds, newest first, kept up to date. */
import { button, element } from "./dom.js";
import { allJobs, onJob } from "./jobs.js";
import { jobView } from "./jobview.js";

const MOST = 10; // jobs that are shown until more are asked for

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
  let most = MOST;
  const more = button("Show older", () => {
    most += MOST;
    refresh();
  }, { class: "older" });

  /** Put a new view before the first one that is older. */
  const place = (id) => {
    const order = allJobs().map((job) => job.id);
    const next = order.slice(order.indexOf(id) + 1).find((other) => views.has(other));
    list.insertBefore(views.get(id).node, next ? views.get(next).node : null);
  };
  const newest = () => allJobs().filter(wanted).slice(0, most).map((job) => job.id);
  const note = (job) => {
    if (job.removed || !wanted(job) || !newest().includes(job.id)) {
      views.get(job.id)?.node.remove();
      views.delete(job.id);
    } else if (views.has(job.id)) {
      views.get(job.id).update(job);
    } else {
      views.set(job.id, jobView(job, optionsOf(job)));
      place(job.id);
    }
    none.hidden = views.size > 0;
    more.hidden = allJobs().filter(wanted).length <= most;
  };
  const refresh = () => allJobs().forEach(note);
  onJob(note);
  return { node: element("div", {}, none, list, more), refresh };
}
