/** Requests to the server. Every error is an `ApiError` whose message can be shown as it is. */

export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

async function request(method, path, { json, form, keepalive } = {}) {
  const headers = method === "GET" ? {} : { "X-Sonolux": "1" }; // a form of another site cannot set this header
  if (json !== undefined) headers["Content-Type"] = "application/json";
  const body = json === undefined ? form : JSON.stringify(json);
  let response;
  try {
    response = await fetch(`/api${path}`, { method, headers, body, keepalive });
  } catch {
    throw new ApiError("The studio does not answer. Is `sonolux studio` still running?", 0);
  }
  const text = await response.text();
  let found = null;
  try {
    found = text ? JSON.parse(text) : null;
  } catch {
    // no JSON: the status is all there is to say
  }
  if (!response.ok) throw new ApiError(found?.error ?? `The server answered with status ${response.status}.`, response.status);
  return found;
}

const named = encodeURIComponent;

export const getState = () => request("GET", "/state");
export const getModel = (name) => request("GET", `/models/${named(name)}`);

export const postJob = (settings) => request("POST", "/jobs", { json: settings });
export const getJobs = (count) => request("GET", `/jobs?count=${count}`);
export const cancelJob = (id) => request("POST", `/jobs/${named(id)}/cancel`);
export const deleteJob = (id) => request("DELETE", `/jobs/${named(id)}`);

export const getItems = (query = "") => request("GET", `/items${query}`);
export const getItem = (id) => request("GET", `/items/${named(id)}`);
export const patchItem = (id, changes) => request("PATCH", `/items/${named(id)}`, { json: changes });
export const deleteItem = (id, keepalive = false) => request("DELETE", `/items/${named(id)}`, { keepalive });
export const packUrl = (ids) => `/api/pack?items=${ids.map(named).join(",")}`;

/** Send a file; `role` "mask" keeps it out of the list of items. */
export function uploadFile(file, name, role = "") {
  const form = new FormData();
  if (role) form.append("role", role);
  form.append("file", file, name);
  return request("POST", "/uploads", { form });
}

export const getRun = (name) => request("GET", `/runs/${named(name)}`);
export const getMetrics = (name, after = 0) => request("GET", `/runs/${named(name)}/metrics?after=${after}`);
export const stopRun = (name) => request("POST", `/runs/${named(name)}/stop`);
export const resumeRun = (name) => request("POST", `/runs/${named(name)}/resume`);

/** A page of the files of a folder; entries of the query that are empty are left out. */
export function getData(name, query) {
  const given = Object.entries(query).filter(([, value]) => value !== "");
  return request("GET", `/data/${named(name)}?${new URLSearchParams(given)}`);
}

export const patchCaption = (name, id, caption) =>
  request("PATCH", `/data/${named(name)}/${named(id)}`, { json: { caption } });
