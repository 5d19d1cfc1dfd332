// The page: joins its parts, and hears what the server tells.

import { call, lastFrame, listen } from "./api.js";
import * as editing from "./editing.js";
import * as exporting from "./exporting.js";
import { forgetMasks, refresh, show } from "./frames.js";
import { help, key, start as startKeys } from "./keyboard.js";
import { notice } from "./notices.js";
import * as panels from "./panels.js";
import { $, changed, on, state } from "./store.js";
import { addConfidence, fetchReview, takeEvents } from "./timeline.js";
import * as tools from "./tools.js";
import { fit, zoom } from "./view.js";

function takeProject(project) {
  const first = !state.project;
  state.project = project;
  document.title = `${project.name} – mavos-studio`;
  $("clip").textContent = project.name;
  $("video").textContent = `${project.width} × ${project.height}, ${project.frames} frames`;
  $("video").title = project.notes.join("\n");
  const { model } = project;
  const input = model.input ? `, ${model.input.join("×")}` : "";
  $("model").textContent = `${model.variant}${input}`;
  $("model").title = `Weights: ${model.variant} with ${model.backend} in ${model.arithmetic}. ${model.text}`;
  $("about").firstElementChild.textContent = model.text;
  for (const id of ["model", "about"]) $(id).classList.toggle("warning", model.level === "warning");
  for (const [id, what] of [["undo", project.undo], ["redo", project.redo]]) {
    $(id).disabled = !what;
    $(id).title = what ? `${id === "undo" ? "Undo" : "Redo"}: ${what} (${$(id).dataset.key})` : `Nothing to ${id}`;
  }
  $("frame").max = lastFrame();
  showEngines();
  changed("project", "exports");
  if (first) begin();
}

const BRUSH = 24; // the first brush goes so many times into the frame's shorter side
const placeOf = (project) => `mavos-studio frame of ${project.folder}`;

// The frame that was shown last, where the browser remembers it.
function remembered() {
  try {
    return Number(localStorage.getItem(placeOf(state.project)) ?? NaN);
  } catch {
    return NaN;
  }
}

function remember() {
  try {
    localStorage.setItem(placeOf(state.project), state.frame);
  } catch {
    // a browser may keep nothing; then the first keyframe is shown
  }
}

function showEngines() {
  const names = { grabcut: "colours and edges", sam: "the prompt model" };
  if (!state.project.engines.includes(state.engine)) [state.engine] = state.project.engines;
  $("engine").replaceChildren(...state.project.engines.map((name) => new Option(names[name] ?? name, name)));
  $("engine").value = state.engine;
  showTool();
}

async function begin() {
  $("about").hidden = false;
  fit();
  const { keyframes, masks, following, width, height } = state.project;
  setSize(Math.max(4, Math.round(Math.min(width, height) / BRUSH)));
  const before = remembered();
  const usual = Number.isNaN(before) ? keyframes[0] ?? masks[0]?.[0] ?? 0 : before;
  await show(panels.followingRuns() ? following.frame ?? following.from : usual);
  fit();
  document.body.dataset.ready = "yes";
}

const hearers = {
  project: ({ project }) => {
    takeProject(project);
    fetchReview();
  },
  masks: ({ frames, revision }) => {
    state.project.revision = Math.max(state.project.revision, revision);
    forgetMasks(frames);
    addRanges(frames);
    if (state.shown && frames.some(([first, last]) => first <= state.shown.frame && state.shown.frame <= last)) refresh();
    changed("frame");
  },
  following: ({ following }) => {
    const ran = panels.followingRuns();
    state.project.following = following;
    changed("following");
    if (ran && !panels.followingRuns()) fetchReview();
  },
  export: (message) => exporting.hearExport(message.export),
  thumbnails: ({ done, every }) => {
    state.project.thumbnails = { done, every };
    changed("thumbnails");
  },
  confidence: addConfidence,
  events: takeEvents,
  notice: ({ text, level }) => notice(text, level),
};

// Frames that got masks, joined with those that have some; a "project" message gives them exactly.
function addRanges(ranges) {
  const sorted = [...state.project.masks, ...ranges].sort((a, b) => a[0] - b[0]);
  const joined = [];
  for (const [first, last] of sorted) {
    const before = joined.at(-1);
    if (before && first <= before[1] + 1) before[1] = Math.max(before[1], last);
    else joined.push([first, last]);
  }
  state.project.masks = joined;
}

function step(frames) {
  stopPlaying();
  show(state.frame + frames);
}

let player = 0;

function stopPlaying() {
  state.playing = false;
  $("play").textContent = "▶";
  $("play").setAttribute("aria-label", "Play");
  clearInterval(player);
}

