// Requests to the server, and the connection on which it tells what changes.

import { state } from "./store.js";

export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

const SILENT = "The studio does not answer. What you did is kept in this page until it does.";
const STRANGER = "This page's key is not valid any more. Open the address that mavos-studio printed last.";

export async function call(method, path, body, headers = {}) {
  const options = { method, headers: { ...headers } };
  if (body instanceof Blob) options.body = body;
  else if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["Content-Type"] = "application/json";
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new ApiError(SILENT, 0);
  }
  const text = await answer.text();
  let value = null;
  try {
    value = text ? JSON.parse(text) : null;
  } catch {
    value = null;
  }
  if (answer.ok && value !== null) return value;
  const said = value?.error ?? (answer.status === 403 ? STRANGER : `The studio answered ${answer.status} to ${method} ${path}.`);
  throw new ApiError(said, answer.status);
}

export async function picture(frame) {
  let answer;
  try {
    answer = await fetch(`/api/frames/${frame}.jpg`);
  } catch {
    throw new ApiError(SILENT, 0);
  }
  if (!answer.ok) {
    const value = await answer.json().catch(() => null);
    throw new ApiError(value?.error ?? `Frame ${frame} can't be shown (${answer.status}).`, answer.status);
  }
  return createImageBitmap(await answer.blob());
}

// Keeps a WebSocket open; `hear` gets messages, `lost` and `back` are told of the connection.
export function listen({ hear, lost, back }) {
  let wait = 500;
  const connect = () => {
    const place = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/api/live`;
    const socket = new WebSocket(place);
    let opened = false;
    socket.addEventListener("open", () => {
      opened = true;
      wait = 500;
      back();
    });
    socket.addEventListener("message", (event) => hear(JSON.parse(event.data)));
    socket.addEventListener("close", async () => {
      let why = "The connection to the studio is lost; trying again. Nothing that was saved is gone.";
      if (!opened) {
        const answer = await fetch("/api/project", { method: "GET" }).catch(() => null);
        if (answer?.status === 403) why = STRANGER;
      }
      lost(why);
      setTimeout(connect, wait);
      wait = Math.min(wait * 1.6, 4000);
    });
  };
  connect();
}

export const lastFrame = () => Math.max(0, (state.project?.frames ?? 1) - 1);
