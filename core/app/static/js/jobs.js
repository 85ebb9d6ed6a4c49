/**
 * The jobs of the server as the page knows them. Jobs are asked for while one waits or runs; the one that runs is
 * followed by its stream of events as well, which brings results and previews at once.
 */
import { cancelJob as postCancel, deleteJob, getJobs, postJob } from "./api.js";
import { announce } from "./dom.js";
import { followEvents } from "./events.js";

const jobs = new Map(); // id -> job, with `preview` added here
const listeners = new Set();
const ENDED = ["done", "failed", "cancelled"];
const POLL_SECONDS = 2;
const MOST = 100; // jobs that are listed
let followed = null; // {id, stop}
let timer = null;

/** Whether a job will not change any more. */
export const isEnded = (job) => ENDED.includes(job.state);

/** All known jobs, newest first. */
export const allJobs = () => [...jobs.values()].sort((a, b) => created(b) - created(a));

const created = (job) => job.created ?? 0;

/** Have `listener(job)` called with every job that changes, and with {id, removed: true} for one that is gone. */
export function onJob(listener) {
  listeners.add(listener);
  for (const job of allJobs().reverse()) listener(job);
}

function note(changes) {
  const before = jobs.get(changes.id);
  const job = { ...before, ...changes };
  if (isEnded(job)) job.preview = null;
  jobs.set(job.id, job);
  if (before && !isEnded(before) && isEnded(job)) announce(`${titleOf(job)}: ${job.state}`);
  tell(job);
  follow();
}

const tell = (job) => listeners.forEach((listener) => listener(job));

/** Start a job; raises ApiError if the server refuses it. */
export async function submitJob(settings) {
  const job = await postJob(settings);
  note(job);
  schedule();
  return job;
}

/** Cancel a job that waits or runs; one that has ended meanwhile keeps its results. */
export async function cancelJob(id) {
  await postCancel(id);
  await refreshJobs();
}

/** Remove a job that has ended from the list. */
export async function removeJob(id) {
  await deleteJob(id);
  jobs.delete(id);
  tell({ id, removed: true });
}

/** Ask the server for the newest jobs. */
export async function refreshJobs(count = MOST) {
  const found = await getJobs(count);
  const ids = new Set(found.map((job) => job.id));
  const oldest = found.length < count ? 0 : created(found.at(-1));
  for (const job of [...jobs.values()]) {
    if (!ids.has(job.id) && created(job) >= oldest) {
      jobs.delete(job.id);
      tell({ id: job.id, removed: true });
    }
  }
  for (const job of found.reverse()) {
    const before = jobs.get(job.id);
    if (!before || !isEnded(before) || JSON.stringify(before.items) !== JSON.stringify(job.items)) note(job);
  }
  schedule();
}

/** Ask again soon while something waits or runs, and rarely otherwise (another browser tab may start jobs). */
function schedule() {
  clearTimeout(timer);
  const busy = allJobs().filter((job) => !isEnded(job)).length;
  const ask = () => refreshJobs(busy ? Math.min(MOST, busy + 10) : MOST).catch(schedule); // those that wait are the newest
  timer = setTimeout(() => (document.hidden ? schedule() : ask()), 1000 * (busy ? POLL_SECONDS : 5 * POLL_SECONDS));
}

document.addEventListener("visibilitychange", () => document.hidden || refreshJobs().catch(schedule));

function follow() {
  const running = allJobs().find((job) => job.state === "running");
  if (running?.id === followed?.id) return;
  followed?.stop();
  followed = null;
  if (!running) return;
  const { id } = running;
  const end = (job) => note({ ...job, id });
  followed = {
    id,
    stop: followEvents(`/jobs/${encodeURIComponent(id)}/events`, {
      progress: (progress) => note({ id, progress }),
      preview: (preview) => note({ id, preview }),
      item: (item) => {
        const items = jobs.get(id)?.items ?? [];
        note({ id, items: [...items.filter((one) => one.id !== item.id), item] });
      },
      done: end,
      failed: end,
      cancelled: end,
    }),
  };
}

/** What a job does, in a few words. */
export function titleOf(job) {
  const request = job.request ?? {};
  const asked = request.a ?? request.base ?? request;
  const words = job.title ?? asked.prompt ?? asked.label ?? null;
  const kind = { sample: "", compare: "Compare", sweep: "Sweep", edit: request.edit ?? "Edit" }[job.kind] ?? job.kind;
  return [kind && kind.charAt(0).toUpperCase() + kind.slice(1), words && `“${words}”`, asked.model].filter(Boolean).join(" · ");
}
