/** Elements of the page. Data is always set as text and never parsed as HTML. */

let numbered = 0;

/** A new id for an element that another one names. */
export const newId = (stem = "e") => `${stem}-${++numbered}`;

/**
 * Make an element.
 *
 * Options: `class`, `text`, `on` (event -> listener), `data` (dataset), and attributes; true sets an empty attribute,
 * false, null and undefined set none. `value`, `checked`, `selected` and `disabled` are set as properties.
 */
export function element(tag, options = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) {
    if (name === "class") node.className = value;
    else if (name === "text") node.textContent = value;
    else if (name === "on") for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    else if (name === "data") Object.assign(node.dataset, value);
    else if (["value", "checked", "selected", "disabled", "hidden"].includes(name)) node[name] = value;
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Make an SVG element with attributes and children. */
export function svgElement(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** A button; the class "primary" is for the one that a form is for, "quiet" for those that come many times. */
export function button(text, click, options = {}) {
  return element("button", { type: "button", text, on: { click }, ...options });
}

/** An option list of a select element from values or [value, text] pairs. */
export const optionList = (values) =>
  values.map((one) => (Array.isArray(one) ? one : [one, one])).map(([value, text]) => element("option", { value, text }));

/** Say something to screen readers without moving the focus. */
export function announce(text) {
  document.getElementById("announcer").textContent = text;
}

/** A place for errors and notes next to what they belong to; screen readers read it aloud. */
export function messagePlace() {
  const node = element("p", { class: "message", role: "alert", hidden: true });
  return {
    node,
    show(error) {
      node.hidden = !error;
      node.textContent = error ? (error.message ?? String(error)) : "";
    },
  };
}

/** A short message at the edge of the page with one action, such as Undo; it goes away by itself. */
export function showNotice(text, action, seconds = 6) {
  const place = document.getElementById("notices");
  const node = element("div", { class: "notice" }, element("span", { text }));
  const remove = () => node.remove();
  if (action) {
    node.append(button(action.text, () => { remove(); action.run(); }, { class: "quiet" }));
  }
  place.append(node);
  announce(text);
  setTimeout(remove, 1000 * seconds);
}

/** Put text on the clipboard, also where the page may not use the clipboard interface. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = element("textarea", { class: "offscreen", value: text });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  showNotice("Copied.", null, 2);
}

/** "1 sample", "3 samples". */
export const countOf = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;

/** A number with at most `digits` significant digits, without exponents for usual sizes. */
export function shortNumber(value, digits = 3) {
  if (!Number.isFinite(value)) return "–";
  if (value !== 0 && (Math.abs(value) < 1e-4 || Math.abs(value) >= 1e6)) return value.toExponential(digits - 1);
  return String(Number(value.toPrecision(digits)));
}

/** "2 h 5 min", "3 min 20 s", "12 s". */
export function shortDuration(seconds) {
  const whole = Math.round(seconds);
  if (whole >= 3600) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return whole >= 60 ? `${Math.floor(whole / 60)} min ${whole % 60} s` : `${whole} s`;
}
