/**
 * A mask painted with a brush on a still view: what is painted is made anew. With the keyboard the arrow keys move the
 * brush, the space bar paints, and E erases.
 */
import { button, element } from "./dom.js";
import { checkField, rangeField } from "./fields.js";
import { canvasFile, drawCrisply, loadStill } from "./media.js";

const VIEW = 384; // smallest length of the longer side of the view, in CSS units

/**
 * Make the painter of a view with its own width and height.
 *
 * Returns: {node, isEmpty(), file()}; `file` is a PNG of the view's own size, white where it is painted.
 */
export async function maskPainter(url) {
  const still = await loadStill(url);
  const { naturalWidth: width, naturalHeight: height } = still;
  const scale = Math.max(1, Math.round(VIEW / Math.max(width, height)));
  const canvas = element("canvas", { class: "paint", width: width * scale, height: height * scale, tabindex: "0", role: "application",
    "aria-label": "Mask. Arrow keys move the brush, space paints, E erases." });
  canvas.style.setProperty("aspect-ratio", `${width} / ${height}`);
  const context = drawCrisply(canvas.getContext("2d"));
  const mask = element("canvas", { width, height });
  const marks = mask.getContext("2d", { willReadFrequently: true });
  const shade = element("canvas", { width: canvas.width, height: canvas.height });
  const undone = []; // masks before each stroke
  const brush = rangeField("Brush", { value: Math.max(1, Math.round(Math.max(width, height) / 6)), min: 1, max: Math.ceil(Math.max(width, height) / 2), step: 1 });
  const erase = checkField("Erase");
  let cursor = { x: width / 2, y: height / 2, shown: false };

  const draw = () => {
    drawCrisply(context).drawImage(still, 0, 0, canvas.width, canvas.height);
    context.drawImage(hatched(mask, shade), 0, 0);
    if (!cursor.shown) return;
    const side = brush.value * scale;
    context.lineWidth = 2;
    context.strokeStyle = getComputedStyle(canvas).accentColor;
    context.strokeRect(cornerOf(cursor.x) * scale, cornerOf(cursor.y) * scale, side, side);
  };
  const cornerOf = (v) => Math.round(v - brush.value / 2);
  // Squares of whole elements: every element is either in the mask or not.
  const stamp = ({ x, y }, out) => {
    const box = [cornerOf(x), cornerOf(y), brush.value, brush.value];
    marks.fillStyle = "white";
    out ? marks.clearRect(...box) : marks.fillRect(...box);
  };
  const line = (from, to, out) => {
    const n = Math.max(1, Math.ceil(Math.hypot(to.x - from.x, to.y - from.y)));
    for (let i = 0; i <= n; i++) stamp({ x: from.x + ((to.x - from.x) * i) / n, y: from.y + ((to.y - from.y) * i) / n }, out);
  };
  const keep = () => {
    undone.push(marks.getImageData(0, 0, width, height));
    if (undone.length > 50) undone.shift();
  };
  const change = (act) => {
    keep();
    act();
    draw();
    canvas.dispatchEvent(new Event("change", { bubbles: true }));
  };
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return { x: ((event.clientX - box.left) / box.width) * width, y: ((event.clientY - box.top) / box.height) * height, shown: true };
  };

  let stroke = null;
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    keep();
    stroke = cursor = place(event);
    stamp(stroke, erase.value || event.button === 2);
    draw();
  });
  canvas.addEventListener("pointermove", (event) => {
    cursor = place(event);
    if (stroke) {
      line(stroke, cursor, erase.value || (event.buttons & 2) !== 0);
      stroke = cursor;
    }
    draw();
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => {
    stroke = null;
    canvas.dispatchEvent(new Event("change", { bubbles: true }));
  });
  canvas.addEventListener("pointerleave", () => { cursor = { ...cursor, shown: false }; draw(); });
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("focus", () => { cursor = { ...cursor, shown: true }; draw(); });
  canvas.addEventListener("blur", () => { cursor = { ...cursor, shown: false }; draw(); });
  canvas.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (moves[event.key]) {
      const by = event.shiftKey ? brush.value : 1;
      const [x, y] = moves[event.key];
      const inside = (v, end) => Math.min(end, Math.max(0, v));
      cursor = { x: inside(cursor.x + x * by, width), y: inside(cursor.y + y * by, height), shown: true };
      draw();
    } else if (event.key === " ") change(() => stamp(cursor, erase.value));
    else if (event.key === "e" || event.key === "E") change(() => stamp(cursor, true));
    else return;
    event.preventDefault();
  });
  const undo = () => {
    if (undone.length) marks.putImageData(undone.pop(), 0, 0);
    draw();
    canvas.dispatchEvent(new Event("change", { bubbles: true }));
  };
  const invert = () => {
    marks.globalCompositeOperation = "xor";
    marks.fillStyle = "white";
    marks.fillRect(0, 0, width, height);
    marks.globalCompositeOperation = "source-over";
  };
  const tools = element("div", { class: "tools" }, brush.node, erase.node,
    button("Undo stroke", undo, { class: "quiet" }),
    button("Clear", () => change(() => marks.clearRect(0, 0, width, height)), { class: "quiet" }),
    button("Invert", () => change(invert), { class: "quiet" }));
  draw();
  return {
    node: element("div", { class: "painter" }, canvas, tools),
    isEmpty: () => !marks.getImageData(0, 0, width, height).data.some((value, n) => n % 4 === 3 && value > 127),
    async file() {
      const whole = element("canvas", { width, height });
      const on = whole.getContext("2d");
      on.fillStyle = "black";
      on.fillRect(0, 0, width, height);
      on.drawImage(mask, 0, 0);
      return canvasFile(whole);
    },
  };
}

/** The mask at the size of the view, hatched, so that it is seen on any colour. */
function hatched(mask, shade) {
  const context = drawCrisply(shade.getContext("2d"));
  context.globalCompositeOperation = "copy";
  context.drawImage(mask, 0, 0, shade.width, shade.height);
  context.globalCompositeOperation = "source-in";
  context.fillStyle = context.createPattern(hatching(), "repeat");
  context.fillRect(0, 0, shade.width, shade.height);
  return shade;
}

function hatching() {
  const tile = element("canvas", { width: 10, height: 10 });
  const context = tile.getContext("2d");
  context.fillStyle = "rgb(20 60 140 / 55%)";
  context.fillRect(0, 0, 10, 10);
  context.strokeStyle = "white";
  context.lineWidth = 2;
  for (const shift of [-10, 0, 10]) {
    context.moveTo(shift, 10);
    context.lineTo(shift + 10, 0);
  }
  context.stroke();
  return tile;
}
