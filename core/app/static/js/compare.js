/** The tab "Compare": the same seeds under two settings or checkpoints, and a sweep over two settings. */
import { button, element, messagePlace } from "./dom.js";
import { choiceField, numberField, seedField, selectField, textField } from "./fields.js";
import { jobFeed } from "./feed.js";
import { submitJob } from "./jobs.js";
import { recall, remember } from "./memory.js";
import { checkpointChoices, describeModel, modelField } from "./models.js";
import { settingsForm } from "./settings.js";
import { compareLayout, sweepCard, sweepLayout } from "./layouts.js";

const SHARED = ["count", "seed", "trajectory"];

/** Fill the tab's panel. */
export async function startCompare(panel) {
  const saved = recall("compare") ?? {};
  const mode = choiceField("Compare", [["two", "Two settings"], ["sweep", "A sweep"]], { value: saved.mode });
  const two = await twoSettings(saved.two ?? {});
  const sweep = await sweepSettings(saved.sweep ?? {});
  const error = messagePlace();
  const form = element("form", { class: "panel wide", "aria-label": "Settings", novalidate: true }, mode.node, two.node, sweep.node, error.node,
    element("div", { class: "submit" }, element("button", { type: "submit", class: "primary", text: "Compare" })));
  const show = () => {
    two.node.hidden = mode.value !== "two";
    sweep.node.hidden = mode.value !== "sweep";
  };
  const save = () => remember("compare", { mode: mode.value, two: two.values(), sweep: sweep.values() });
  for (const event of ["input", "change"]) form.addEventListener(event, () => { show(); save(); });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    error.show(null);
    try {
      await submitJob(mode.value === "two" ? two.request() : sweep.request());
    } catch (failure) {
      error.show(failure);
    }
  });
  show();
  const feed = jobFeed((job) => job.kind === "compare" || job.kind === "sweep", "Comparisons will be shown here.",
    (job) => (job.kind === "compare" ? { layout: compareLayout } : { layout: sweepLayout, makeCard: sweepCard }));
  panel.append(form, element("section", { class: "main", "aria-label": "Comparisons" }, feed.node));
}

/** A model with its checkpoint and settings, as one side of a comparison. */
async function side(title, saved, hide) {
  const model = await modelField("Model", saved.model);
  const place = element("div", { class: "side-settings" });
  let settings = null;
  let checkpoint = null;
  const showModel = async (values, chosen) => {
    const description = await describeModel(model.value);
    checkpoint = selectField("Checkpoint", checkpointChoices(description), { value: "" });
    checkpoint.value = chosen ?? "";
    checkpoint.node.hidden = (description.checkpoints ?? []).length < 2;
    settings = settingsForm(description, { hide });
    if (values) settings.fill(values);
    place.replaceChildren(checkpoint.node, settings.node);
  };
  model.node.addEventListener("change", () => showModel());
  await showModel(saved.values, saved.checkpoint);
  return {
    node: element("fieldset", { class: "side" }, element("legend", { text: title }), model.node, place),
    values: () => ({ model: model.value, checkpoint: checkpoint.value, values: settings.values() }),
    request: () => ({ model: model.value, ...(checkpoint.value && { checkpoint: checkpoint.value }), ...settings.request() }),
    async fill(from) {
      model.value = from.model;
      await showModel(from.values, from.checkpoint);
    },
  };
}

async function twoSettings(saved) {
  const a = await side("A", saved.a ?? {}, SHARED);
  const b = await side("B", saved.b ?? {}, SHARED);
  const count = numberField("Count", { value: saved.count ?? 4, min: 1, max: 16, step: 1 });
  const seed = seedField(saved.seed ?? 0);
  const copy = button("Copy A to B", async () => {
    await b.fill(a.values());
    b.node.dispatchEvent(new Event("change", { bubbles: true }));
  }, { class: "quiet" });
  const node = element("div", {}, element("div", { class: "sides" }, a.node, b.node), element("p", {}, copy),
    element("div", { class: "group pair narrow" }, count.node, seed.node));
  const shared = () => ({ count: count.value ?? 1, seed: seed.value ?? 0 });
  return {
    node,
    values: () => ({ a: a.values(), b: b.values(), ...shared() }),
    request: () => ({ kind: "compare", a: { ...a.request(), ...shared() }, b: { ...b.request(), ...shared() } }),
  };
}

async function sweepSettings(saved) {
  const base = await side("Settings", saved.base ?? {}, ["steps", "guidance", "trajectory", "count", "seed"]);
  const seed = seedField(saved.seed ?? 0);
  const guidance = textField("Guidance scales", { value: saved.guidance ?? "1, 2, 4", hint: "Numbers with commas; the columns." });
  const steps = textField("Numbers of steps", { value: saved.steps ?? "4, 8, 16", hint: "Numbers with commas; the rows." });
  return {
    node: element("div", { class: "sides" }, base.node,
      element("fieldset", { class: "side" }, element("legend", { text: "Sweep" }), guidance.node, steps.node, seed.node)),
    values: () => ({ base: base.values(), seed: seed.value, guidance: guidance.value, steps: steps.value }),
    request: () => ({
      kind: "sweep",
      base: { ...base.request(), count: 1, seed: seed.value ?? 0 },
      axes: axesOf({ "guidance.scale": numbersIn(guidance.value, "Guidance scales"), steps: numbersIn(steps.value, "Numbers of steps") }),
    }),
  };
}

/** Axes that have values; an empty list is no axis. */
const axesOf = (axes) => Object.fromEntries(Object.entries(axes).filter(([, values]) => values.length));

function numbersIn(text, label) {
  return text.split(/[,;\s]+/).filter(Boolean).map((word) => {
    const number = Number(word);
    if (!Number.isFinite(number)) throw new Error(`${label}: “${word}” is not a number; write for example 1, 2, 4.`);
    return number;
  });
}
