// The dialog that writes results, and shows the command line that gives the same.

import { call, lastFrame } from "./api.js";
import { notice, told } from "./notices.js";
import { groupsOf } from "./results.js";
import { $, changed, on, state } from "./store.js";

const USUAL = "overlay"; // what most people want to see first
const STOPPED = "Stopped; nothing was written.";
let asked = 0;
let begun = null; // id of the export of this very order, whose end the dialog shows

const number = (id) => ($(id).value === "" ? null : Number($(id).value));

function order() {
  const boxes = [...$("export-objects").querySelectorAll("input")];
  const chosen = boxes.filter((box) => box.checked).map((box) => Number(box.value));
  return {
    kind: $("result").value,
    option: $("option").value.trim(),
    objects: chosen.length === boxes.length ? null : chosen,
    start: number("export-start"),
    end: number("export-end"),
  };
}

const wanted = () => state.project.results.find((result) => result.name === $("result").value);

export function open() {
  const kept = $("result").value;
  $("result").replaceChildren(...groupsOf(state.project.results));
  $("result").value = kept || USUAL;
  if (!wanted()) $("result").selectedIndex = 0;
  const legend = $("export-objects").querySelector("legend");
  $("export-objects").replaceChildren(legend, ...state.project.objects.map(objectBox));
  for (const id of ["export-start", "export-end"]) $(id).max = lastFrame();
  $("export-dialog").showModal();
  resultChanged();
  $("export-start-button").focus();
}

function objectBox(object) {
  const label = document.createElement("label");
  const box = document.createElement("input");
  box.type = "checkbox";
  box.value = object.id;
  box.checked = true;
  const swatch = document.createElement("i");
  swatch.style.background = object.colour;
  label.append(box, swatch, object.name);
  return label;
}

function resultChanged() {
  const result = wanted();
  if (!result) return;
  const words = Object.keys(result.options ?? {});
  $("option").value = "";
  $("option").disabled = !words.length && !result.colour;
  $("option").placeholder = result.colour ? `colour, ${result.colour} unless given` : words.length ? words.join(" or ") : "none";
  $("option-words").replaceChildren(...words.map((word) => new Option(result.options[word], word)));
  const ways = words.map((word) => `${word}: ${result.options[word]}`);
  $("result-help").textContent = [result.help, ...ways, result.missing].filter(Boolean).join(". ");
  showCommand();
}

// What is to be written has changed, so what was written before is not it.
async function showCommand() {
  const mine = ++asked;
  begun = null;
  showExport();
  if (!state.project.masks.length) {
    $("command").textContent = "";
    $("command-why").textContent = "There are no masks yet; draw one first.";
    $("export-copy").disabled = true;
    return;
  }
  const answer = await call("POST", "/api/export/command", order()).catch((error) => ({ error: error.message }));
  if (mine !== asked) return;
  $("command").textContent = answer.command ?? "";
  $("command-why").textContent = answer.error ?? (answer.same ? "It gives the same bytes as this page." : answer.why);
  $("export-copy").disabled = !answer.command;
}

async function write() {
  $("export-start-button").disabled = true;
  const wish = order();
  const news = await told(() => call("POST", "/api/export", wish));
  if (news && JSON.stringify(wish) === JSON.stringify(order())) begun = news.id; // not where another was chosen meanwhile
  if (news) hearExport(news);
  else $("export-start-button").disabled = false;
}

// Takes news of an export: how far it is, or how it ended.
export function hearExport(news) {
  const all = state.project.exports;
  const place = all.findIndex((one) => one.id === news.id);
  const before = place < 0 ? null : all[place].state;
  if (place < 0) all.push(news);
  else all[place] = news;
  const seen = $("export-dialog").open && begun === news.id;
  if (before !== news.state && news.state === "done" && !seen) notice(`Written: ${news.path}`);
  if (before !== news.state && news.state === "stopped" && !seen) notice(STOPPED);
  if (before !== news.state && news.state === "failed") notice(news.message, "error");
  changed("exports");
}

// What somebody in a hurry should know before writing; empty for nothing.
function doubt() {
  const { masks, frames, following } = state.project;
  const [first, last] = [number("export-start") ?? 0, number("export-end") ?? frames - 1];
  const known = masks.reduce((sum, [from, to]) => sum + Math.max(0, Math.min(to, last) - Math.max(from, first) + 1), 0);
  if (["running", "paused"].includes(following.state)) return "Following still runs; masks are written as they are now.";
  if (masks.length && known < last - first + 1) return `${known ? `Only ${known}` : "None"} of ${last - first + 1} frames have a mask. Press F on the page to follow the objects first.`;
  return "";
}

function showExport() {
  const latest = state.project.exports.at(-1);
  const runs = latest?.state === "running";
  $("export-running").hidden = !runs && begun !== latest?.id;
  $("export-warning").textContent = doubt();
  $("export-warning").hidden = !doubt();
  $("export-stop").hidden = !runs;
  $("export-start-button").disabled = runs || !state.project.masks.length;
  if (!latest) return;
  $("export-progress").max = Math.max(1, latest.total);
  $("export-progress").value = latest.done;
  $("export-progress").hidden = !runs;
  const line = $("export-state");
  const words = {
    running: `Writing ${latest.kind}: ${latest.done} of ${latest.total} frames`,
    done: `Written: ${latest.path} `,
    failed: latest.message,
    stopped: STOPPED,
  };
  line.textContent = words[latest.state];
  if (latest.state === "done" && latest.command) $("command").textContent = latest.command;
  if (latest.state === "done" && latest.download) {
    const link = document.createElement("a");
    link.href = latest.download;
    link.download = "";
    link.textContent = "Download";
    line.append(link);
  }
}

$("export-start-button").addEventListener("click", write);
$("export-stop").addEventListener("click", () => told(() => call("POST", "/api/export/stop", {})));
$("export-copy").addEventListener("click", () =>
  told(async () => {
    await navigator.clipboard.writeText($("command").textContent);
    notice("The command is copied.");
  }),
);
$("result").addEventListener("change", resultChanged);
for (const id of ["option", "export-start", "export-end"]) $(id).addEventListener("input", showCommand);
$("export-objects").addEventListener("change", showCommand);
on("exports following", () => state.project && showExport());
on("project", () => $("export-dialog").open && begun === null && showCommand()); // masks may have come
