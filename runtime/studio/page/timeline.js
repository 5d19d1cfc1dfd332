// The timeline: thumbnails, keyframes, masks, confidence of each object, and places to look at.

import { call, lastFrame } from "./api.js";
import { show } from "./frames.js";
import { $, changed, on, state } from "./store.js";

const slider = $("timeline");
const canvas = slider.firstElementChild;
const context = canvas.getContext("2d");
const THUMB = 46; // heights, in pixels of the screen
const MARKS = 12;
const STRIP = 8;
const STRIPS = 6; // objects whose confidence is shown at once
const thumbnails = new Map();
let asked = false;

const at = (frame) => ((frame + 0.5) / (lastFrame() + 1)) * canvas.clientWidth;
const breadth = () => Math.max(1.5, canvas.clientWidth / (lastFrame() + 1));

function redraw() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    if (state.project) paint();
  });
}

function paint() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  const strips = state.project.objects.slice(0, STRIPS);
  const height = THUMB + MARKS + Math.max(1, strips.length) * STRIP + 4;
  const ratio = window.devicePixelRatio || 1;
  const wide = Math.round(slider.clientWidth * ratio);
  const high = Math.round(height * ratio);
  if (canvas.width !== wide || canvas.height !== high) {
    [canvas.width, canvas.height] = [wide, high];
    canvas.style.height = `${height}px`;
  }
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, slider.clientWidth, height);
  paintThumbnails();
  paintMarks(colour);
  strips.forEach((object, i) => paintConfidence(object, THUMB + MARKS + i * STRIP, colour));
  context.fillStyle = colour("event");
  for (const { frame } of state.events) {
    context.beginPath();
    context.arc(at(frame), THUMB + MARKS / 2, 3.5, 0, 2 * Math.PI);
    context.fill();
  }
  const x = at(state.frame);
  context.fillStyle = colour("text");
  context.fillRect(x - 1, 0, 2, height);
  context.beginPath();
  context.moveTo(x - 6, 0);
  context.lineTo(x + 6, 0);
  context.lineTo(x, 8);
  context.fill();
}

function paintThumbnails() {
  const { width, height, thumbnails: made } = state.project;
  const wide = Math.max(20, (THUMB * width) / height);
  const count = Math.max(1, Math.ceil(slider.clientWidth / wide));
  const every = Math.max(1, made?.every ?? 1);
  for (let i = 0; i < count; i++) {
    const middle = Math.floor(((i + 0.5) / count) * (lastFrame() + 1));
    const frame = Math.min(lastFrame(), Math.round(middle / every) * every);
    const image = thumbnail(frame);
    if (image.complete && image.naturalWidth) context.drawImage(image, i * wide, 0, wide, THUMB - 2);
  }
}

function thumbnail(frame) {
  if (!thumbnails.has(frame)) {
    const image = new Image();
    image.addEventListener("load", redraw);
    image.addEventListener("error", () => thumbnails.delete(frame)); // asked for again when it is painted
    image.src = `/api/thumbnails/${frame}.jpg`;
    thumbnails.set(frame, image);
  }
  return thumbnails.get(frame);
}

function paintMarks(colour) {
  const { masks, keyframes, objects } = state.project;
  if (!objects.length) return; // what is kept of deleted ones only an undo brings back
  context.globalAlpha = 0.4;
  context.fillStyle = colour("accent");
  for (const [first, last] of masks) context.fillRect(at(first) - breadth() / 2, THUMB + 2, at(last) - at(first) + breadth(), MARKS - 5);
  context.globalAlpha = 1;
  for (const frame of keyframes) {
    const broad = Math.max(4, Math.min(breadth(), 9));
    context.fillRect(at(frame) - broad / 2, THUMB, broad, MARKS - 1);
  }
}

function paintConfidence(object, top, colour) {
  context.fillStyle = object.colour;
  context.fillRect(0, top + 1, 4, STRIP - 2);
  const values = state.confidence.get(String(object.id)) ?? [];
  const width = Math.max(1.2, breadth() * state.step);
  const [sure, unsure] = [colour("sure"), colour("unsure")];
  values.forEach((value, i) => {
    if (value === null || value === undefined) return;
    const high = 1 + value * (STRIP - 2);
    context.fillStyle = value >= UNSURE ? sure : unsure;
    context.fillRect(at(i * state.step) - breadth() / 2, top + STRIP - high, width, high);
  });
}

export async function fetchReview() {
  const ask = (path) => call("GET", path).catch(() => null); // the connection says so itself
  const [confidence, events] = await Promise.all([ask(`/api/confidence?from=0&to=${lastFrame()}`), ask("/api/events")]);
  if (!confidence || !events) return;
  state.step = confidence.step;
  state.confidence = new Map(Object.entries(confidence.objects));
  takeEvents(events);
}

const UNSURE = 0.5; // below it a mask is as likely wrong as right

let told = []; // events that the server found

// Takes the events that the server found, all of them.
export function takeEvents({ events }) {
  told = events;
  findEvents();
}

// Places to look at: the server's events, and where confidence in an object falls under `UNSURE`.
function findEvents() {
  const known = new Set(told.map(({ frame, object }) => `${frame} ${object}`));
  const unsure = state.project.objects.flatMap(({ id, name }) => {
    const values = state.confidence.get(String(id)) ?? [];
    const low = (value) => value !== null && value !== undefined && value < UNSURE;
    const starts = values.flatMap((value, i) => (low(value) && !low(values[i - 1]) ? [i * state.step] : []));
    return starts.map((frame) => ({ frame, object: id, text: `${name} may be wrong` }));
  });
  state.events = [...told, ...unsure.filter(({ frame, object }) => !known.has(`${frame} ${object}`))];
  state.events.sort((one, other) => one.frame - other.frame);
  changed("events");
}

export function addConfidence({ from, to, objects }) {
  for (const [id, values] of Object.entries(objects)) {
    const known = state.confidence.get(id) ?? [];
    for (let frame = from; frame <= to; frame++) {
      const place = Math.floor(frame / state.step);
      while (known.length <= place) known.push(null);
      const value = values[frame - from];
      const before = frame % state.step === 0 ? null : known[place];
      known[place] = before === null || value === null ? value : Math.min(before, value);
    }
    state.confidence.set(id, known);
  }
  findEvents();
}

const pointed = (event) => Math.floor((event.offsetX / slider.clientWidth) * (lastFrame() + 1));
slider.addEventListener("pointerdown", (event) => {
  slider.setPointerCapture(event.pointerId);
  show(pointed(event));
});
slider.addEventListener("pointermove", (event) => {
  if (event.buttons & 1) show(pointed(event));
});

on("frame project", () => {
  slider.setAttribute("aria-valuemax", lastFrame());
  slider.setAttribute("aria-valuenow", state.frame);
  slider.setAttribute("aria-valuetext", `frame ${state.frame} of ${lastFrame()}`);
  redraw();
});
on("objects object events thumbnails", redraw);
new ResizeObserver(redraw).observe(slider);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
