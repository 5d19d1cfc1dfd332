// Messages: shown, read out, and put away by a click; failures and losses stay until then.

import { $ } from "./store.js";

const SECONDS = { note: 6, warning: 14 };
const REFUSED = [400, 409]; // what was asked for can't be done; any other status is a failure

const PASSING = ".notice:not(.error, .loss)"; // they go with the next step
const MOST = 3; // on the screen

// A "loss" is a warning that stays. `offer` is what a button in the message does: { text, act }.
export function notice(text, level = "note", offer = null) {
  const place = $("notices");
  for (const other of [...place.children]) {
    if (other.dataset.text === text) other.remove();
  }
  const box = document.createElement("div");
  box.className = `notice ${level === "loss" ? "warning loss" : level}`;
  box.dataset.text = text;
  const words = document.createElement("span");
  words.textContent = text;
  box.append(words);
  if (offer) box.append(button(offer.text, "offer", box, offer.act));
  const close = button("✕", "", box);
  close.setAttribute("aria-label", "Put the message away");
  box.append(close);
  while (place.children.length >= MOST) (place.querySelector(PASSING) ?? place.firstElementChild).remove();
  place.append(box);
  if (SECONDS[level]) setTimeout(() => box.remove(), SECONDS[level] * 1000);
}

function button(text, kind, box, act = () => {}) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = kind;
  made.textContent = text;
  made.addEventListener("click", () => {
    box.remove();
    act();
  });
  return made;
}

// Puts away what was said of an earlier step, when the next one is done, so that no offer to undo is
// taken for that one; failures and losses stay.
export function putAway() {
  for (const box of document.querySelectorAll(`#notices ${PASSING}`)) box.remove();
}

// Runs something and shows why it failed; gives undefined then.
export async function told(action) {
  try {
    return await action();
  } catch (error) {
    notice(error.message, REFUSED.includes(error.status) ? "warning" : "error");
    return undefined;
  }
}
