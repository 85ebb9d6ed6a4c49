/**
 * Server-sent events. A browser allows six connections to one server from all its tabs together, so a page that is
 * not visible closes its streams and opens them again later.
 */

const open = new Set();

/**
 * Listen to a stream.
 *
 * Args: path under /api, and event name -> function of the event's data (parsed JSON).
 * Returns: a function that ends it.
 */
export function followEvents(path, listeners) {
  const stream = {
    source: null,
    start() {
      if (this.source || document.hidden) return;
      this.source = new EventSource(`/api${path}`);
      for (const [name, listener] of Object.entries(listeners)) {
        this.source.addEventListener(name, (event) => listener(parsed(event.data)));
      }
    },
    stop() {
      this.source?.close();
      this.source = null;
    },
  };
  open.add(stream);
  stream.start();
  return () => {
    stream.stop();
    open.delete(stream);
  };
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

document.addEventListener("visibilitychange", () => {
  for (const stream of open) document.hidden ? stream.stop() : stream.start();
});
window.addEventListener("pagehide", () => {
  for (const stream of open) stream.stop();
});
window.addEventListener("pageshow", () => {
  for (const stream of open) stream.start();
});