function play() {
  if (state.playing) return stopPlaying();
  state.playing = true;
  $("play").textContent = "❚❚";
  $("play").setAttribute("aria-label", "Pause playing");
  if (state.frame === lastFrame()) show(0);
  player = setInterval(() => {
    if (state.drawing || state.shown?.frame !== state.frame) return; // it comes as fast as it can
    if (state.frame >= lastFrame()) stopPlaying();
    else show(state.frame + 1);
  }, 1000 / (state.project.fps || 25));
  return undefined;
}

function resize(change) {
  setSize(Math.round(state.size * (change > 0 ? 1.25 : 0.8) + change));
}

function setSize(size) {
  state.size = Math.min(120, Math.max(1, size));
  $("size").value = state.size;
  $("size-value").textContent = `${state.size} px`;
  changed("view");
}

function say(yes) {
  state.foreground = yes;
  document.querySelector(`#kind [value=${yes ? "yes" : "no"}]`).checked = true;
}

function showMasks(visible) {
  state.masksVisible = visible;
  $("show").checked = visible;
  changed("view");
}

function showTool() {
  for (const button of document.querySelectorAll("[data-tool]")) button.setAttribute("aria-pressed", button.dataset.tool === state.tool);
  const paints = ["brush", "eraser"].includes(state.tool);
  $("size-label").hidden = !paints;
  $("kind").hidden = paints || ["hand", "box"].includes(state.tool);
  $("engine-label").hidden = !["box", "click", "scribble"].includes(state.tool) || state.project?.engines.length === 1;
  $("picture").style.cursor = state.tool === "hand" ? "grab" : paints ? "none" : "crosshair";
  showHint();
}

function showAbout(visible) {
  $("about").hidden = !visible;
}

const LINE = 31; // height of a line of hints, in pixels

const HINTS = {
  box: "Draw a box around the object. A click inside says “here”; the right button says “not here”.",
  click: "Click on the object; the right button says “not here”.",
  scribble: "Draw on the object; the right button says “not here”.",
  polygon: "Click the corners; Enter closes it, Esc gives up.",
  brush: "Paint; the right button erases, [ ] change the size.",
  eraser: "Erase; the right button paints, [ ] change the size.",
  hand: "Drag the picture; the wheel zooms, 0 shows all.",
};

function showHint() {
  const { shown, project } = state;
  if (!shown) return;
  const masks = shown.labels.some((id) => id);
  const several = project.objects.length > 1;
  let next = "";
  if (panels.followingRuns()) next = "Following. An edit stops it; Q does too.";
  else if (masks && project.undo === `the mask of frame ${shown.frame}` && project.masks.length && project.masks.at(-1)[1] > shown.frame)
    next = `Later frames are as they were. Press F to follow on from this mask${several ? "; “Only” leaves other objects alone." : "."}`;
  else if (masks && project.masks.length && project.masks.at(-1)[1] === lastFrame() && project.masks[0][0] === 0)
    next = "Every frame has a mask. Mend where it went wrong, or press W to export.";
  else if (masks) next = "Mask right? Mend it with strokes, press N for another object, or F to follow.";
  const both = [next, HINTS[state.tool]].filter(Boolean).join(" ");
  $("hint").textContent = next && state.tool === "box" ? next : both;
  if (next && $("hint").clientHeight > LINE) $("hint").textContent = next; // a second line would move the picture
}

function showFrame() {
  $("frame").value = state.frame;
  const { fps } = state.project;
  $("time").textContent = fps ? `${(state.frame / fps).toFixed(2)} s` : "";
}

function lost(why) {
  $("connection").textContent = why;
  $("connection").hidden = false;
}

function back() {
  const was = !$("connection").hidden;
  $("connection").hidden = true;
  if (was) notice("The studio is back.");
}

const buttons = {
  undo: () => editing.travel("undo"),
  redo: () => editing.travel("redo"),
  import: () => $("file").click(),
  export: exporting.open,
  help,
  "new-object": panels.newObject,
  clear: editing.clearObject,
  copy: editing.copyFromBefore,
  unkey: editing.forgetKeyframe,
  forward: () => panels.follow("forward"),
  backward: () => panels.follow("backward"),
  both: () => panels.follow("both"),
  fuse: () => panels.follow("forward", true),
  pause: panels.pauseOrGoOn,
  stop: () => panels.control("stop"),
  first: () => step(-Infinity),
  last: () => step(Infinity),
  before: () => step(-1),
  after: () => step(1),
  play,
  "zoom-in": () => zoom(1.3),
  "zoom-out": () => zoom(1 / 1.3),
  "zoom-fit": fit,
  model: () => showAbout($("about").hidden),
  "about-close": () => showAbout(false),
};

