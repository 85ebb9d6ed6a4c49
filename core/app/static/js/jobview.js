/**
 * The view of a job: title, progress with the live estimate, its results as they are made, the steps of denoising, and
 * the same thing as a command, as Python and as recipe.
 */
import { packUrl } from "./api.js";
import { button, copyText, countOf, element, messagePlace } from "./dom.js";
import { endButtons } from "./endbuttons.js";
import { isDiscarded, itemCard } from "./items.js";
import { isEnded, titleOf } from "./jobs.js";
import { isPlane, stillView } from "./media.js";

/**
 * Make the view of a job.
 *
 * Args: job; layout, a function (job, cardOf) -> node for results that are not a plain grid; makeCard, a function of an
 * item; reuse, a function of the job's request for the button "Use these settings".
 * Returns: {node, update(job)}.
 */
export function jobView(job, { layout = null, makeCard = itemCard, reuse = null } = {}) {
  const title = element("h3", {});
  const badge = element("span", { class: "badge" });
  const bar = element("progress", { max: 1, "aria-label": "Progress" });
  const told = element("span", { class: "soft small" });
  const error = messagePlace();
  const end = endButtons(job.id, error);
  const running = element("div", { class: "running" }, bar, told);
  const live = element("div", { class: "live", hidden: true });
  const results = element("div", { class: "results" });
  const notes = element("div", { class: "soft small", hidden: true });
  const steps = element("div", {});
  const tools = element("div", { class: "tools" });
  const node = element("article", { class: "job", data: { job: job.id } },
    element("header", {}, title, badge, end.node), running, error.node, live, results, notes, steps, tools);
  const cards = new Map();
  const cardOf = (item) => {
    if (!cards.has(item.id)) cards.set(item.id, makeCard(item));
    return cards.get(item.id);
  };
  let current = job;
  let laidOut = null; // ids of the items in the layout: it is made again only for other ones, since that stops players

  const update = (now) => {
    current = now;
    title.textContent = titleOf(now);
    badge.textContent = stateText(now);
    badge.dataset.state = now.state;
    end.update(now);
    running.hidden = isEnded(now);
    showProgress(now, bar, told);
    error.show(now.state === "failed" ? (now.error ?? "The job failed.") : null);
    showLive(now, live);
    showItems();
    showNotes(now.notes ?? [], notes);
    if (isEnded(now)) {
      showSteps(now.trajectory ?? [], steps);
      showTools();
    }
  };

  const showItems = () => {
    const items = current.items ?? [];
    if (layout) {
      const ids = items.map((item) => item.id).join();
      if (ids !== laidOut) results.replaceChildren(layout(current, cardOf));
      laidOut = ids;
      return;
    }
    const played = items.some((item) => !isPlane(item));
    results.className = `results grid ${played ? "played" : "planes"}`;
    for (const item of items) if (cardOf(item).parentNode !== results) results.append(cardOf(item));
  };

  const showTools = () => {
    const items = (current.items ?? []).filter((item) => !isDiscarded(item.id));
    tools.replaceChildren(...[
      reuse && button("Use these settings", () => reuse(current.request), { class: "quiet" }),
      items.length > 0 && element("a", { class: "button quiet", href: packUrl(items.map((item) => item.id)), download: "", text: "Download pack" }),
      ...copyButtons(current),
    ].filter(Boolean));
  };
  document.addEventListener("items-changed", () => isEnded(current) && showTools());
  update(job);
  return { node, update };
}

function stateText(job) {
  if (job.state === "queued") return job.position > 0 ? `waiting, ${job.position} before it` : "waiting";
  const at = job.ended ? `, ${new Date(1000 * job.ended).toLocaleTimeString([], { timeStyle: "short" })}` : "";
  return (job.state === "done" ? countOf(job.items?.length ?? 0, "result") : job.state) + at;
}

function showProgress(job, bar, told) {
  const { step = 0, total = 0, batch = 0, batches = 0, part = 0, parts = 1 } = job.progress ?? {};
  if (total > 0) bar.value = (part + (batch + step / total) / Math.max(1, batches)) / parts;
  else bar.removeAttribute("value");
  told.textContent = total > 0
    ? [`step ${step} of ${total}`, batches > 1 && `batch ${batch + 1} of ${batches}`, parts > 1 && `part ${part + 1} of ${parts}`].filter(Boolean).join(", ")
    : job.state === "queued" ? "" : "loading the model";
}

function showLive(job, live) {
  const { preview } = job;
  live.hidden = !preview;
  if (!preview) return live.replaceChildren();
  const shown = live.querySelector("img");
  if (shown) shown.src = preview.url;
  else live.append(stillView(preview.url, "Estimate of the results so far"), element("p", { class: "soft small", text: "Estimate so far" }));
}

function showNotes(notes, place) {
  place.hidden = notes.length === 0;
  if (place.dataset.shown === String(notes.length)) return;
  place.dataset.shown = notes.length;
  const list = element("ul", {}, notes.map((note) => element("li", { text: note })));
  place.replaceChildren(notes.length < 3 ? list
    : element("details", { class: "more" }, element("summary", { text: countOf(notes.length, "note") }), list));
}

/** The steps of denoising: a slider through what the sampler had after each step. */
function showSteps(trajectory, place) {
  if (trajectory.length < 2 || place.childElementCount) return;
  const view = element("div", { class: "live" });
  const slider = element("input", { type: "range", min: 0, max: trajectory.length - 1, step: 1, value: trajectory.length - 1, "aria-label": "Step of denoising" });
  const told = element("output", { class: "soft small" });
  let still = null;
  const show = () => {
    const frame = trajectory[slider.valueAsNumber];
    if (!still) view.append((still = stillView(frame.url, "Results after a step of denoising")));
    still.src = frame.url;
    told.textContent = `after step ${frame.step}`;
    slider.setAttribute("aria-valuetext", told.textContent);
  };
  slider.addEventListener("input", show);
  const details = element("details", { class: "more" }, element("summary", { text: "Steps of denoising" }),
    view, element("div", { class: "running" }, slider, told));
  details.addEventListener("toggle", () => details.open && show());
  place.append(details);
}

function copyButtons(job) {
  const ways = [["command", "Copy command"], ["python", "Copy Python"], ["recipe", "Copy recipe"]];
  return ways.filter(([key]) => job[key]).map(([key, text]) => button(text, () => copyText(job[key]), { class: "quiet", title: job[key] }));
}
