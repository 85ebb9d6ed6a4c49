/** The tab "Sample": a model, its settings, and the results as they are made. */
import { getItems, packUrl } from "./api.js";
import { element, messagePlace } from "./dom.js";
import { choiceField } from "./fields.js";
import { jobFeed } from "./feed.js";
import { isDiscarded, itemCard } from "./items.js";
import { submitJob } from "./jobs.js";
import { recall, remember } from "./memory.js";
import { describeModel, modelField } from "./models.js";
import { settingsForm } from "./settings.js";

/** Fill the tab's panel. */
export async function startSample(panel) {
  const saved = recall("sample") ?? {};
  const model = await modelField("Model", saved.model);
  const about = element("p", { class: "hint" });
  const place = element("div", {});
  const error = messagePlace();
  const form = element("form", { class: "panel", "aria-label": "Settings", novalidate: true },
    model.node, about, place, error.node,
    element("div", { class: "submit" }, element("button", { type: "submit", class: "primary", text: "Sample" })));
  let settings = null;
  let shownModel = null; // whose settings are shown: those of a model that was just chosen come a moment later

  const showModel = async (values, request) => {
    const name = model.value;
    const description = await describeModel(name);
    if (name !== model.value) return; // another one was chosen meanwhile
    about.textContent = aboutText(description);
    settings = settingsForm(description);
    shownModel = name;
    place.replaceChildren(settings.node);
    if (values) settings.fill(values);
    if (request) settings.fillFrom(request);
  };
  const save = () => remember("sample", { model: model.value, values: { ...recall("sample")?.values, [shownModel]: settings.values() } });
  const reuse = async (request) => {
    model.value = request.model;
    await showModel(null, request);
    save();
    form.scrollIntoView({ block: "start" });
  };
  model.node.addEventListener("change", () => showModel(recall("sample")?.values?.[model.value]).then(save, error.show));
  form.addEventListener("input", () => settings && save());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    error.show(null);
    try {
      await submitJob({ kind: "sample", model: model.value, ...settings.request() });
    } catch (failure) {
      error.show(failure);
    }
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });

  const feed = jobFeed((job) => job.kind === "sample", "Results will be shown here.", () => ({ reuse }));
  const kept = keptItems();
  const shown = choiceField("Show", [["all", "All results"], ["kept", "Kept"]]);
  shown.node.addEventListener("change", () => {
    feed.node.hidden = shown.value === "kept";
    kept.node.hidden = shown.value !== "kept";
    if (shown.value === "kept") kept.refresh();
  });
  panel.append(element("div", { class: "split" }, form,
    element("section", { class: "main", "aria-label": "Results" }, shown.node, feed.node, kept.node)));
  await showModel(saved.values?.[model.value]);
}

function aboutText(description) {
  const made = description.step ? `trained for ${description.step} steps` : "";
  return [description.about, made].filter(Boolean).join(" · ");
}

/** All items that the user keeps, from whatever job. */
function keptItems() {
  const error = messagePlace();
  const grid = element("div", { class: "results grid planes" });
  const pack = element("p", {});
  const node = element("div", { hidden: true }, pack, error.node, grid);
  const refresh = async () => {
    try {
      const items = (await getItems("?kept=1")).filter((item) => !isDiscarded(item.id));
      grid.replaceChildren(...items.map((item) => itemCard(item)));
      pack.replaceChildren(items.length
        ? element("a", { class: "button", href: packUrl(items.map((item) => item.id)), download: "", text: "Download kept as pack" })
        : element("span", { class: "soft", text: "Nothing is kept yet: press Keep at a result." }));
      error.show(null);
    } catch (failure) {
      error.show(failure);
    }
  };
  return { node, refresh };
}
