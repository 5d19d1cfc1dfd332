// What the page knows, and who wants to hear of changes.

const bus = new EventTarget();

export const state = {
  project: null, // as GET /api/project gives it
  frame: 0, // that is wanted
  shown: null, // { frame, picture, labels, version, keyframe }: what is on the canvas
  object: null, // id of the chosen object
  tool: "box",
  foreground: true, // what strokes say
  size: 14, // the brush's diameter in pixels of the frame; the first one follows from its size
  engine: null,
  masksVisible: true,
  playing: false,
  drawing: false, // whether the pointer is down on the picture
  saving: 0, // edits on their way to the server
  confidence: new Map(), // id -> array by step
  step: 1,
  events: [], // places to look at: { frame, object, text }
};

export function on(names, listener) {
  for (const name of names.split(" ")) bus.addEventListener(name, listener);
}

export function changed(...names) {
  for (const name of names) bus.dispatchEvent(new Event(name));
}

export const $ = (id) => document.getElementById(id);

export function objectOf(id) {
  return state.project?.objects.find((object) => object.id === id) ?? null;
}