function bind() {
  for (const [id, act] of Object.entries(buttons)) $(id).addEventListener("click", act);
  for (const button of document.querySelectorAll("[data-tool]")) button.addEventListener("click", () => tools.choose(button.dataset.tool));
  for (const button of document.querySelectorAll("[data-refine]")) button.addEventListener("click", () => editing.refine(button.dataset.refine));
  for (const radio of document.querySelectorAll("#kind input")) radio.addEventListener("change", () => say(radio.value === "yes"));
  $("size").addEventListener("input", () => setSize(Number($("size").value)));
  $("engine").addEventListener("change", () => (state.engine = $("engine").value));
  $("show").addEventListener("change", () => showMasks($("show").checked));
  $("frame").addEventListener("change", () => show(Number($("frame").value)));
  $("file").addEventListener("change", async () => {
    await editing.importFiles([...$("file").files]);
    $("file").value = "";
  });
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    $("drop").hidden = false;
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) $("drop").hidden = true;
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    $("drop").hidden = true;
    editing.importFiles([...event.dataTransfer.files]);
  });
  window.addEventListener("beforeunload", (event) => state.saving && event.preventDefault());
}

function bindKeys() {
  const press = (id) => () => !$(id).disabled && $(id).click();
  key("Space", "Play or pause", play);
  key("← →", "Frame before, next frame", (name) => step(name === "←" ? -1 : 1));
  key("Shift+← Shift+→", "Ten frames", (name) => step(name.endsWith("←") ? -10 : 10));
  key("↑ ↓", "Keyframe before, next keyframe", (name) => panels.jump(name === "↑" ? -1 : 1, state.project.keyframes));
  key(", ;", "Place to look at before, next one", (name) => panels.jump(name === "," ? -1 : 1, state.events.map(({ frame }) => frame)));
  key("Home End", "First frame, last frame", (name) => step(name === "Home" ? -Infinity : Infinity));
  for (const [name, tool] of Object.entries({ R: "box", C: "click", S: "scribble", P: "polygon", B: "brush", E: "eraser", V: "hand" }))
    key(name, `Tool: ${tool === "hand" ? "move" : tool}`, () => tools.choose(tool));
  key("X", "Strokes say “here” or “not here”", () => say(!state.foreground));
  key("[ ]", "Smaller brush, larger brush", (name) => resize(name === "]" ? 1 : -1));
  key("Enter", "Close the polygon", tools.closePolygon);
  key("Esc", "Give up what is being drawn; forget box and strokes", tools.cancel);
  key("1 2 3 4 5 6 7 8 9", "Choose an object", (name) => panels.choose(state.project.objects[Number(name) - 1]?.id));
  key("N", "New object", panels.newObject);
  key("H", "Fill holes", () => editing.refine("fill-holes"));
  key("K", "Drop specks", () => editing.refine("drop-specks"));
  key("G Shift+G", "Grow, shrink", (name) => editing.refine(name === "G" ? "grow" : "shrink"));
  key("O", "Smooth", () => editing.refine("smooth"));
  key("D", "Copy the mask from the frame before", editing.copyFromBefore);
  key("Backspace", "Clear the object's mask here; of a polygon, the last corner", () => tools.dropCorner() || editing.clearObject());
  key("Delete", "Forget this keyframe", press("unkey"));
  key("F Shift+F", "Follow forward, backward", (name) => press(name === "F" ? "forward" : "backward")());
  key("A", "Follow both ways", press("both"));
  key("U", "Follow between your masks from both sides", press("fuse"));
  key(".", "Pause following, go on", () => panels.followingRuns() && panels.pauseOrGoOn());
  key("Q", "Stop following", () => panels.followingRuns() && panels.control("stop"));
  key("Z Ctrl+Z", "Undo", press("undo"));
  key("Shift+Z Ctrl+Y Ctrl+Shift+Z", "Redo", press("redo"));
  key("M", "Show or hide masks", () => showMasks(!state.masksVisible));
  key("+ -", "Zoom in, zoom out", (name) => zoom(name === "+" ? 1.3 : 1 / 1.3));
  key("0", "Show the whole picture", fit);
  key("I", "Import masks", press("import"));
  key("W", "Export", exporting.open);
  key("?", "This help", help);
  startKeys();
}

on("tool", showTool);
on("shown following", showHint);
on("frame", () => state.project && showFrame());
document.addEventListener("pointerdown", () => (document.body.dataset.by = "pointer"), true);
document.addEventListener("keydown", (event) => event.key === "Tab" && (document.body.dataset.by = "keys"), true);
window.addEventListener("pagehide", () => state.project && remember());
on("saving", () => (document.body.dataset.saving = state.saving ? "yes" : "no"));
on("shown", () => {
  document.body.dataset.frame = state.shown.frame;
  $("unkey").disabled = !state.shown.keyframe;
});
on("stopped", () => notice(state.project.following.message, "warning"));

bind();
bindKeys();
showTool();
listen({ hear: (message) => hearers[message.type]?.(message), lost, back });
