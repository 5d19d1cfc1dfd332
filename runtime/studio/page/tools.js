// What the pointer does on the picture.

import { commit, ensureObject, forgetHints, hint, paintPolygon } from "./editing.js";
import { paintLine } from "./labels.js";
import { notice } from "./notices.js";
import { $, changed, on, state } from "./store.js";
import { NO, YES, addDrawing, line, paintMasks, pan, pixelsOfScreen, redraw, toFrame } from "./view.js";

const canvas = $("picture");
const PROMPTS = ["box", "click", "scribble"];
let gesture = null; // from pointer down to pointer up
let corners = []; // of the polygon that is being drawn
let pointer = null; // where the pointer is, in pixels of the frame

export function choose(tool) {
  state.tool = tool;
  corners = [];
  if (!PROMPTS.includes(tool)) forgetHints();
  changed("tool");
}

function begin(what) {
  gesture = what;
  state.drawing = true;
}

function end() {
  const mine = gesture;
  gesture = null;
  state.drawing = false;
  return mine;
}

export function cancel() {
  const had = gesture || corners.length;
  const mine = end();
  if (mine?.before && isShown(mine)) {
    state.shown.labels = mine.before;
    paintMasks();
  }
  corners = [];
  if (!had) forgetHints();
  redraw();
}

const inFrame = ([x, y]) => [Math.min(Math.max(x, 0), state.project.width - 0.01), Math.min(Math.max(y, 0), state.project.height - 0.01)];
// A box has no switch for it: there the left button always says "here".
const says = (tool) => tool === "box" || state.foreground;
const saysYes = (event, tool) => says(tool) !== (event.button === 2 || event.altKey);
// A box is drawn to be a mask; with the right button, the same gesture is a stroke beside the object.
const drawsBox = ({ tool, yes }) => tool === "box" && yes;
const far = ([x0, y0], [x1, y1]) => Math.hypot(x1 - x0, y1 - y0) > pixelsOfScreen(5);

canvas.addEventListener("contextmenu", (event) => event.preventDefault());
canvas.addEventListener("pointerdown", async (event) => {
  if (!state.shown || gesture) return;
  canvas.setPointerCapture(event.pointerId);
  const at = toFrame(event.offsetX, event.offsetY);
  if (event.button === 1 || state.tool === "hand") {
    begin({ tool: "hand", x: event.clientX, y: event.clientY });
    event.preventDefault();
    return;
  }
  const tool = state.tool;
  begin({ tool, frame: state.shown.frame, points: [inFrame(at)], yes: saysYes(event, tool) });
  if (tool === "brush" || tool === "eraser") {
    const mine = gesture;
    const id = await ensureObject();
    if (id === null) return void end();
    if (!isShown(mine)) return; // the end of the gesture says so
    mine.id = id;
    mine.version = state.shown.version;
    mine.before = state.shown.labels;
    mine.labels = state.shown.labels.slice();
    mine.ids = new Set([id]);
    mine.erases = (tool === "eraser") !== (event.button === 2);
    const points = mine.points.splice(0);
    mine.points.push(points[0]);
    [points[0], ...points].forEach((point, i) => stamp(mine, points[Math.max(0, i - 1)], point));
    if (mine.done) finishPaint(mine);
  }
  redraw();
});

const isShown = ({ frame }) => state.shown.frame === frame;

function stamp(mine, from, to) {
  if (!isShown(mine)) return;
  const { width, height } = state.project;
  const [id, over] = mine.erases ? [0, mine.id] : [mine.id, null];
  const box = paintLine(mine.labels, width, height, from, to, state.size / 2, id, over, mine.ids);
  state.shown.labels = mine.labels;
  paintMasks(...box);
}

canvas.addEventListener("pointermove", (event) => {
  if (!state.project) return;
  pointer = toFrame(event.offsetX, event.offsetY);
  redraw();
  if (!gesture) return;
  if (gesture.tool === "hand") {
    pan(event.clientX - gesture.x, event.clientY - gesture.y);
    [gesture.x, gesture.y] = [event.clientX, event.clientY];
    return;
  }
  const at = inFrame(pointer);
  const before = gesture.points.at(-1);
  gesture.points.push(at);
  if (gesture.labels) stamp(gesture, before, at);
});
canvas.addEventListener("pointerleave", () => {
  pointer = null;
  redraw();
});
canvas.addEventListener("pointercancel", cancel);

canvas.addEventListener("pointerup", (event) => {
  const mine = end();
  if (!mine || mine.tool === "hand") return;
  if (!isShown(mine)) return void notice("Another frame came while you drew, so the drawing was left out; draw it again.", "warning");
  const first = mine.points[0];
  const last = inFrame(toFrame(event.offsetX, event.offsetY));
  const radius = Math.max(1, pixelsOfScreen(3));
  if (drawsBox(mine) && far(first, last)) {
    const [x, y] = [0, 1].map((i) => [first[i], last[i]].sort((a, b) => a - b));
    hint({ box: [x[0], y[0], x[1], y[1]] });
  } else if (mine.tool === "click" || drawsBox(mine)) {
    hint({ stroke: { points: [last], radius, foreground: mine.yes } });
  } else if (mine.tool === "scribble" || mine.tool === "box") {
    hint({ stroke: { points: thin([...mine.points, last]), radius, foreground: mine.yes } });
  } else if (mine.tool === "polygon") {
    addCorner(last);
  } else if (mine.labels) {
    finishPaint(mine);
  } else mine.done = true;
});
canvas.addEventListener("dblclick", closePolygon);

function finishPaint(mine) {
  commit(mine.labels, mine.ids, mine.version);
}

// Points of a stroke that are a pixel of the screen apart at least.
function thin(points) {
  const least = pixelsOfScreen(1.5);
  const kept = [points[0]];
  for (const point of points) {
    if (Math.hypot(point[0] - kept.at(-1)[0], point[1] - kept.at(-1)[1]) >= least) kept.push(point);
  }
  return kept;
}

function addCorner(point) {
  if (corners.length > 2 && !far(corners[0], point)) return closePolygon();
  if (!corners.length || far(corners.at(-1), point)) corners.push(point);
  return redraw();
}

export function closePolygon() {
  if (corners.length < 3) return false;
  const done = corners;
  corners = [];
  paintPolygon(done);
  redraw();
  return true;
}

export function dropCorner() {
  if (!corners.length) return false;
  corners.pop();
  redraw();
  return true;
}

addDrawing((context, unit) => {
  const colour = (gesture?.yes ?? state.foreground) ? YES : NO;
  if (gesture && pointer && drawsBox(gesture)) {
    const [[x0, y0], [x1, y1]] = [gesture.points[0], inFrame(pointer)];
    line(context, [[x0, y0], [x1, y0], [x1, y1], [x0, y1]], 1.5 * unit, "#ffffff", true);
  } else if (["scribble", "box"].includes(gesture?.tool)) line(context, gesture.points, 4 * unit, colour);
  if (corners.length) {
    line(context, pointer ? [...corners, pointer] : corners, 1.5 * unit, colour);
    for (const corner of corners) line(context, [corner], 6 * unit, "#ffffff");
  }
  if (pointer && (state.tool === "brush" || state.tool === "eraser")) {
    for (const [style, more] of [["rgb(0 0 0 / 70%)", 1], ["#ffffff", 0]]) {
      context.beginPath();
      context.arc(...pointer, state.size / 2 + more * unit, 0, 2 * Math.PI);
      context.strokeStyle = style;
      context.lineWidth = 1.2 * unit;
      context.stroke();
    }
  }
});

on("frame", () => {
  corners = [];
});
