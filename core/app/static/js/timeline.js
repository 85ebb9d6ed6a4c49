/**
 * The curve of a file that is played, with parts marked along time: by dragging, or as numbers of seconds. Marked parts
 * are made anew.
 */
import { button, element } from "./dom.js";
import { playerOf, readSamples } from "./media.js";

const HEIGHT = 140;

/**
 * Make the view of an item with marks.
 *
 * Returns: {node, spans()}; `spans` is a list of [from, to] in seconds, in order and without overlaps.
 */
export async function timelineMarker(item, { marks = true } = {}) {
  const { samples, seconds } = await readSamples(item.url);
  const canvas = element("canvas", { class: "timeline", height: HEIGHT, role: "img", "aria-label": `Curve of a file of ${seconds.toFixed(2)} seconds` });
  const player = playerOf(item);
  const list = element("ol", { class: "spans" });
  let spans = [];
  let dragged = null;

  const draw = () => drawTimeline(canvas, samples, seconds, dragged ? [...spans, ordered(dragged)] : spans, player.currentTime);
  const changed = () => {
    showList();
    draw();
    canvas.dispatchEvent(new Event("change", { bubbles: true }));
  };
  const add = (span) => {
    spans = merged([...spans, span]);
    changed();
  };
  const timeAt = (event) => {
    const box = canvas.getBoundingClientRect();
    return seconds * Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    dragged = [timeAt(event), timeAt(event)];
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!dragged) return;
    dragged[1] = timeAt(event);
    if (marks) draw();
  });
  canvas.addEventListener("pointerup", () => {
    const span = ordered(dragged);
    dragged = null;
    if (marks && span[1] - span[0] > seconds / 200) add(span);
    else {
      player.currentTime = span[0];
      draw();
    }
  });
  canvas.addEventListener("pointercancel", () => { dragged = null; draw(); });
  player.addEventListener("timeupdate", draw);
  new ResizeObserver(draw).observe(canvas);

  const showList = () => list.replaceChildren(...spans.map((span, n) => {
    const edge = (end, label) => element("input", { type: "number", min: 0, max: seconds.toFixed(3), step: 0.01, value: span[end].toFixed(2), "aria-label": `${label} of part ${n + 1}, in seconds`, on: { change(event) {
      const value = Math.min(seconds, Math.max(0, event.target.valueAsNumber || 0));
      spans = merged(spans.map((one, k) => (k === n ? ordered(end ? [span[0], value] : [value, span[1]]) : one)));
      changed();
    } } });
    return element("li", {}, edge(0, "Start"), " to ", edge(1, "End"), " s ", button("Remove", () => {
      spans = spans.filter((_, k) => k !== n);
      changed();
    }, { class: "quiet", "aria-label": `Remove part ${n + 1}` }));
  }));
  const tools = marks && element("div", { class: "tools" },
    button("Mark a part", () => add(freeSpan(spans, seconds)), { class: "quiet" }),
    button("Clear", () => { spans = []; changed(); }, { class: "quiet" }),
    element("span", { class: "hint", text: "Drag over the curve, or press Mark a part and write the times." }));
  return { node: element("div", { class: "painter" }, canvas, player, list, tools), spans: () => spans };
}

const ordered = ([a, b]) => (a <= b ? [a, b] : [b, a]);

/** Spans in order; those that overlap become one. */
function merged(spans) {
  const done = [];
  for (const [from, to] of [...spans].sort((a, b) => a[0] - b[0])) {
    const last = done.at(-1);
    if (last && from <= last[1]) last[1] = Math.max(last[1], to);
    else done.push([from, to]);
  }
  return done.map((span) => span.map((time) => Number(time.toFixed(4))));
}

/** A fifth of the file that is not marked yet, if there is room, else its middle. */
function freeSpan(spans, seconds) {
  const length = seconds / 5;
  for (const start of [2, 0, 4, 1, 3].map((n) => n * length)) {
    if (spans.every(([from, to]) => to <= start || from >= start + length)) return [start, start + length];
  }
  return [2 * length, 3 * length];
}

function drawTimeline(canvas, samples, seconds, spans, now) {
  const width = (canvas.width = Math.max(1, Math.round(canvas.clientWidth * devicePixelRatio)));
  const height = (canvas.height = Math.round(HEIGHT * devicePixelRatio));
  const style = getComputedStyle(canvas);
  const colour = (name) => style.getPropertyValue(name).trim();
  const context = canvas.getContext("2d");
  const at = (time) => (time / seconds) * width;
  for (const [from, to] of spans) {
    context.fillStyle = colour("--mark-soft");
    context.fillRect(at(from), 0, at(to) - at(from), height);
  }
  context.fillStyle = colour("--soft");
  for (let x = 0; x < width; x++) {
    const [low, high] = extent(samples, Math.floor((x * samples.length) / width), Math.ceil(((x + 1) * samples.length) / width));
    context.fillRect(x, (height / 2) * (1 - high), 1, Math.max(1, (height / 2) * (high - low)));
  }
  context.fillStyle = colour("--mark");
  for (const [from, to] of spans) for (const time of [from, to]) context.fillRect(at(time) - 1, 0, 2, height);
  if (now > 0) context.fillRect(at(now), 0, 2, height);
}

function extent(samples, begin, end) {
  let low = Infinity;
  let high = -Infinity;
  for (let i = begin; i < end; i++) {
    if (samples[i] < low) low = samples[i];
    if (samples[i] > high) high = samples[i];
  }
  return low <= high ? [Math.max(-1, low), Math.min(1, high)] : [0, 0];
}
