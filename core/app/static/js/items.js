/**
 * The card of an item (a result or an upload): view or player, name, rating, keep, edit, discard. All cards of an item
 * on the page change together.
 */
import { deleteItem, patchItem } from "./api.js";
import { button, element, newId, showNotice } from "./dom.js";
import { describe, mediaView } from "./media.js";

const cards = new Map(); // id -> set of {refresh, node}
const known = new Map(); // id -> item, as the server last told
const leaving = new Map(); // id -> timer of an item that is being discarded
const UNDO_SECONDS = 6;

/** Take an item that the server sent; cards that show it follow. */
export function noteItem(item) {
  known.set(item.id, { ...known.get(item.id), ...item });
  for (const card of cards.get(item.id) ?? []) card.refresh();
  return known.get(item.id);
}

/** The newest state of an item. */
export const currentItem = (id) => known.get(id);

/** Whether the user has discarded an item. */
export const isDiscarded = (id) => leaving.has(id);

async function change(id, changes, place) {
  const before = known.get(id);
  noteItem({ ...before, ...changes });
  try {
    noteItem({ ...(await patchItem(id, changes)), id });
  } catch (error) {
    noteItem(before);
    showNotice(error.message);
    place?.focus();
  }
}

/** Discard an item: it goes from the page at once, and from the server when it can no longer be undone. */
function discardItem(id) {
  if (leaving.has(id)) return;
  const show = (hidden) => {
    for (const card of cards.get(id) ?? []) card.node.hidden = hidden;
  };
  const timer = setTimeout(() => remove(id), 1000 * UNDO_SECONDS);
  leaving.set(id, timer);
  show(true);
  document.dispatchEvent(new CustomEvent("items-changed"));
  showNotice(`Discarded ${describe(known.get(id) ?? {})}.`, {
    text: "Undo",
    run() {
      clearTimeout(timer);
      leaving.delete(id);
      show(false);
      document.dispatchEvent(new CustomEvent("items-changed"));
    },
  }, UNDO_SECONDS);
}

async function remove(id, keepalive = false) {
  try {
    await deleteItem(id, keepalive);
  } catch (error) {
    if (error.status !== 404) showNotice(error.message);
  }
  for (const card of cards.get(id) ?? []) card.node.remove();
  cards.delete(id);
}

window.addEventListener("pagehide", () => {
  for (const [id, timer] of leaving) {
    clearTimeout(timer);
    remove(id, true);
  }
});

/** Make the card of an item; `caption` false leaves the caption out where all are the same. */
export function itemCard(item, { edit = true } = {}) {
  noteItem(item);
  const { id } = item;
  const node = element("figure", { class: "card", data: { item: id }, hidden: leaving.has(id) });
  const name = nameEditor(id);
  const keep = button("Keep", () => change(id, { kept: !known.get(id).kept }, keep), { class: "quiet keep" });
  const rating = ratingStars(id);
  const actions = element("div", { class: "actions" }, keep,
    edit && element("a", { class: "button quiet", href: `#edit?item=${encodeURIComponent(id)}`, text: "Edit" }),
    element("a", { class: "button quiet", href: item.url, download: item.file_name ?? "", text: "Save", "aria-label": `Save the file of ${describe(item)}` }),
    button("Discard", () => discardItem(id), { class: "quiet" }));
  const details = element("p", { class: "soft small details" });
  node.append(mediaView(item), element("figcaption", {}, name.node, details, rating.node), actions);
  const refresh = () => {
    const now = known.get(id);
    keep.setAttribute("aria-pressed", String(Boolean(now.kept)));
    keep.textContent = now.kept ? "Kept" : "Keep";
    node.classList.toggle("kept", Boolean(now.kept));
    name.refresh(now);
    rating.refresh(now);
    details.textContent = detailsOf(now);
  };
  if (!cards.has(id)) cards.set(id, new Set());
  cards.get(id).add({ node, refresh });
  refresh();
  return node;
}

function detailsOf(item) {
  const parts = [];
  if (item.caption && item.caption !== item.name) parts.push(item.caption);
  if (item.seed !== null && item.seed !== undefined) parts.push(`seed ${item.seed}`);
  if (item.seconds) parts.push(`${Number(item.seconds.toFixed(2))} s`);
  return parts.join(" · ");
}

function nameEditor(id) {
  const input = element("input", { class: "name", value: "", "aria-label": "Name", autocomplete: "off", maxlength: 120 });
  const save = () => {
    const value = input.value.trim();
    if (value && value !== known.get(id).name) change(id, { name: value }, input);
    else input.value = known.get(id).name ?? "";
  };
  input.addEventListener("change", save);
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter") input.blur();
    if (event.key === "Escape") {
      input.value = known.get(id).name ?? "";
      input.blur();
    }
  });
  return { node: input, refresh: (item) => document.activeElement !== input && (input.value = item.name ?? "") };
}

function ratingStars(id) {
  const group = newId("rating");
  const boxes = [1, 2, 3, 4, 5].map((n) => {
    const box = element("input", { type: "radio", name: group, value: n, id: newId("star"), class: "offscreen" });
    box.addEventListener("change", () => change(id, { rating: n }, box));
    // A click on the rating that is set takes it away.
    box.addEventListener("click", () => {
      if (known.get(id).rating === n && box.dataset.was === "1") change(id, { rating: 0 }, box);
    });
    const label = element("label", { for: box.id, title: `${n} of 5` }, element("span", { class: "offscreen", text: `${n} of 5` }),
      element("span", { text: "★", "aria-hidden": "true" }));
    return [box, label];
  });
  const node = element("fieldset", { class: "stars" }, element("legend", { class: "offscreen", text: "Rating" }), boxes.flat());
  return {
    node,
    refresh(item) {
      for (const [box, label] of boxes) {
        const n = Number(box.value);
        box.checked = item.rating === n;
        box.dataset.was = box.checked ? "1" : "0";
        label.classList.toggle("on", n <= (item.rating ?? 0));
      }
    },
  };
}
