/** The page: its tabs, and which of them the address names. A tab is filled when it is shown for the first time. */
import { ApiError } from "./api.js";
import { startCompare } from "./compare.js";
import { startData } from "./data.js";
import { element, messagePlace } from "./dom.js";
import { startEdit } from "./edit.js";
import { refreshJobs } from "./jobs.js";
import { readAddress, recall, remember, writeAddress } from "./memory.js";
import { serverState } from "./models.js";
import { startQueue } from "./queue.js";
import { startSample } from "./sample.js";
import { startTraining } from "./training.js";

const TABS = { sample: startSample, compare: startCompare, edit: startEdit, training: startTraining, data: startData };
const started = new Map(); // tab -> promise of what its start function returned
const error = messagePlace();
let shown = null;

const tabOf = (name) => document.getElementById(`tab-${name}`);
const panelOf = (name) => document.getElementById(`panel-${name}`);

function start(name) {
  if (!started.has(name)) {
    const attempt = TABS[name](panelOf(name));
    started.set(name, attempt);
    attempt.catch(() => {
      started.delete(name); // shown again: another try
      panelOf(name).replaceChildren();
    });
  }
  return started.get(name);
}

async function show(name, params) {
  const before = shown;
  shown = name;
  if (before && before !== name) started.get(before)?.then((tab) => tab?.hide?.(), () => {});
  for (const other of Object.keys(TABS)) {
    const chosen = other === name;
    panelOf(other).hidden = !chosen;
    tabOf(other).setAttribute("aria-selected", String(chosen));
    tabOf(other).tabIndex = chosen ? 0 : -1;
  }
  remember("tab", name);
  document.title = `${tabOf(name).textContent} · sonolux studio`;
  try {
    const tab = await start(name);
    error.show(null);
    if (shown === name) await tab?.show?.(params);
  } catch (failure) {
    if (!(failure instanceof ApiError)) console.error(failure); // an error of the page itself
    error.show(failure);
  }
  panelOf(name).dataset.ready = "true";
}

function showAddress() {
  const { tab, params } = readAddress();
  return show(tab in TABS ? tab : (recall("tab") ?? "sample"), params);
}

function startTabs() {
  const names = Object.keys(TABS);
  for (const name of names) {
    tabOf(name).addEventListener("click", () => {
      if (name === shown) return;
      writeAddress(name, {}, true);
      show(name, {});
    });
  }
  document.querySelector("[role=tablist]").addEventListener("keydown", (event) => {
    const at = names.indexOf(shown);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: names.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const name = names[(to + names.length) % names.length];
    tabOf(name).focus();
    tabOf(name).click();
  });
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault(); // the address names the tab
    document.getElementById("content").focus();
  });
  window.addEventListener("hashchange", showAddress);
}

async function startPage() {
  document.getElementById("errors").append(error.node);
  startTabs();
  startQueue(document.getElementById("queue"));
  await showAddress();
  try {
    await refreshJobs();
    const { version, device } = await serverState();
    document.getElementById("about").replaceChildren(element("span", { text: `version ${version} on ${device}` }));
  } catch (failure) {
    error.show(failure);
  }
}

startPage();
