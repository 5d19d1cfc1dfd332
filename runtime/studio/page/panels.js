// The panels at the side: objects, following, places to look at.

import { call, lastFrame } from "./api.js";
import { forgetHints, makeObject, saved, travel } from "./editing.js";
import { forgetMasks, refresh, show } from "./frames.js";
import { notice, putAway, told } from "./notices.js";
import { $, changed, objectOf, on, state } from "./store.js";

function button(text, label, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.setAttribute("aria-label", label);
  made.title = label;
  made.addEventListener("click", act);
  return made;
}

export function choose(id) {
  if (!objectOf(id)) return;
  state.object = id;
  changed("object");
}

export async function newObject() {
  const object = await makeObject();
  if (object) notice(`Draw a box around ${object.name}, in any frame.`);
}

async function remove({ id, name }) {
  putAway();
  await saved(); // so that the deletion is the last step
  const answer = await told(() => call("DELETE", `/api/objects/${id}`));
  if (!answer) return;
  notice(`${name} is deleted from all frames.`, "warning", { text: "Undo", act: () => travel("undo", true, answer.revision) });
}

let listed = "";

// The list is made anew only where it changes, and keeps the focus.
function showObjects() {
  const now = JSON.stringify([state.project.objects, state.object]);
  if (now === listed) return;
  listed = now;
  const list = $("objects");
  const focused = [...list.querySelectorAll("button")].indexOf(document.activeElement);
  list.replaceChildren(...state.project.objects.map(row));
  if (focused >= 0) list.querySelectorAll("button")[focused]?.focus();
  const chosen = objectOf(state.object);
  $("mask-of").textContent = chosen ? chosen.name : "the object";
  $("only-name").textContent = chosen ? chosen.name : "";
  $("only-label").hidden = state.project.objects.length < 2;
  if ($("only-label").hidden) $("only").checked = false;
  showFuse();
}

function row(object, index) {
  const item = document.createElement("li");
  item.classList.toggle("chosen", object.id === state.object);
  const pick = document.createElement("button");
  pick.type = "button";
  pick.className = "pick";
  pick.setAttribute("aria-label", `Choose ${object.name}`);
  pick.setAttribute("aria-pressed", object.id === state.object);
  const swatch = document.createElement("i");
  swatch.style.background = object.colour;
  const name = document.createElement("span");
  name.textContent = object.name;
  pick.append(swatch, name);
  if (index < 9) {
    const key = document.createElement("kbd");
    key.textContent = index + 1;
    key.title = `Key ${index + 1} chooses it`;
    pick.append(key);
  }
  pick.addEventListener("click", () => choose(object.id));
  const see = button(object.visible ? "◉" : "○", `${object.visible ? "Hide" : "Show"} ${object.name}`, () =>
    told(() => call("PATCH", `/api/objects/${object.id}`, { visible: !object.visible })),
  );
  const edit = button("✎", `Name and colour of ${object.name}`, () => rename(object));
  item.append(pick, see, edit, button("✕", `Delete ${object.name}`, () => remove(object)));
  return item;
}

function rename(object) {
  const dialog = $("rename-dialog");
  $("rename").value = object.name;
  $("recolour").value = object.colour;
  dialog.returnValue = "";
  dialog.addEventListener(
    "close",
    () => {
      if (dialog.returnValue !== "save") return;
      putAway();
      const name = $("rename").value.trim() || object.name;
      told(() => call("PATCH", `/api/objects/${object.id}`, { name, colour: $("recolour").value }));
    },
    { once: true },
  );
  dialog.showModal();
  $("rename").select();
}

const FUSE = "blend"; // how passes from both sides of a gap are joined

