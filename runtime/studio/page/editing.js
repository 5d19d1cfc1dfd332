// Edits of the shown frame: each is on its way to the server at once, and undo takes it back.

import { call } from "./api.js";
import { forgetMasks, refresh } from "./frames.js";
import { boundsOf, decode, encode, maskOf, withMask } from "./labels.js";
import { notice, putAway, told } from "./notices.js";
import { $, changed, objectOf, on, state } from "./store.js";

const AGAIN = 3000; // milliseconds between tries to save
const DRAWINGS = 32; // versions of which the box and strokes are remembered, each with a whole mask
let chain = Promise.resolve(); // edits are saved one after the other
let hints = null; // the box and strokes drawn so far, for one object in one frame
let working = 0;

export const saved = () => chain; // when all edits so far are

export const currentHints = () => hints;

export function forgetHints() {
  if (!hints) return;
  hints = null;
  changed("hints");
}

on("frame object", () => {
  if (hints && (hints.frame !== state.frame || hints.object !== state.object)) forgetHints();
});

// Makes an object and chooses it; undefined where that fails, which is told.
export async function makeObject() {
  putAway();
  const object = await told(() => call("POST", "/api/objects", { name: null, colour: null }));
  if (!object) return undefined;
  if (!objectOf(object.id)) state.project.objects.push(object);
  state.object = object.id;
  changed("objects", "object");
  return object;
}

// The chosen object; the first one is made where there is none yet.
export async function ensureObject() {
  if (objectOf(state.object)) return state.object;
  return (await makeObject())?.id ?? null;
}

// Shows labels and saves them; `ids` are the objects that were edited, `version` is that of the mask
// from which the edit began: where another page has changed it since, the server refuses.
export function commit(labels, ids, version, from = null) {
  const { shown } = state;
  if (!from) forgetHints();
  putAway();
  state.shown = { ...shown, labels, keyframe: true };
  const { width, height } = state.project;
  const body = { ...encode(labels, height, width), objects: [...ids] };
  state.saving++;
  changed("shown", "saving");
  const drawn = from && { ...from, strokes: [...from.strokes], ids: new Set(from.ids) };
  chain = chain.then(() => save(shown.frame, body, version, drawn)).finally(() => {
    state.saving--;
    changed("saving");
    if (!state.saving) refresh();
  });
  return chain;
}

const replaced = new Map(); // a frame's version -> the one that an edit of this page made of it
const drawings = new Map(); // a frame's version -> the box and strokes that it came from
const place = (frame, version) => `${frame} ${version}`;

// The version that this page's own edits have made of a version by now.
function newest(frame, version) {
  let now = version;
  while (replaced.has(place(frame, now))) now = replaced.get(place(frame, now));
  return now;
}

// Where an undo has brought a version back, what was made of it doesn't count any more.
on("shown", () => {
  const { frame, version } = state.shown;
  for (let old = version; !state.saving && replaced.has(place(frame, old)); ) {
    const next = replaced.get(place(frame, old));
    replaced.delete(place(frame, old));
    old = next;
  }
});

async function save(frame, body, version, drawn) {
  let base = newest(frame, version);
  for (let tries = 0; ; tries++) {
    try {
      const answer = await call("PUT", `/api/masks/${frame}`, { ...body, base });
      if (answer.version !== base) replaced.set(place(frame, base), answer.version);
      if (drawn) drawings.set(place(frame, answer.version), drawn);
      if (drawings.size > DRAWINGS) drawings.delete(drawings.keys().next().value);
      forgetMasks([[frame, frame]]);
      for (const line of answer.notes ?? []) notice(line);
      state.project.revision = Math.max(state.project.revision, answer.revision);
      if (tries) notice(`Your edit of frame ${frame} is saved now.`);
      return;
    } catch (error) {
      if (error.status !== 0 && error.status !== 507) {
        notice(error.message, error.status === 409 ? "warning" : "error");
        forgetHints();
        return;
      }
      if (!tries) notice(`${error.message} The edit of frame ${frame} is saved as soon as it can be.`, "warning");
      await new Promise((resolve) => setTimeout(resolve, AGAIN));
      // It may have come through, and only the answer was lost.
      const now = await call("GET", `/api/masks/${frame}`).catch(() => null);
      if (now && ["values", "lengths"].every((part) => String(now[part]) === String(body[part]))) base = now.version;
    }
  }
}

export function busy(change) {
  working += change;
  $("busy").hidden = working <= 0;
}

// Adds a box or a stroke to what is known of the object, and asks for its mask.
export async function hint({ box = null, stroke = null }) {
  if (!state.shown) return;
  const id = await ensureObject();
  if (id === null) return;
  const { frame } = state.shown;
  if (!hints || hints.frame !== frame || hints.object !== id) {
    const { version, labels } = state.shown;
    hints = { frame, object: id, version, base: labels.slice(), box: null, strokes: [], asked: 0, ids: new Set() };
  }
  if (box) Object.assign(hints, { box, strokes: [] }); // a new box begins anew
  if (stroke) hints.strokes.push(stroke);
  changed("hints");
  const mine = hints;
  const asked = ++mine.asked;
  const mask = await prompt(mine);
  if (!mask || mine !== hints || asked !== mine.asked || state.shown.frame !== mine.frame) return;
  const before = box && boundsOf(state.shown.labels, id, state.project.width);
  const result = withMask(mine.base, id, mask);
  result.ids.forEach((other) => mine.ids.add(other));
  commit(result.labels, mine.ids, mine.version, mine);
  if (before && apart(before, box)) {
    const { name } = objectOf(id);
    notice(`The box moved ${name} here. Is it another object?`, "warning", { text: "Make it a new object", act: () => another(box) });
  }
}

