/** The buttons that end a job: Cancel while it waits or runs, Remove afterwards. */
import { button, element } from "./dom.js";
import { cancelJob, isEnded, removeJob, titleOf } from "./jobs.js";

/**
 * Make the buttons of the job `id`: {node, update(job)}. Errors go to `error`, a place for messages.
 *
 * They are two elements, so that a click that begins on one never does what the other does.
 */
export function endButtons(id, error) {
  const cancel = button("Cancel", () => cancelJob(id).catch(error.show), { class: "quiet" });
  const remove = button("Remove", () => removeJob(id).catch(error.show), { class: "quiet" });
  return {
    node: element("span", {}, cancel, remove),
    update(job) {
      cancel.hidden = isEnded(job);
      remove.hidden = !isEnded(job);
      cancel.setAttribute("aria-label", `Cancel: ${titleOf(job)}`);
      remove.setAttribute("aria-label", `Remove: ${titleOf(job)}`);
    },
  };
}