// Follows from the frame that is shown; or all from the first keyframe on, from both sides between keyframes.
export function follow(direction, bothSides = false) {
  const until = $("until").value === "" ? null : Number($("until").value);
  const only = $("only").checked && !bothSides ? objectOf(state.object) : null;
  const { shown } = state; // a mask that was saved may be empty: objects are out of sight
  if (!bothSides && shown?.frame === state.frame && !shown.version && !shown.labels.some((id) => id)) {
    return void notice(`${only?.name ?? "No object"} has ${only ? "no" : "a"} mask in frame ${state.frame}: draw a box around it first.`, "warning");
  }
  forgetHints();
  putAway();
  return told(async () => {
    state.project.following = await call("POST", "/api/follow", { from: state.frame, direction, until, fuse: bothSides ? FUSE : null, objects: only && [only.id] });
    changed("following");
  });
}

// Both sides are joined for all objects at once.
function showFuse() {
  $("fuse").hidden = state.project.keyframes.length < 2;
  $("fuse").disabled = followingRuns() || $("only").checked;
}

export const followingRuns = () => ["running", "paused"].includes(state.project?.following?.state);

export function control(action) {
  return told(async () => {
    state.project.following = await call("POST", `/api/follow/${action}`, {});
    changed("following");
  });
}

export const pauseOrGoOn = () => control(state.project.following.state === "paused" ? "resume" : "pause");

const seconds = (count) => (count < 90 ? `${Math.ceil(count)} s` : `${Math.floor(count / 60)} min ${Math.round(count % 60)} s`);

let said = "";

function showFollowing() {
  const now = state.project.following;
  const runs = followingRuns();
  $("following").classList.toggle("away", !runs); // in the same place, so that nothing below moves
  $("follow").classList.toggle("away", runs);
  $("progress").max = Math.max(1, now.total ?? 1);
  $("progress").value = now.done ?? 0;
  const far = now.fuse ? `${Math.floor((100 * now.done) / Math.max(1, now.total))} %` : `${now.done} of ${now.total}`;
  const before = now.fuse ? "following both ways" : "getting ready"; // no mask is kept yet
  const place = now.frame === null ? before : `frame ${now.frame}`;
  const parts = now.frame === null || now.fuse ? [place, far] : [far];
  if (now.fps && !now.fuse) parts.push(`${now.fps.toFixed(now.fps < 10 ? 1 : 0)} per second`);
  if (now.left !== null && now.left !== undefined) parts.push(`${seconds(now.left)} left`);
  $("speed").textContent = runs ? (now.state === "paused" ? `Paused. ${parts.slice(0, 2).join(" · ")}` : parts.join(" · ")) : "";
  $("pause").textContent = now.state === "paused" ? "Go on" : "Pause";
  for (const id of ["forward", "backward", "both"]) $(id).disabled = runs;
  showFuse();
  const watches = $("watch").checked && !state.playing && !state.drawing && now.frame !== null;
  if (now.state === "running" && watches) show(now.frame);
  if (now.message && now.message !== said) changed("stopped");
  said = now.message;
}

const LISTED = 200; // events at most; the timeline shows all

function showEvents() {
  const list = $("events");
  if (!state.events.length) {
    const nothing = document.createElement("li");
    nothing.className = "quiet";
    const judged = [...state.confidence.values()].some((values) => values.some((value) => value !== null));
    nothing.textContent = judged ? "Every mask looks right to the tracker." : "Nothing to report yet.";
    return list.replaceChildren(nothing);
  }
  return list.replaceChildren(
    ...state.events.slice(0, LISTED).map(({ frame, text }) => {
      const item = document.createElement("li");
      item.append(button(`${frame} · ${text}`, `Go to frame ${frame}: ${text}`, () => show(frame)));
      return item;
    }),
  );
}

export function jump(way, frames) {
  const sorted = [...new Set(frames)].sort((a, b) => a - b);
  const found = way > 0 ? sorted.find((f) => f > state.frame) : sorted.findLast((f) => f < state.frame);
  if (found !== undefined) show(found);
}

on("objects object", showObjects);
on("following", showFollowing);
$("only").addEventListener("change", showFuse);
on("events", showEvents);
on("project", () => {
  if (!objectOf(state.object)) state.object = state.project.objects[0]?.id ?? null;
  $("until").max = lastFrame();
  changed("objects", "following");
  forgetMasks();
  refresh();
});
