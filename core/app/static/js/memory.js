/**
 * What the page remembers: forms over a reload (each browser tab its own, new tabs begin with the newest), and the
 * address `#tab?key=value` of what is shown.
 */

const PREFIX = "sonolux.";

/** Keep a value under a name. */
export function remember(name, value) {
  const text = JSON.stringify(value);
  for (const storage of [sessionStorage, localStorage]) {
    try {
      storage.setItem(PREFIX + name, text);
    } catch {
      // full or forbidden: the page works without
    }
  }
}

/** The value kept under a name, or null. */
export function recall(name) {
  try {
    return JSON.parse(sessionStorage.getItem(PREFIX + name) ?? localStorage.getItem(PREFIX + name));
  } catch {
    return null;
  }
}

/** The tab and the parameters that the address names. */
export function readAddress() {
  const [tab, query = ""] = location.hash.slice(1).split("?");
  return { tab, params: Object.fromEntries(new URLSearchParams(query)) };
}

/** Write tab and parameters to the address; `push` adds an entry to the browser's history. */
export function writeAddress(tab, params = {}, push = false) {
  const given = Object.entries(params).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const query = new URLSearchParams(given).toString();
  const hash = `#${tab}${query ? `?${query}` : ""}`;
  if (hash === location.hash) return;
  history[push ? "pushState" : "replaceState"](null, "", hash);
}
