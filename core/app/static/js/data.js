/** The tab "Data": the files of a prepared folder, with captions to edit, faults and near copies. */
import { getData, patchCaption } from "./api.js";
import { button, countOf, element, messagePlace } from "./dom.js";
import { selectField, textField } from "./fields.js";
import { isPlane, mediaView } from "./media.js";
import { recall, remember, writeAddress } from "./memory.js";
import { nameOf, serverState } from "./models.js";

const PER_PAGE = 24;
const SHOWN = [["", "All files"], ["faults", "With faults"], ["near", "With near copies"], ["uncaptioned", "Without a caption"]];

/** Fill the tab's panel. Returns {show(params)}. */
export async function startData(panel) {
  const names = ((await serverState()).data ?? []).map(nameOf);
  if (!names.length) {
    panel.append(element("p", { class: "soft empty", text: "No data here: start the studio with a prepared folder, for example `sonolux studio --data prepared/effects`." }));
    return {};
  }
  const folder = selectField("Folder", names, { value: recall("data") });
  const only = selectField("Show", SHOWN);
  const find = textField("Find", { placeholder: "words of a caption or a name" });
  const told = element("p", { class: "soft small", role: "status" });
  const error = messagePlace();
  const grid = element("div", { class: "results grid planes" });
  const before = button("Previous page", () => turn(-1), { class: "quiet" });
  const after = button("Next page", () => turn(1), { class: "quiet" });
  let page = 1;
  let asked = 0;

  const update = async () => {
    const mine = ++asked;
    remember("data", folder.value);
    writeAddress("data", { name: folder.value, page: page > 1 ? page : null, only: only.value, find: find.value });
    try {
      const found = await getData(folder.value, { page, per_page: PER_PAGE, only: only.value, find: find.value });
      if (mine !== asked) return;
      const pages = found.pages ?? Math.max(1, Math.ceil(found.total / PER_PAGE));
      told.textContent = `${countOf(found.total, "file")}${pages > 1 ? `, page ${page} of ${pages}` : ""}`;
      before.hidden = page <= 1;
      after.hidden = page >= pages;
      grid.classList.toggle("played", found.files.some((file) => !isPlane(file)));
      grid.replaceChildren(...found.files.map((file) => fileCard(folder.value, file)));
      error.show(null);
    } catch (failure) {
      error.show(failure);
    }
  };
  const turn = (by) => {
    page += by;
    update().then(() => panel.scrollIntoView({ block: "start" }));
  };
  let timer = null;
  const ask = () => {
    page = 1;
    clearTimeout(timer);
    timer = setTimeout(update, 250);
  };
  for (const field of [folder, only]) field.node.addEventListener("change", ask);
  find.node.addEventListener("input", ask);
  panel.append(element("div", { class: "head" }, folder.node, only.node, find.node), error.node, told, grid, element("div", { class: "tools pages" }, before, after));
  return {
    async show(params) {
      if (names.includes(params.name)) folder.value = params.name;
      if ("only" in params) only.value = params.only;
      if ("find" in params) find.value = params.find;
      page = Math.max(1, Number(params.page) || 1);
      await update();
    },
  };
}

function fileCard(name, file) {
  const card = element("figure", { class: "card", data: { file: file.id } });
  card.append(file.usable === false ? element("p", { class: "empty soft", text: "cannot be read" }) : mediaView(file), element("figcaption", {}, captionEditor(name, file)));
  const facts = element("p", { class: "soft small", text: [file.name, file.label].filter(Boolean).join(" · ") });
  card.append(facts);
  if (file.faults?.length) card.append(element("ul", { class: "faults small" }, file.faults.map((fault) => element("li", {}, element("strong", { text: "Fault: " }), fault))));
  if (file.near_copies?.length) card.append(nearCopies(file));
  return card;
}

/** The copies and near copies of a file, each to be looked at and listened to. */
function nearCopies(file) {
  const rows = file.near_copies.map((copy) => {
    const of = (url) => url?.replace(file.id, copy.id);
    const item = { ...copy, media_type: file.media_type, url: of(file.url), sheet_url: of(file.sheet_url) };
    return element("li", {}, mediaView(item), element("span", { text: `${copy.name}, ${Math.round(100 * copy.similarity)} % alike` }));
  });
  const details = element("details", { class: "more" }, element("summary", { class: "small", text: `Near copies: ${rows.length}` }));
  details.addEventListener("toggle", () => details.childElementCount < 2 && details.append(element("ul", { class: "small copies" }, rows)));
  return details;
}

/** A caption that is saved when the field is left; Escape takes the change back. */
function captionEditor(name, file) {
  const error = messagePlace();
  const state = element("span", { class: "soft small", role: "status" });
  const area = element("textarea", { rows: 2, value: file.caption ?? "", "aria-label": `Caption of ${file.name ?? file.id}`, placeholder: "no caption" });
  let saved = area.value;
  area.addEventListener("change", async () => {
    if (area.value === saved) return;
    const value = area.value;
    error.show(null);
    state.textContent = "saving";
    try {
      await patchCaption(name, file.id, value);
      saved = value;
      state.textContent = "saved";
    } catch (failure) {
      state.textContent = "not saved";
      error.show(failure);
    }
  });
  area.addEventListener("keydown", (event) => {
    if (event.key === "Escape") area.value = saved;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) area.blur();
  });
  return element("div", { class: "caption" }, area, state, error.node);
}
