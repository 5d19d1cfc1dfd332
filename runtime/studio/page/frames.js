// Frames with their masks: fetched, kept for a while, and shown when both are there.

import { call, lastFrame, picture } from "./api.js";
import { decode } from "./labels.js";
import { notice } from "./notices.js";
import { changed, state } from "./store.js";

const KEPT = 48; // pictures
const pictures = new Map();
const masks = new Map();
let loading = false;

function keep(cache, frame, make) {
  if (!cache.has(frame)) {
    const value = make();
    cache.set(frame, value);
    value.catch(() => cache.delete(frame));
    while (cache.size > KEPT) cache.delete(cache.keys().next().value);
  }
  return cache.get(frame);
}

export const pictureOf = (frame) => keep(pictures, frame, () => picture(frame));
const maskAt = (frame) => keep(masks, frame, () => call("GET", `/api/masks/${frame}`));

export function forgetMasks(ranges) {
  for (const frame of [...masks.keys()]) {
    if (!ranges || ranges.some(([first, last]) => first <= frame && frame <= last)) masks.delete(frame);
  }
}

// Shows a frame as soon as it is there; of many wishes in a row only the last one counts.
export async function show(frame) {
  state.frame = Math.min(Math.max(0, Math.round(frame) || 0), lastFrame());
  changed("frame");
  if (loading) return;
  loading = true;
  try {
    while (state.shown?.frame !== state.frame) await load(state.frame);
  } catch (error) {
    notice(error.message, "error");
  } finally {
    loading = false;
  }
}

async function load(frame) {
  const [image, runs] = await Promise.all([pictureOf(frame), maskAt(frame)]);
  state.shown = { frame, picture: image, labels: decode(runs), version: runs.version, keyframe: runs.keyframe };
  changed("shown");
  for (let next = frame + 1; next <= Math.min(frame + (state.playing ? 4 : 1), lastFrame()); next++) pictureOf(next).catch(() => {});
}

let refreshed = 0;
let latest = Promise.resolve(); // the last call of refresh

// Fetches the shown frame's mask again, unless an edit of it is on its way. Where another call takes
// over, it ends with that one, so that what is shown is new then.
export function refresh() {
  latest = fetchShown();
  return latest;
}

async function fetchShown() {
  const frame = state.shown?.frame;
  if (frame === undefined || state.saving) return;
  const mine = ++refreshed;
  masks.delete(frame);
  let runs;
  try {
    runs = await maskAt(frame);
  } catch {
    return; // the connection says so itself
  }
  if (mine !== refreshed) return latest;
  if (state.saving || state.shown.frame !== frame) return;
  state.shown = { ...state.shown, labels: decode(runs), version: runs.version, keyframe: runs.keyframe };
  changed("shown");
}
