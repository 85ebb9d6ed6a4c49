/** The tab "Training": a run as it trains: its losses, previews over time, stop and resume. */
import { getMetrics, getRun, resumeRun, stopRun } from "./api.js";
import { lineChart } from "./chart.js";
import { announce, button, element, messagePlace, shortDuration, shortNumber } from "./dom.js";
import { selectField } from "./fields.js";
import { stillView } from "./media.js";
import { recall, remember, writeAddress } from "./memory.js";
import { nameOf, serverState } from "./models.js";

const POLL_SECONDS = 2;
const MOST_POINTS = 400; // of a line of a chart

/** Fill the tab's panel. Returns {show(params), hide()}. */
export async function startTraining(panel) {
  const names = (await serverState()).runs.map(nameOf);
  if (!names.length) {
    panel.append(element("p", { class: "soft empty", text: "No runs here: start the studio with the folder of a run, for example `sonolux studio runs/effects`." }));
    return {};
  }
  const run = selectField("Run", names, { value: recall("run") });
  const facts = element("dl", { class: "facts" });
  const error = messagePlace();
  const stop = button("Stop", () => act(stopRun, "The run stops after its next step and writes a checkpoint."));
  const resume = button("Resume", () => act(resumeRun, "The run goes on."));
  const bar = element("progress", { max: 1, "aria-label": "Steps done" });
  const loss = lineChart({ title: "Loss", x: "step", y: "loss", log: true });
  const levels = lineChart({ title: "Loss by noise level", x: "noise level tau", y: "loss" });
  const previews = previewSlider();
  panel.append(element("div", { class: "head" }, run.node, element("div", { class: "tools" }, stop, resume)), error.node, bar, facts,
    element("div", { class: "charts" }, loss.node, levels.node), previews.node);
  let rows = [];
  let next = 0;
  let timer = null;
  let shown = false;
  let current = "";
  let asked = 0;

  const update = async () => {
    clearTimeout(timer);
    const name = run.value;
    const mine = ++asked; // an earlier question that is still open must not add the same rows
    try {
      const state = await getRun(name);
      const found = await getMetrics(name, next);
      if (mine !== asked) return;
      next = found.next;
      rows = found.restarted ? found.rows : [...rows, ...found.rows];
      showRun(state);
      if (found.rows.length || current !== name) showCharts();
      current = name;
      error.show(state.message);
    } catch (failure) {
      if (mine !== asked) return;
      error.show(failure);
    }
    if (shown) timer = setTimeout(() => (document.hidden ? null : update()), 1000 * POLL_SECONDS);
  };
  document.addEventListener("visibilitychange", () => shown && !document.hidden && update());
  const showRun = (state) => {
    const training = state.state === "running";
    stop.hidden = !training;
    resume.hidden = state.state !== "stopped";
    bar.value = state.steps ? state.step / state.steps : state.minutes ? state.elapsed / (60 * state.minutes) : 0;
    const told = [["State", state.state], ["Step", state.steps ? `${state.step} of ${state.steps}` : state.step], ["Loss", shortNumber(state.loss ?? NaN)],
      ["Speed", state.rate ? `${shortNumber(state.rate)} samples/s` : "–"], ["Time left", training && state.left ? shortDuration(state.left) : "–"]];
    if (state.held_out) told.push(["Held-out loss", heldOutText(state)]);
    facts.replaceChildren(...told.map(([term, value]) => element("div", {}, element("dt", { text: term }), element("dd", { text: String(value) }))));
    previews.show(state.previews ?? []);
  };
  const showCharts = () => {
    loss.show(lossLines(rows));
    levels.show(levelLines(rows));
  };
  const act = async (call, said) => {
    error.show(null);
    stop.disabled = resume.disabled = true;
    try {
      await call(run.value);
      announce(said);
    } catch (failure) {
      error.show(failure);
    } finally {
      stop.disabled = resume.disabled = false;
    }
    await update();
  };
  const choose = () => {
    remember("run", run.value);
    writeAddress("training", { run: run.value });
    rows = [];
    next = 0;
    previews.show([]);
    return update();
  };
  run.node.addEventListener("change", choose);
  return {
    async show(params) {
      shown = true;
      if (names.includes(params.run)) run.value = params.run;
      await choose();
    },
    hide() {
      shown = false;
      clearTimeout(timer);
    },
  };
}

