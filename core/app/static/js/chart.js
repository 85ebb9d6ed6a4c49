/** Line charts as SVG: axes with round numbers, a logarithmic scale where asked, and the values under the pointer. */
import { element, newId, shortNumber, svgElement } from "./dom.js";

const HEIGHT = 260; // in CSS units, as in the style sheet
const PLOT = { left: 52, right: 22, top: 26, bottom: 40 };

/**
 * Make a chart.
 *
 * Args: title; x and y, the labels of the axes; log, whether y is logarithmic.
 * Returns: {node, show(lines)}; a line is {name, points: [[x, y]], kind: "main" | "second" | "pale", dots}.
 */
export function lineChart({ title, x, y, log = false }) {
  const id = newId("chart");
  const svg = svgElement("svg", { role: "img", "aria-labelledby": `${id} ${id}-text` });
  const legend = element("ul", { class: "legend" });
  const summary = element("p", { class: "soft small", id: `${id}-text` });
  const node = element("figure", { class: "chart" }, element("figcaption", { id, text: title }), svg, legend, summary);
  let shown = null;
  let width = 0;
  new ResizeObserver(() => svg.clientWidth !== width && shown && show(shown.lines)).observe(svg);

  const show = (lines) => {
    width = svg.clientWidth || 480; // not laid out yet
    svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    const drawn = lines.map((line) => ({ ...line, points: line.points.filter(([, v]) => Number.isFinite(v) && (!log || v > 0)) }))
      .filter((line) => line.points.length);
    legend.replaceChildren(...drawn.map((line) => element("li", { class: line.kind, text: line.name })));
    if (!drawn.length) {
      svg.replaceChildren();
      summary.textContent = "No values yet.";
      shown = null;
      return;
    }
    shown = { lines: drawn, scale: scales(drawn, log, width) };
    svg.replaceChildren(...axes(shown.scale, x, y, log), ...drawn.map((line) => curve(line, shown.scale)));
    summary.textContent = drawn.map((line) => `${line.name}: ${shortNumber(line.points.at(-1)[1])}`).join("; ");
  };
  svg.addEventListener("pointermove", (event) => {
    if (!shown) return;
    const box = svg.getBoundingClientRect();
    const at = shown.scale.xBack(((event.clientX - box.left) / box.width) * width);
    const near = shown.lines.map((line) => [line.name, nearest(line.points, at)]);
    summary.textContent = `${x} ${shortNumber(near[0][1][0], 6)}: ${near.map(([name, point]) => `${name} ${shortNumber(point[1])}`).join("; ")}`;
  });
  svg.addEventListener("pointerleave", () => shown && show(shown.lines));
  return { node, show };
}

const nearest = (points, at) => points.reduce((best, point) => (Math.abs(point[0] - at) < Math.abs(best[0] - at) ? point : best));

function scales(lines, log, width) {
  const points = lines.flatMap((line) => line.points);
  const f = log ? Math.log10 : (v) => v;
  let [x0, x1] = bounds(points.map(([v]) => v));
  let [y0, y1] = bounds(points.map(([, v]) => f(v)));
  if (x0 === x1) [x0, x1] = [x0 - 1, x1 + 1];
  if (!log) y0 = Math.min(0, y0);
  const room = 0.05 * (y1 - y0) || 0.5;
  y1 += room;
  if (log) y0 -= room;
  const across = width - PLOT.left - PLOT.right;
  const down = HEIGHT - PLOT.top - PLOT.bottom;
  return {
    width,
    range: { x: [x0, x1], y: [y0, y1] },
    x: (v) => PLOT.left + (across * (v - x0)) / (x1 - x0),
    y: (v) => PLOT.top + down * (1 - (f(v) - y0) / (y1 - y0)),
    xBack: (p) => x0 + ((p - PLOT.left) / across) * (x1 - x0),
  };
}

function bounds(values) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}

/** Round values within a range, about `n` of them. */
function roundTicks([low, high], n = 5) {
  const rough = (high - low) / n;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough * 0.999);
  const ticks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) ticks.push(Number((k * step).toPrecision(12)));
  return ticks;
}

/** Powers of ten within a range of logarithms and, where these are few, some of their multiples. */
function logTicks([low, high]) {
  const ticks = [];
  const factors = high - low > 2.5 ? [1] : high - low > 1 ? [1, 2, 5] : [1, 2, 3, 5, 7];
  for (let power = Math.floor(low); power <= high; power++) {
    for (const m of factors) {
      const at = Math.log10(m) + power;
      if (at >= low && at <= high) ticks.push(Number((m * 10 ** power).toPrecision(3)));
    }
  }
  return ticks.length > 1 ? ticks : roundTicks([10 ** low, 10 ** high], 3);
}

function axes(scale, x, y, log) {
  const parts = [];
  const text = (at, label, attributes = {}) => {
    const made = svgElement("text", { x: at[0], y: at[1], ...attributes });
    made.textContent = label;
    parts.push(made);
  };
  const { left, bottom, right, top } = PLOT;
  for (const value of log ? logTicks(scale.range.y) : roundTicks(scale.range.y, 4)) {
    parts.push(svgElement("line", { class: "rule", x1: left, x2: scale.width - right, y1: scale.y(value), y2: scale.y(value) }));
    text([left - 6, scale.y(value) + 4], shortNumber(value), { "text-anchor": "end" });
  }
  for (const value of roundTicks(scale.range.x, scale.width / 110)) text([scale.x(value), HEIGHT - bottom + 16], shortNumber(value, 6), { "text-anchor": "middle" });
  text([(left + scale.width - right) / 2, HEIGHT - 6], x, { "text-anchor": "middle", class: "axis" });
  text([left, top - 12], y, { class: "axis" });
  return parts;
}

function curve(line, scale) {
  const group = svgElement("g", { class: `line ${line.kind}` });
  const path = line.points.map(([x, y], n) => `${n ? "L" : "M"}${scale.x(x).toFixed(1)} ${scale.y(y).toFixed(1)}`).join("");
  group.append(svgElement("path", { d: path }));
  if (line.dots || line.points.length === 1) {
    for (const [x, y] of line.points) group.append(svgElement("circle", { cx: scale.x(x), cy: scale.y(y), r: 2.5 }));
  }
  return group;
}
