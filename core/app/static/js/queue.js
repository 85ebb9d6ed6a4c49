/** The list of jobs in the head of the page: what waits and runs, with a button to cancel each. */
import { element, messagePlace } from "./dom.js";
import { endButtons } from "./endbuttons.js";
import { allJobs, isEnded, onJob, titleOf } from "./jobs.js";

const MOST = 12; // jobs that are listed

/** Fill the <details> element of the head. */
export function startQueue(details) {
  const summary = details.querySelector("summary");
  const list = element("ul", {});
  const error = messagePlace();
  const none = element("p", { class: "soft small", text: "No jobs yet." });
  details.append(element("div", { class: "popover" }, none, list, error.node));
  const rows = new Map();

  const row = (job) => {
    const bar = element("progress", { max: 1, "aria-label": "Progress" });
    const text = element("span", {});
    const state = element("span", { class: "soft small" });
    const end = endButtons(job.id, error);
    const node = element("li", {}, element("div", {}, text, state, bar), end.node);
    return {
      node,
      update(now) {
        const { step = 0, total = 0 } = now.progress ?? {};
        text.textContent = titleOf(now);
        state.textContent = now.state;
        bar.hidden = now.state !== "running";
        if (total) bar.value = step / total;
        end.update(now);
      },
    };
  };
  const update = () => {
    const shown = allJobs().slice(0, MOST);
    for (const id of [...rows.keys()]) {
      if (!shown.some((job) => job.id === id)) {
        rows.get(id).node.remove();
        rows.delete(id);
      }
    }
    shown.forEach((job, n) => {
      if (!rows.has(job.id)) rows.set(job.id, row(job));
      rows.get(job.id).update(job);
      const { node } = rows.get(job.id);
      if (list.children[n] !== node) list.insertBefore(node, list.children[n] ?? null);
    });
    none.hidden = shown.length > 0;
    const busy = allJobs().filter((job) => !isEnded(job)).length;
    summary.textContent = busy ? `Jobs (${busy})` : "Jobs";
    details.classList.toggle("busy", busy > 0);
  };
  onJob(update);
  details.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !details.open) return;
    details.open = false;
    summary.focus();
  });
  document.addEventListener("click", (event) => {
    if (details.open && !details.contains(event.target)) details.open = false;
  });
}
