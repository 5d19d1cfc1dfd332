// Keys: one table for what they do, the help that `?` shows, and the titles of buttons.

import { $ } from "./store.js";

const rows = []; // { key, what, act }

export function key(name, what, act) {
  rows.push({ name, what, act });
}

const SPOKEN = { " ": "Space", ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", Escape: "Esc" };

function nameOf(event) {
  const shifts = event.shiftKey && (event.key.length > 1 || /[a-z]/i.test(event.key));
  const plain = SPOKEN[event.key] ?? (event.key.length === 1 ? event.key.toUpperCase() : event.key);
  return `${event.ctrlKey || event.metaKey ? "Ctrl+" : ""}${shifts ? "Shift+" : ""}${plain}`;
}

// Where text is typed, letters are letters.
const writes = (target) => target.matches?.("input[type=text], input[type=number], textarea, select");

export function start() {
  document.addEventListener("keydown", (event) => {
    if (event.altKey || document.querySelector("dialog[open]")) return;
    const name = nameOf(event);
    if (writes(event.target) && name !== "Esc") return;
    const { target } = event;
    const presses = target.matches?.("button, input, a") && (name === "Space" || name === "Enter");
    const moves = target.matches?.("input[type=range], input[type=radio]") && /^[←→↑↓]|Home|End/.test(name);
    if (presses || moves) return;
    const found = rows.find((row) => row.name.split(" ").includes(name));
    if (!found) return;
    event.preventDefault();
    found.act(name);
  });
  for (const element of document.querySelectorAll("[data-key]")) {
    const label = element.getAttribute("aria-label") ?? element.textContent.trim();
    element.title = `${label} (${element.dataset.key})`;
    element.setAttribute("aria-keyshortcuts", element.dataset.key.replace("←", "ArrowLeft").replace("→", "ArrowRight"));
  }
  $("keys").replaceChildren(
    ...rows.flatMap(({ name, what }) => {
      const term = document.createElement("dt");
      const names = name.split(" ");
      term.textContent = names.length > 5 ? `${names[0]} … ${names.at(-1)}` : names.join("  ");
      const text = document.createElement("dd");
      text.textContent = what;
      return [term, text];
    }),
  );
}

export const help = () => $("help-dialog").showModal();
