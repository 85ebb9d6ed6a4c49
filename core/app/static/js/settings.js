/**
 * The settings of sampling as a form, made from a model's description: prompt, class and other conditions, length or
 * size, and how to sample. What equals the model's default is left out of the request, so that a recipe keeps its say.
 */
import { element } from "./dom.js";
import { itemField } from "./itemfield.js";
import { checkField, labelsField, numberField, rangeField, seedField, selectField, textField } from "./fields.js";

const UNCONDITIONAL = "\u0000"; // value of the choice "no class"; a class cannot have this name
const CLASS_CHOICES = [["", "as in the recipe"], ["cycle", "every class in turn"], [UNCONDITIONAL, "no class"]];

/**
 * Make the form.
 *
 * Args: model, the description of GET /api/models/NAME; hide, names of fields that do not apply.
 * Returns: {node, request(), fill(values), values()}; the node fires `input` and `change`.
 */
export function settingsForm(model, { hide = [] } = {}) {
  const defaults = model.defaults ?? {};
  const fields = new Map(); // name -> {field, put(request, value)}
  const add = (name, made, put) => {
    if (hide.includes(name)) return null;
    fields.set(name, { field: made, put: put ?? ((request, value) => (request[name] = value)) });
    return made.node;
  };
  const what = element("div", { class: "group" }, contentFields(model, add));
  const shape = element("div", { class: "group pair" }, shapeFields(model, defaults, add));
  const how = element("div", { class: "group pair" }, [
    add("count", numberField("Count", { value: Math.min(4, defaults.count ?? 4), min: 1, max: 64, step: 1 })),
    add("seed", seedField(0)),
  ]);
  const scale = defaults.guidance?.scale ?? (typeof defaults.guidance === "number" ? defaults.guidance : null);
  const quality = element("div", { class: "group" }, [
    add("steps", rangeField("Steps", { value: defaults.steps ?? 20, min: 1, max: 100, step: 1,
      hint: model.few_steps?.length ? `Calibrated for ${model.few_steps.join(", ")} steps.` : null })),
    add("guidance", rangeField("Guidance", { value: scale, min: 1, max: 10, step: 0.1,
      placeholder: Array.isArray(defaults.guidance) ? "several" : scale === null ? "none" : "", hint: "How closely results follow prompt and class; 1: no guidance." }),
    (request, value) => (request.guidance = typeof value === "number" && defaults.guidance?.use ? { scale: value } : value)),
  ]);
  const more = element("details", { class: "more" }, element("summary", { text: "More settings" }),
    element("div", { class: "group" }, [
      add("use", selectField("Sampler", model.samplers ?? [defaults.use], { value: defaults.use })),
      add("timesteps", selectField("Timestep spacing", model.timesteps ?? [defaults.timesteps], { value: defaults.timesteps })),
      model.takes_windows ? add("windows", windowsField(defaults)) : null,
      add("loop", checkField("Loop: the end continues into the beginning")),
      add("trajectory", checkField("Keep the steps of denoising to look at", { value: true })),
    ]));
  const node = element("div", { class: "settings" }, [what, shape, quality, how, more].filter((part) => part.childElementCount));
  return {
    node,
    request: () => readRequest(fields),
    values: () => Object.fromEntries([...fields].map(([name, { field }]) => [name, field.value])),
    fill(values) {
      for (const [name, { field }] of fields) if (name in values) field.value = values[name];
    },
    /** Fill from a request of an earlier job; what it does not name goes back to the default. */
    fillFrom(request) {
      for (const [name, { field }] of fields) field.value = valueIn(request, name, field.initial);
    },
  };
}

function contentFields(model, add) {
  const conditions = model.conditions ?? [];
  const made = [];
  if (conditions.some((one) => one.kind === "text")) {
    made.push(add("prompt", textField("Prompt", { rows: 2, placeholder: model.examples?.[0] ?? "" })));
    made.push(add("negative", textField("Negative prompt", { hint: "What to stay away from; may be empty." })));
  }
  for (const one of conditions) {
    const name = `condition:${one.name}`;
    const put = (request, value) => ((request.conditions ??= {})[one.name] = value);
    if (one.kind === "class") made.push(add("label", classField(one, model.classes ?? []), putLabel));
    else if (one.kind === "labels") made.push(add(name, labelsField(title(one.name), one.values ?? []), put));
    else if (one.kind === "scalar") made.push(add(name, scalarField(one), put));
    else if (one.takes_item) made.push(add(name, itemField(title(one.name), (item) => item.media_type === model.media_type), put));
  }
  return made;
}

function classField(one, classes) {
  const values = one.values ?? classes;
  return selectField("Class", [...CLASS_CHOICES, ...values], { value: "" });
}

const putLabel = (request, value) => (request.label = value === UNCONDITIONAL ? null : value);

function scalarField(one) {
  const [min, max] = one.range ?? [0, 1];
  const step = Number(((max - min) / 100).toPrecision(1));
  return rangeField(title(one.name), { min, max, step, log: Boolean(one.log), placeholder: "any",
    hint: `From ${min} to ${max}; empty: as in the recipe.` });
}

function shapeFields(model, defaults, add) {
  const made = [];
  if ((model.axes ?? []).includes("time")) {
    const longest = model.seconds_max ?? Math.max(10, 4 * (defaults.seconds ?? 1));
    made.push(add("seconds", rangeField("Length", { value: defaults.seconds ?? null, min: 0.05, max: longest, step: 0.05,
      unit: "s", placeholder: "as trained" })));
  } else if (Array.isArray(defaults.size) && model.sizes !== false) {
    const put = (at) => (request, value) => ((request.size ??= [...defaults.size])[at] = value);
    made.push(add("height", numberField("Height", { value: defaults.size[0], min: 1, step: 1 }), put(0)));
    made.push(add("width", numberField("Width", { value: defaults.size[1] ?? defaults.size[0], min: 1, step: 1 }), put(1)));
  }
  return made;
}

const windowsField = (defaults) => rangeField("Overlap of windows", { value: defaults.windows ?? null, min: 0, max: 0.9,
  step: 0.05, placeholder: "no windows", hint: "For results longer or larger than those of training: made in windows of the trained size, of which neighbours share this part." });

function readRequest(fields) {
  const request = {};
  for (const [name, { field, put }] of fields) {
    const value = field.value;
    const always = ["count", "seed"].includes(name);
    if (value === "" || value === null || (!always && value === field.initial && name !== "trajectory")) continue;
    put(request, value);
  }
  return request;
}

function valueIn(request, name, initial) {
  if (name.startsWith("condition:")) return request.conditions?.[name.slice(10)] ?? initial;
  if (name === "label" && request.label === null) return UNCONDITIONAL;
  if (name === "height" || name === "width") return request.size?.[name === "height" ? 0 : 1] ?? initial;
  if (name === "guidance") return request.guidance?.scale ?? request.guidance ?? initial;
  return request[name] ?? initial;
}

/** "object_count" -> "Object count". */
const title = (name) => name.charAt(0).toUpperCase() + name.slice(1).replaceAll("_", " ");
