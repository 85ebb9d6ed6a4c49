/** A field to choose one of the newest items. */
import { getItems } from "./api.js";
import { element } from "./dom.js";
import { selectField } from "./fields.js";
import { isDiscarded } from "./items.js";
import { describe } from "./media.js";

const MOST = 100; // items to choose from

/** Make the field; `fits` is a function of an item. Its value is the item's id, or "". */
export function itemField(label, fits) {
  const made = selectField(label, [["", "choose a file"]]);
  const control = made.node.querySelector("select");
  const option = (id, text) => [...control.options].some((one) => one.value === id) || control.append(element("option", { value: id, text }));
  const fill = async () => {
    const items = (await getItems(`?count=${MOST}`)).filter((item) => fits(item) && !isDiscarded(item.id));
    for (const item of items) option(item.id, [item.name, item.caption !== item.name && item.caption].filter(Boolean).join(": ") || describe(item));
  };
  control.addEventListener("focus", () => fill().catch(() => {})); // the list is then as it was
  fill().catch(() => {});
  return {
    node: made.node,
    initial: "",
    get value() {
      return control.value;
    },
    set value(id) {
      if (id) option(id, "the file chosen before");
      control.value = id ?? "";
    },
  };
}