const ELSEWHERE = 0.25; // share of the smaller of two boxes that they have in common, below which they are of two things
const area = ([left, top, right, bottom]) => Math.max(0, right - left) * Math.max(0, bottom - top);

function apart(one, other) {
  const common = area([0, 1].map((i) => Math.max(one[i], other[i])).concat([2, 3].map((i) => Math.min(one[i], other[i]))));
  return common < ELSEWHERE * Math.min(area(one), area(other));
}

// Gives the mask back that a box has replaced, and draws the box for a new object.
async function another(box) {
  if (!(await travel("undo", false))) return;
  const object = await makeObject();
  if (object) await hint({ box });
}

async function prompt({ frame, object, base, box, strokes, polygon = null }) {
  const { width, height } = state.project;
  busy(1);
  const answer = await told(() =>
    call("POST", `/api/prompts/${frame}`, {
      object,
      engine: state.engine,
      box,
      strokes,
      polygon,
      labels: encode(base, height, width),
    }),
  );
  busy(-1);
  return answer ? decode(answer) : null;
}

// Adds the inside of a polygon to the object's mask, or takes it away.
export async function paintPolygon(corners) {
  if (!state.shown) return;
  const id = await ensureObject();
  if (id === null) return;
  const { frame } = state.shown;
  const inside = await prompt({ frame, object: id, base: state.shown.labels, box: null, strokes: [], polygon: corners });
  if (!inside || state.shown.frame !== frame) return;
  const { labels, version } = state.shown; // with what was drawn meanwhile
  const mask = maskOf(labels, id).map((value, i) => (inside[i] ? Number(state.foreground) : value));
  const result = withMask(labels, id, mask);
  commit(result.labels, result.ids, version);
}

const AMOUNTS = { "fill-holes": 0, "drop-specks": 0, grow: 1, shrink: 1, smooth: 3 };

export async function refine(action) {
  const id = state.object;
  if (!state.shown || !objectOf(id)) return notice("Choose an object first, or draw one.");
  const { frame, labels, version } = state.shown;
  const mask = maskOf(labels, id);
  if (!mask.includes(1)) return notice(`${objectOf(id).name} has no mask in this frame yet; draw it first.`);
  const { width, height } = state.project;
  const body = { mask: encode(mask, height, width), action, amount: AMOUNTS[action] };
  const answer = await told(() => call("POST", `/api/refine/${frame}`, body));
  if (!answer || state.shown.frame !== frame) return undefined;
  const result = withMask(labels, id, decode(answer));
  if (result.labels.every((value, i) => value === labels[i])) return notice("There was nothing to change.");
  return commit(result.labels, result.ids, version);
}

export function clearObject() {
  const id = state.object;
  if (!state.shown || !state.shown.labels.includes(id)) return notice("The object has no mask in this frame.");
  const result = withMask(state.shown.labels, id, new Uint8Array(state.shown.labels.length));
  return commit(result.labels, [id], state.shown.version);
}

export async function copyFromBefore() {
  if (!state.shown) return;
  putAway();
  const { frame, version } = state.shown;
  if (frame === 0) return void notice("There is no frame before the first one.");
  forgetHints();
  await chain;
  const base = newest(frame, version);
  const body = { from: frame - 1, base, objects: state.object === null ? null : [state.object] };
  const answer = await told(() => call("POST", `/api/masks/${frame}/copy`, body));
  for (const line of answer?.notes ?? []) notice(line);
  refresh();
}

export async function forgetKeyframe() {
  if (!state.shown) return;
  putAway();
  const { frame } = state.shown;
  forgetHints();
  await chain;
  await told(() => call("DELETE", `/api/keyframes/${frame}`));
  refresh();
}

let travels = Promise.resolve();

// Undoes or redoes; one after the other, however fast the keys are pressed. False where it can't be.
// With a revision, only while the project has that one: an offer to undo is of one step.
export function travel(way, tell = true, revision = null) {
  const go = () => step(way, tell, revision);
  travels = travels.then(go, go);
  return travels;
}

async function step(way, tell, revision) {
  putAway();
  await chain;
  const before = state.shown?.version;
  const answer = await told(() => call("POST", `/api/${way}`, { revision: revision ?? state.project.revision }));
  if (!answer) return false;
  forgetHints();
  state.project.revision = answer.revision;
  forgetMasks();
  await refresh();
  const { frame, version } = state.shown ?? {};
  const drawn = version === before ? null : drawings.get(place(frame, version));
  if (drawn?.object === state.object) { // the box holds for the next stroke, as it did then
    hints = { ...drawn, version, strokes: [...drawn.strokes], ids: new Set(drawn.ids) };
    changed("hints");
  }
  if (tell) notice(`${way === "undo" ? "Undone" : "Done again"}: ${answer.text}`);
  return true;
}

export async function importFiles(files) {
  const { frame } = state;
  const { largest } = state.project;
  putAway();
  await chain;
  for (const file of files) {
    if (file.size > largest) { // the server would close the connection in the middle of it
      notice(`${file.name} is too large for masks; ${largest >> 20} MB are taken at most.`, "error");
      continue;
    }
    busy(1);
    const answer = await told(() =>
      call("POST", `/api/masks/${frame}/import`, file, { "X-File-Name": encodeURIComponent(file.name) }),
    );
    busy(-1);
    if (!answer) continue;
    forgetHints();
    forgetMasks();
    refresh();
    const { frames, notes, lost } = answer;
    const where = frames.length === 1 ? `frame ${frames[0]}` : `${frames.length} frames`;
    notice([`${file.name} is now the mask of ${where}.`, ...notes].join(" "));
    for (const line of lost) notice(line, "loss");
  }
}
