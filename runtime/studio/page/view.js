// The canvas: picture, masks and what a tool draws, with zoom and pan.

import { currentHints } from "./editing.js";
import { $, changed, on, state } from "./store.js";

const canvas = $("picture");
const context = canvas.getContext("2d");
const masks = document.createElement("canvas");
let pixels = null; // ImageData of the masks
const view = { scale: 1, x: 0, y: 0, fitted: true };
let drawing = () => {}; // what the tool in use adds
let asked = false;

export const toFrame = (x, y) => [(x - view.x) / view.scale, (y - view.y) / view.scale];
export const pixelsOfScreen = (count) => count / view.scale;
export function addDrawing(paint) {
  drawing = paint;
}

export function redraw() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    paint();
  });
}

function colours() {
  const fill = new Uint32Array(256);
  const edge = new Uint32Array(256);
  for (const { id, colour, visible } of state.project.objects) {
    if (!visible) continue;
    const [r, g, b] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
    const strong = id === state.object;
    fill[id] = ((strong ? 120 : 84) << 24) | (b << 16) | (g << 8) | r;
    edge[id] = (255 << 24) | (b << 16) | (g << 8) | r;
  }
  return { fill, edge };
}

// Colours the masks anew, in a part of the frame or everywhere.
export function paintMasks(left = 0, top = 0, right = masks.width, bottom = masks.height) {
  const { shown } = state;
  if (!shown) return;
  const { width, height } = state.project;
  if (masks.width !== width || masks.height !== height || !pixels) {
    [masks.width, masks.height] = [width, height];
    pixels = new ImageData(width, height);
    [left, top, right, bottom] = [0, 0, width, height];
  }
  const target = new Uint32Array(pixels.data.buffer);
  const { labels } = shown;
  const { fill, edge } = colours();
  const [x0, y0, x1, y1] = [Math.max(0, left - 1), Math.max(0, top - 1), Math.min(width, right + 1), Math.min(height, bottom + 1)];
  for (let y = y0; y < y1; y++) {
    for (let x = x0; x < x1; x++) {
      const i = y * width + x;
      const id = labels[i];
      if (!id) {
        target[i] = 0;
        continue;
      }
      const inner =
        (x === 0 || labels[i - 1] === id) && (x === width - 1 || labels[i + 1] === id) &&
        (y === 0 || labels[i - width] === id) && (y === height - 1 || labels[i + width] === id);
      target[i] = inner ? fill[id] : edge[id];
    }
  }
  masks.getContext("2d").putImageData(pixels, 0, 0, x0, y0, x1 - x0, y1 - y0);
  redraw();
}

function paint() {
  const ratio = window.devicePixelRatio || 1;
  const { clientWidth, clientHeight } = canvas;
  const [wide, high] = [Math.round(clientWidth * ratio), Math.round(clientHeight * ratio)];
  if (canvas.width !== wide || canvas.height !== high) [canvas.width, canvas.height] = [wide, high];
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  const { shown } = state;
  if (!shown) return;
  const { width, height } = state.project;
  context.setTransform(ratio * view.scale, 0, 0, ratio * view.scale, ratio * view.x, ratio * view.y);
  context.imageSmoothingEnabled = view.scale < 3;
  context.drawImage(shown.picture, 0, 0, width, height);
  context.imageSmoothingEnabled = view.scale < 1;
  if (state.masksVisible) context.drawImage(masks, 0, 0);
  paintHints();
  drawing(context, 1 / view.scale);
}

// Draws a line twice, so that it is seen on any picture.
export function line(paint2d, points, width, colour, closed = false) {
  for (const [style, broad] of [["rgb(0 0 0 / 65%)", width + 2 / view.scale], [colour, width]]) {
    paint2d.beginPath();
    points.forEach(([x, y], i) => (i ? paint2d.lineTo(x, y) : paint2d.moveTo(x, y)));
    if (points.length === 1) paint2d.lineTo(points[0][0] + 0.01, points[0][1]);
    if (closed) paint2d.closePath();
    paint2d.lineCap = paint2d.lineJoin = "round";
    paint2d.strokeStyle = style;
    paint2d.lineWidth = broad;
    paint2d.stroke();
  }
}

export const YES = "#4ade80";
export const NO = "#fb7185";

function paintHints() {
  const hints = currentHints();
  if (!hints || hints.frame !== state.shown.frame) return;
  if (hints.box) {
    const [x0, y0, x1, y1] = hints.box;
    line(context, [[x0, y0], [x1, y0], [x1, y1], [x0, y1]], 1.2 / view.scale, "#ffffff", true);
  }
  for (const { points, foreground } of hints.strokes) line(context, points, (points.length > 1 ? 3 : 7) / view.scale, foreground ? YES : NO);
}

export function fit() {
  const { width, height } = state.project;
  const scale = Math.min(canvas.clientWidth / width, canvas.clientHeight / height) * 0.98;
  if (!(scale > 0)) return;
  Object.assign(view, { scale, fitted: true, x: (canvas.clientWidth - width * scale) / 2, y: (canvas.clientHeight - height * scale) / 2 });
  redraw();
}

export function zoom(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
  const scale = Math.min(Math.max(view.scale * factor, 0.05), 60);
  view.x = x - ((x - view.x) * scale) / view.scale;
  view.y = y - ((y - view.y) * scale) / view.scale;
  Object.assign(view, { scale, fitted: false });
  changed("zoom");
  redraw();
}

export function pan(x, y) {
  view.x += x;
  view.y += y;
  view.fitted = false;
  redraw();
}

new ResizeObserver(() => (view.fitted && state.project ? fit() : redraw())).observe(canvas);
canvas.addEventListener(
  "wheel",
  (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / (event.ctrlKey ? 120 : 500)), event.offsetX, event.offsetY);
  },
  { passive: false },
);
on("shown object objects", () => paintMasks());
on("hints tool view", redraw);
