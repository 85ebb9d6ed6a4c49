/** The tab "Edit": a file, what is to be changed in it, the results, and the history of what was made from what. */
import { getItem, getItems, uploadFile } from "./api.js";
import { button, element, messagePlace } from "./dom.js";
import { editForm } from "./editform.js";
import { jobFeed } from "./feed.js";
import { currentItem, isDiscarded, noteItem } from "./items.js";
import { submitJob } from "./jobs.js";
import { maskPainter } from "./mask.js";
import { describe, isPlane, isPlayed, mediaView, thumbnail } from "./media.js";
import { readAddress, writeAddress } from "./memory.js";
import { timelineMarker } from "./timeline.js";

const MOST_CHOICES = 60; // newest files that can be chosen; older ones are reached by Edit at a result

/** Fill the tab's panel. Returns {show(params)}, called whenever the tab is shown or its address changes. */
export async function startEdit(panel) {
  const source = element("div", { class: "source" });
  const history = element("nav", { class: "history", "aria-label": "History" });
  const error = messagePlace();
  const chooser = fileChooser((item) => open(item.id), error);
  const form = editForm();
  const tool = element("div", { class: "tool" });
  let item = null;
  let marker = null; // the mask painter or the timeline
  let wanted = null; // what `tool` shows or is going to show, so that marks are not lost to a second drawing

  const open = async (id, push = true) => {
    error.show(null);
    try {
      item = noteItem(currentItem(id) ?? (await getItem(id)));
    } catch (failure) {
      item = null;
      error.show(failure.status === 404 ? new Error("This file is gone: choose another one.") : failure);
    }
    if (!panel.hidden) writeAddress("edit", { item: item?.id }, push);
    showForm(Boolean(item));
    if (item) await form.useItem(item);
    feed.refresh();
    await Promise.all([showHistory(), showTool(), chooser.refresh()]);
  };

  /** The view of the file: with a brush or a timeline for the edits that need one. */
  const showTool = async () => {
    const marks = form.kind() === "inpaint";
    const key = JSON.stringify([item?.id, marks]);
    if (key === wanted?.key) return;
    const mine = (wanted = { key });
    marker = null;
    tool.toggleAttribute("inert", Boolean(item)); // no marks on a view that is about to be replaced
    if (!item) return tool.replaceChildren();
    let view = mediaView(item);
    let made = null;
    try {
      if (isPlane(item) && marks) view = (made = await maskPainter(item.url)).node;
      else if (isPlayed(item)) view = (made = await timelineMarker(item, { marks })).node;
    } catch {
      view = mediaView(item); // a file that this browser cannot decode is still shown and edited
    }
    if (mine !== wanted) return; // another one was chosen meanwhile
    marker = made;
    tool.removeAttribute("inert");
    tool.replaceChildren(element("h3", { text: item.name || describe(item) }), view);
  };

  const showHistory = async () => {
    const chain = [];
    for (let id = item?.id; id && chain.length < 20; id = chain[0].parent) {
      try {
        chain.unshift(noteItem(currentItem(id) ?? (await getItem(id))));
      } catch {
        break; // a parent that was discarded
      }
    }
    const steps = chain.map((one) => element("li", {}, element("a", {
      href: `#edit?item=${encodeURIComponent(one.id)}`, "aria-current": one.id === item.id ? "step" : null, title: describe(one),
    }, thumbnail(one), element("span", { text: one.name || describe(one) }))));
    const before = chain.at(-2);
    history.replaceChildren(...(chain.length > 1
      ? [button("Undo", () => open(before.id), { class: "quiet", "aria-label": `Undo: back to ${describe(before)}` }), element("ol", {}, steps)] : []));
  };

  form.node.addEventListener("kind", showTool);
  form.node.addEventListener("submit", async (event) => {
    event.preventDefault();
    form.error.show(null);
    try {
      await submitJob({ kind: "edit", inputs: [item.id, ...form.others()], ...form.request(), ...(await marked()) });
    } catch (failure) {
      form.error.show(failure);
    }
  });

  /** The part that is to be made anew, as the server wants it. */
  const marked = async () => {
    if (form.kind() !== "inpaint" || !marker) return {};
    if (marker.spans) {
      if (!marker.spans().length) throw new Error("Mark the part that is to be made anew: drag over the curve.");
      return { spans: marker.spans() };
    }
    if (marker.isEmpty()) throw new Error("Paint the part that is to be made anew with the brush.");
    return { mask: (await uploadFile(await marker.file(), "mask.png", "mask")).id };
  };

  const feed = jobFeed((job) => job.kind === "edit" && (!item || (job.request?.inputs ?? []).includes(item.id)),
    "Results of edits will be shown here; Edit at a result goes on from there.");
  const split = element("div", { class: "split" }, form.node, element("section", { class: "main", "aria-label": "File and results" }, source, feed.node));
  const showForm = (shown) => {
    form.node.hidden = source.hidden = !shown;
    split.classList.toggle("alone", !shown);
  };
  panel.append(chooser.node, error.node, history, split);
  source.append(tool);
  showForm(false);
  return {
    async show(params) {
      if (params.item !== undefined && params.item !== item?.id) {
        window.scrollTo(0, 0);
        await open(params.item, false);
      } else {
        if (item) writeAddress("edit", { item: item.id });
        await chooser.refresh();
      }
    },
  };
}

/** A place to drop files, and the newest items to choose from. */
function fileChooser(choose, error) {
  const input = element("input", { type: "file", id: "edit-file", class: "offscreen" });
  const drop = element("label", { class: "drop", for: input.id }, element("span", { text: "Drop a file here, or choose one" }));
  const strip = element("div", { class: "strip", role: "group", "aria-label": "Newest files" });
  const take = async (file) => {
    if (!file) return;
    error.show(null);
    drop.classList.add("busy");
    try {
      await choose(noteItem(await uploadFile(file, file.name)));
    } catch (failure) {
      error.show(failure);
    } finally {
      drop.classList.remove("busy");
      input.value = "";
    }
  };
  input.addEventListener("change", () => take(input.files[0]));
  for (const name of ["dragenter", "dragover"]) drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    take(event.dataTransfer.files[0]);
  });
  const refresh = async () => {
    try {
      const items = (await getItems()).filter((item) => !isDiscarded(item.id)).slice(0, MOST_CHOICES);
      const { item: chosen } = readAddress().params;
      strip.replaceChildren(...items.map(noteItem).map((item) => element("button", {
        type: "button", class: "thumb", "aria-label": `Choose ${describe(item)}`, "aria-pressed": String(item.id === chosen), title: item.name, on: { click: () => choose(item) },
      }, thumbnail(item))));
    } catch (failure) {
      error.show(failure);
    }
  };
  return { node: element("div", { class: "chooser" }, input, drop, strip), refresh };
}
