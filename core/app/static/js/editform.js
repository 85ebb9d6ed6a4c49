/** The settings of an edit: the model, what to do, and the options of that edit. */
import { element, messagePlace } from "./dom.js";
import { choiceField, numberField, rangeField, selectField, textField } from "./fields.js";
import { itemField } from "./itemfield.js";
import { recall, remember } from "./memory.js";
import { describeModel, modelField, modelNames } from "./models.js";
import { settingsForm } from "./settings.js";

const KINDS = {
  vary: ["Vary", "Makes variations. A strength of 0 keeps the file, 1 makes something new."],
  inpaint: ["Inpaint", "Makes the marked part anew and keeps the rest."],
  continue: ["Continue", "Goes on after the end of the file."],
  reprompt: ["Reprompt", "Changes what the file shows to another prompt or class, and keeps the layout."],
  morph: ["Morph", "Makes steps between this file and another one."],
  recover: ["Recover", "Undoes a known damage, such as a low resolution."],
  restore: ["Restore", "Removes the damage that the model was trained to remove."],
};
const OPERATORS = {
  downsample: ["Lower resolution", "factor", 4],
  low_pass: ["High frequencies cut off", "cutoff", null],
  channel_mean: ["Mean of the channels", null, null],
  crop: ["Edges cut off", null, null],
};
const SAMPLING = ["height", "width", "seconds", "trajectory"]; // settings that no edit has, or its own field has

/** Make the form: {node, error, kind(), others(), request(), useItem(item)}; the node fires `kind` when that changes. */
export function editForm() {
  const error = messagePlace();
  const place = element("div", { class: "edit-settings" });
  const node = element("form", { class: "panel", "aria-label": "Edit", novalidate: true }, place, error.node,
    element("div", { class: "submit" }, element("button", { type: "submit", class: "primary", text: "Make" })));
  let item = null;
  let model = null;
  let kind = null;
  let parts = {}; // fields of the edit itself
  let settings = null;
  let shownModel = null; // whose settings are shown: those of a model that was just chosen come a moment later

  const useItem = async (next) => {
    const same = item?.media_type === next.media_type && model;
    item = next;
    if (!same) await showModels();
    else await showKind();
  };

  const showModels = async () => {
    const fitting = [];
    for (const name of await modelNames()) {
      const one = await describeModel(name).catch(() => null);
      if (one && one.media_type.split("/")[0] === item.media_type.split("/")[0] && one.edits?.length) fitting.push(name);
    }
    if (!fitting.length) {
      place.replaceChildren();
      error.show(`No model of this studio edits files of the kind ${item.media_type}.`);
      return;
    }
    error.show(null);
    const saved = recall("edit") ?? {};
    const chosen = [item.model, saved.model, fitting[0]].find((name) => fitting.includes(name));
    model = await modelField("Model", chosen, fitting);
    model.node.addEventListener("change", showModel);
    await showModel();
  };

  const showModel = async () => {
    const description = await describeModel(model.value);
    const kinds = Object.keys(KINDS).filter((name) => description.edits.includes(name));
    kind = choiceField("What to do", kinds.map((name) => [name, KINDS[name][0]]), { value: recall("edit")?.kind });
    kind.node.addEventListener("change", (event) => {
      event.stopPropagation();
      showKind();
    });
    await showKind();
  };

  const showKind = async () => {
    const name = model.value;
    const description = await describeModel(name);
    if (name !== model.value) return; // another one was chosen meanwhile
    const saved = recall("edit")?.values?.[name] ?? {};
    shownModel = name;
    parts = fieldsOf(kind.value, description, item);
    const hide = kind.value === "reprompt" ? [...SAMPLING, "count"] : SAMPLING;
    settings = settingsForm(description, { hide });
    settings.fill(saved);
    for (const [name, part] of Object.entries(parts)) if (name in saved && name !== "other") part.value = saved[name];
    place.replaceChildren(model.node, kind.node, element("p", { class: "hint", text: KINDS[kind.value][1] }),
      ...Object.values(parts).map((part) => part.node), settings.node);
    save();
    node.dispatchEvent(new Event("kind"));
  };

  const save = () => {
    const own = Object.fromEntries(Object.entries(parts).map(([name, part]) => [name, part.value]));
    const values = recall("edit")?.values ?? {};
    values[shownModel] = { ...values[shownModel], ...settings.values(), ...own };
    remember("edit", { model: model.value, kind: kind.value, values });
  };
  for (const name of ["input", "change"]) node.addEventListener(name, () => settings && save());

  return {
    node,
    error,
    useItem,
    kind: () => kind?.value ?? null,
    others: () => (parts.other?.value ? [parts.other.value] : []),
    request() {
      const request = { edit: kind.value, model: model.value, ...settings.request() };
      for (const name of ["strength", "source", "seconds"]) {
        const value = parts[name]?.value;
        if (value !== undefined && value !== null && value !== "") request[name] = value;
      }
      if (parts.operator) request.operator = operatorOf(parts);
      if (kind.value === "morph" && !parts.other?.value) throw new Error("Choose the other file of the morph.");
      return request;
    },
  };
}

function fieldsOf(kind, description, item) {
  const strength = (value, min) => rangeField("Strength", { value, min, max: 1, step: 0.05 });
  if (kind === "vary") return { strength: strength(0.5, 0) };
  if (kind === "continue") return { seconds: rangeField("Seconds to add", { value: 0.5, min: 0.05, max: 10, step: 0.05 }) };
  if (kind === "reprompt") {
    const text = description.conditions.some((one) => one.kind === "text");
    return { source: textField(text ? "What it shows now" : "Class that it has now", { hint: "May be empty.", suggestions: text ? null : description.classes }), strength: strength(0.8, 0.05) };
  }
  if (kind === "morph") return { other: itemField("To this file", (one) => one.id !== item.id && one.media_type === item.media_type) };
  if (kind === "recover") {
    return {
      operator: selectField("Damage", Object.entries(OPERATORS).map(([name, [text]]) => [name, text])),
      amount: numberField("Amount", { min: 0, hint: "The factor of the resolution, or the frequency; empty: the usual one." }),
    };
  }
  return {};
}

function operatorOf(parts) {
  const use = parts.operator.value;
  const [, option, usual] = OPERATORS[use];
  const amount = parts.amount.value ?? usual;
  return option && amount !== null ? { use, [option]: amount } : { use };
}
