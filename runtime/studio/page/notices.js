// Messages: shown, read out, and put away by a click; errors stay until then.

import { $ } from "./store.js";

const SECONDS = { note: 6, warning: 14 };

export function notice(text, level = "note") {
  const place = $("notices");
  for (const other of place.children) {
    if (other.dataset.text === text) other.remove();
  }
  const box = document.createElement("div");
  box.className = `notice ${level}`;
  box.dataset.text = text;
  const words = document.createElement("span");
  words.textContent = text;
  const close = document.createElement("button");
  close.type = "button";
  close.textContent = "✕";
  close.setAttribute("aria-label", "Put the message away");
  close.addEventListener("click", () => box.remove());
  box.append(words, close);
  place.append(box);
  while (place.children.length > 4) (place.querySelector(".notice:not(.error)") ?? place.firstElementChild).remove();
  if (SECONDS[level]) setTimeout(() => box.remove(), SECONDS[level] * 1000);
}

// Runs something and shows why it failed; gives undefined then.
export async function told(action) {
  try {
    return await action();
  } catch (error) {
    notice(error.message, error.status === 409 ? "warning" : "error");
    return undefined;
  }
}
