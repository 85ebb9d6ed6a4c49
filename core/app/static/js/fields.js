/**
 * Form fields. A field is {node, value, reset()}: `value` reads and writes, null or "" is "not given"; `node` has the
 * label. Every change fires the DOM event `change` or `input` at the node, which bubbles.
 */
import { button, element, newId, optionList } from "./dom.js";

function labelled(label, control, hint, extra = []) {
  control.id ||= newId("field");
  const children = [element("label", { for: control.id, text: label }), control, ...extra];
  if (hint) {
    const note = element("p", { class: "hint", id: newId("hint"), text: hint });
    control.setAttribute("aria-describedby", note.id);
    children.push(note);
  }
  return element("div", { class: "field" }, children);
}

function field(node, read, write, initial = null) {
  return {
    node,
    initial,
    get value() {
      return read();
    },
    set value(value) {
      write(value);
    },
    reset() {
      write(initial);
    },
  };
}

export function textField(label, { value = "", hint, rows = 0, placeholder = "", suggestions } = {}) {
  const control = element(rows ? "textarea" : "input", { rows: rows || null, placeholder, value, autocomplete: "off" });
  const extra = [];
  if (suggestions?.length) {
    const list = element("datalist", { id: newId("list") }, optionList(suggestions));
    control.setAttribute("list", list.id);
    extra.push(list);
  }
  return field(labelled(label, control, hint, extra), () => control.value, (v) => (control.value = v ?? ""), value);
}

export function selectField(label, choices, { value, hint } = {}) {
  const control = element("select", {}, optionList(choices));
  const initial = value ?? control.options[0]?.value ?? "";
  control.value = initial;
  const write = (v) => {
    control.value = v ?? "";
    if (control.selectedIndex < 0) control.value = initial;
  };
  return field(labelled(label, control, hint), () => control.value, write, initial);
}

export function checkField(label, { value = false, hint } = {}) {
  const control = element("input", { type: "checkbox", id: newId("field"), checked: value });
  const node = element("div", { class: "field check" }, control, element("label", { for: control.id, text: label }));
  if (hint) node.append(element("p", { class: "hint", text: hint }));
  return field(node, () => control.checked, (v) => (control.checked = Boolean(v)), value);
}

const numberIn = (control) => (control.value.trim() === "" ? null : control.valueAsNumber);

export function numberField(label, { value = null, min, max, step = "any", hint, placeholder = "" } = {}) {
  const control = element("input", { type: "number", min, max, step, placeholder, value: value ?? "" });
  return field(labelled(label, control, hint), () => numberIn(control), (v) => (control.value = v ?? ""), value);
}

/** A slider and a number beside it; `log` spaces the slider logarithmically. An empty number is "not given". */
export function rangeField(label, { value = null, min, max, step = 0.01, log = false, hint, placeholder = "", unit = "" } = {}) {
  const scale = log ? Math.log : (v) => v;
  const back = log ? Math.exp : (v) => v;
  const rounded = (v) => Number((Math.round(v / step) * step).toPrecision(6));
  const slider = element("input", { type: "range", min: scale(min), max: scale(max), step: log ? "any" : step, "aria-label": `${label}, slider` });
  const control = element("input", { type: "number", min, max, step: "any", placeholder, value: value ?? "" });
  const show = (v) => (slider.value = scale(Math.min(max, Math.max(min, v ?? (log ? Math.sqrt(min * max) : min)))));
  show(value);
  slider.addEventListener("input", () => {
    control.value = log ? Number(back(slider.valueAsNumber).toPrecision(3)) : rounded(slider.valueAsNumber);
  });
  control.addEventListener("input", () => show(numberIn(control)));
  const node = labelled(unit ? `${label} (${unit})` : label, control, hint);
  node.classList.add("range");
  control.before(slider);
  const write = (v) => {
    control.value = v ?? "";
    show(v);
  };
  return field(node, () => numberIn(control), write, value);
}

/** Any number of labels from a list, as toggles in a group; the value is a list, or null if none is chosen. */
export function labelsField(label, values) {
  const boxes = values.map((value) => element("input", { type: "checkbox", value, id: newId("field") }));
  const node = element("fieldset", { class: "field labels" }, element("legend", { text: label }),
    boxes.map((box) => element("span", { class: "chip" }, box, element("label", { for: box.id, text: box.value }))));
  const read = () => {
    const chosen = boxes.filter((box) => box.checked).map((box) => box.value);
    return chosen.length ? chosen : null;
  };
  return field(node, read, (v) => boxes.forEach((box) => (box.checked = (v ?? []).includes(box.value))));
}

/** One of a few choices as a row of radio buttons. */
export function choiceField(label, choices, { value } = {}) {
  const name = newId("choice");
  const boxes = choices.map(([key]) => element("input", { type: "radio", name, value: key, id: newId("field") }));
  const node = element("fieldset", { class: "field choice" }, element("legend", { text: label }),
    element("div", { class: "segments" },
      boxes.map((box, n) => element("span", {}, box, element("label", { for: box.id, text: choices[n][1] })))));
  const initial = value ?? choices[0]?.[0];
  const write = (v) => boxes.forEach((box) => (box.checked = box.value === (choices.some(([k]) => k === v) ? v : initial)));
  write(initial);
  return field(node, () => boxes.find((box) => box.checked)?.value ?? null, write, initial);
}

/** A seed with a button for another one. */
export function seedField(value = 0) {
  const control = element("input", { type: "number", min: 0, max: 2 ** 31 - 1, step: 1, value, id: newId("field") });
  const draw = () => {
    control.value = Math.floor(Math.random() * 100000);
    control.dispatchEvent(new Event("input", { bubbles: true }));
  };
  const node = element("div", { class: "field" }, element("label", { for: control.id, text: "Seed" }),
    element("span", { class: "joined" }, control, button("New", draw, { class: "quiet", "aria-label": "New seed" })));
  return field(node, () => numberIn(control), (v) => (control.value = v ?? ""), value);
}
