/** How the results of comparisons are laid out: pairs side by side, and the contact sheet of a sweep. */
import { element } from "./dom.js";
import { describe, isPlane, mediaView } from "./media.js";

/** Rows of the same seed, A at the left and B at the right. */
export function compareLayout(job, cardOf) {
  const items = job.items ?? [];
  const column = (side) => {
    const request = job.request?.[side] ?? {};
    const mine = items.filter((item) => item.side === side).sort((x, y) => x.index - y.index);
    const played = mine.some((item) => !isPlane(item));
    return element("section", { class: "column", "aria-label": side.toUpperCase() },
      element("h4", { text: `${side.toUpperCase()}: ${settingsText(request)}` }),
      element("div", { class: `grid ${played ? "played" : "planes"}` }, mine.map(cardOf)));
  };
  return element("div", { class: "columns" }, column("a"), column("b"));
}

/** A request in a few words: what it sets apart from model, count and seed. */
function settingsText(request) {
  const { model, count, seed, prompt, trajectory, ...others } = request;
  const parts = Object.entries(others).filter(([, value]) => value !== null)
    .map(([key, value]) => `${key} ${typeof value === "object" ? Object.values(value).join(" ") : value}`);
  return [model, prompt && `“${prompt}”`, ...parts].filter(Boolean).join(", ");
}

/** A table with a row for each number of steps and a column for each guidance scale, or what the axes are. */
export function sweepLayout(job, cardOf) {
  const axes = Object.entries(job.request?.axes ?? {});
  const [across, down] = axes.length > 1 ? axes : [axes[0] ?? ["", [""]], ["", [""]]];
  const label = ([key], value) => (key ? `${axisName(key)} ${value}` : "");
  const found = (x, y) => (job.items ?? []).find((item) => same(item.cell?.[across[0]], x) && (!down[0] || same(item.cell?.[down[0]], y)));
  const rows = down[1].map((y) => element("tr", {}, element("th", { scope: "row", text: label(down, y) }),
    across[1].map((x) => element("td", {}, cellOf(found(x, y), cardOf)))));
  const head = element("tr", {}, element("td", {}), across[1].map((x) => element("th", { scope: "col", text: label(across, x) })));
  return element("div", { class: "scrolled", tabindex: "0", role: "region", "aria-label": "Contact sheet" },
    element("table", { class: "sheet" }, element("thead", {}, head), element("tbody", {}, rows)));
}

const same = (a, b) => Number(a) === Number(b);
const axisName = (key) => ({ "guidance.scale": "guidance", steps: "steps" })[key] ?? key;

const cellOf = (item, cardOf) => (item ? cardOf(item) : element("div", { class: "waiting", "aria-label": "not made yet" }));

/** The small card of a cell of a contact sheet. */
export function sweepCard(item) {
  const open = element("a", { class: "small", href: `#edit?item=${encodeURIComponent(item.id)}`, text: "Edit", "aria-label": `Edit ${describe(item)}` });
  return element("div", { class: "cell" }, mediaView(item), open);
}