/** "0.41, best at step 900, 2 of 5 checks without improvement". */
function heldOutText({ held_out: now, plateau }) {
  const value = shortNumber(now.loss ?? NaN);
  if (!plateau) return value;
  const since = plateau.flat ? "flat" : `${plateau.waited} of ${plateau.patience} checks without improvement`;
  return `${value}, best at step ${plateau.best_step}, ${since}`;
}

/** Training loss, smoothed and as logged, and held-out loss with the steps at which it was measured. */
function lossLines(rows) {
  const logged = rows.filter((row) => Number.isFinite(row.loss)).map((row) => [row.step, row.loss]);
  const held = rows.filter((row) => Number.isFinite(row.held_out?.loss)).map((row) => [row.step, row.held_out.loss]);
  return [
    { name: "as logged", kind: "pale", points: thinned(logged) },
    { name: "training, smoothed", kind: "main", points: thinned(smoothed(logged)) },
    { name: "held out", kind: "second", points: thinned(held), dots: held.length < 60 },
  ];
}

/** Exponential means over about a twentieth of the rows, without the bias of the first value. */
function smoothed(points) {
  const keep = 1 - 1 / Math.max(1, points.length / 20);
  let sum = 0;
  let weight = 0;
  return points.map(([x, y]) => {
    sum = keep * sum + y;
    weight = keep * weight + 1;
    return [x, sum / weight];
  });
}

const thinned = (points) => {
  const every = Math.ceil(points.length / MOST_POINTS);
  return points.filter((_, n) => n % every === 0 || n === points.length - 1);
};

/** Loss over the noise level: now, and earlier in the run. */
function levelLines(rows) {
  const logged = rows.filter((row) => row.loss_by_tau);
  const line = (from, to, name, kind) => ({ name, kind, points: meanByLevel(logged.slice(from, to)), dots: true });
  const n = logged.length;
  const part = Math.max(1, Math.floor(n / 10));
  if (n < 3) return n ? [line(0, n, "now", "main")] : [];
  return [line(0, part, "first tenth of the run", "pale"), line(n - part, n, "last tenth", "main")];
}

function meanByLevel(rows) {
  const bins = rows[0]?.loss_by_tau.length ?? 0;
  return Array.from({ length: bins }, (_, bin) => {
    const values = rows.map((row) => row.loss_by_tau[bin]).filter(Number.isFinite);
    return [(bin + 0.5) / bins, values.reduce((sum, v) => sum + v, 0) / values.length];
  });
}

/** The previews of a run with a slider over its steps; it stays at the newest one until it is moved. */
function previewSlider() {
  const slider = element("input", { type: "range", min: 0, max: 0, step: 1, "aria-label": "Preview at step" });
  const told = element("output", { class: "soft small" });
  const view = element("div", { class: "live large" });
  const node = element("section", { hidden: true }, element("h3", { text: "Previews" }), element("div", { class: "running" }, slider, told), view);
  let list = [];
  let newest = true;
  let still = null;
  const draw = () => {
    const one = list[slider.valueAsNumber];
    told.textContent = `step ${one.step}`;
    slider.setAttribute("aria-valuetext", told.textContent);
    if (!still) view.append((still = stillView(one.url, "Preview", { loading: "eager" })));
    if (still.getAttribute("src") !== one.url) still.src = one.url;
    still.alt = `Preview at step ${one.step}`;
  };
  slider.addEventListener("input", () => {
    newest = slider.valueAsNumber === list.length - 1;
    draw();
  });
  return {
    node,
    show(previews) {
      list = previews;
      node.hidden = !list.length;
      slider.max = Math.max(0, list.length - 1);
      if (!list.length) newest = true;
      if (newest) slider.value = slider.max;
      if (list.length) draw();
    },
  };
}
