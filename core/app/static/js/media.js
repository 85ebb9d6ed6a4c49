/**
 * Media elements by MIME type. Only this file knows which kinds of media there are: those that are looked at, and
 * those that are played along time.
 */
import { element } from "./dom.js";

const family = (item) => (item.media_type ?? "").split("/")[0];

/** Whether an item is played along time. */
export const isPlayed = (item) => family(item) === "audio" || family(item) === "video";

/** Whether a mask can be painted on an item. */
export const isPlane = (item) => family(item) === "image";

/** The text that describes an item to those who cannot see it. */
export const describe = (item) => item.caption || item.name || "result";

/** A still view of an item: itself, or the drawing of it that the server makes. */
export function stillView(url, text, options = {}) {
  const view = element("img", { alt: text, loading: "lazy", decoding: "async", draggable: "false", ...options });
  view.addEventListener("load", () => {
    // Small ones are scaled up with their elements visible; large ones smoothly.
    view.classList.toggle("crisp", view.naturalWidth <= 300);
  });
  view.src = url;
  return view;
}

/** The view of an item: what can be looked at, and a player for what is played. */
export function mediaView(item) {
  if (isPlane(item)) return element("div", { class: "media plane" }, stillView(item.url, describe(item)));
  const box = element("div", { class: "media played" });
  if (item.sheet_url) box.append(stillView(item.sheet_url, `Drawing of ${describe(item)}`));
  box.append(playerOf(item));
  return box;
}

/** A player with the browser's own controls; starting one stops the others. */
export function playerOf(item) {
  const player = element(family(item) === "video" ? "video" : "audio", {
    controls: true, preload: "none", src: item.url, "aria-label": `Play ${describe(item)}`,
  });
  player.addEventListener("play", () => {
    for (const other of document.querySelectorAll("audio, video")) if (other !== player) other.pause();
  });
  return player;
}

/** A small view for lists. */
export function thumbnail(item) {
  const url = isPlane(item) ? item.url : item.sheet_url;
  return url ? stillView(url, describe(item)) : element("span", { class: "thumbnail-text", text: describe(item) });
}

/**
 * The samples of a file that is played, as one channel.
 *
 * Returns: {samples: Float32Array, rate, seconds}.
 */
export async function readSamples(url) {
  const bytes = await (await fetch(url)).arrayBuffer();
  const context = new OfflineAudioContext(1, 1, 48000);
  const decoded = await context.decodeAudioData(bytes);
  return { samples: decoded.getChannelData(0), rate: decoded.sampleRate, seconds: decoded.duration };
}

/** A still view that is loaded, to be drawn on a canvas. */
export async function loadStill(url) {
  const view = new Image();
  view.src = url;
  await view.decode();
  return view;
}

/** Have a canvas scale without smoothing. */
export function drawCrisply(context) {
  context.imageSmoothingEnabled = false;
  return context;
}

/** The canvas as a PNG file. */
export const canvasFile = (canvas) => new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
