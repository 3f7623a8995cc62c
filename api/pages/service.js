// The service's JSON, as everybody gets it: the key where one is needed, patience while the service is away.
import { find, h, say } from "./elements.js";

const KEY = "collapse-key";
const LONGEST_PAUSE_SECONDS = 5;

/** What the service refused, in its own words. */
export class Problem extends Error {
  constructor(status, body) {
    super(body.detail ?? `The service answered ${status}.`);
    Object.assign(this, { status, code: body.code ?? "", errors: body.errors ?? [] });
  }
}

export const key = () => sessionStorage.getItem(KEY);
const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));
const headers = () => (key() ? { Authorization: `Bearer ${key()}` } : {});

let asking = null;

/** Ask for the key, once for all requests that wait for it. */
export function askKey(reason) {
  asking ??= new Promise((resolve) => {
    const field = h("input", { id: "key", type: "password", autocomplete: "off", required: true, "aria-describedby": "key-help" });
    const form = h("form", { method: "dialog" },
      h("h2", { id: "key-title" }, "A key is needed"),
      h("p", { id: "key-help" }, `${reason} `,
        "It is kept until this tab is closed."),
      h("label", { for: "key" }, "Key of the service"), field,
      h("div", { class: "buttons" }, h("button", { value: "yes" }, "Use this key")));
    const dialog = h("dialog", { class: "ask", "aria-labelledby": "key-title", oncancel: (event) => event.preventDefault() }, form);
    document.body.append(dialog);
    dialog.addEventListener("close", () => {
      if (!field.value) return dialog.showModal();
      sessionStorage.setItem(KEY, field.value);
      dialog.remove();
      asking = null;
      resolve();
    });
    dialog.showModal();
  });
  return asking;
}

let away = 0;

function tellAway(isAway) {
  away = isAway ? away + 1 : 0;
  const line = find("#away");
  if (line) say(line, isAway ? "The service does not answer at the moment. Trying again …" : "");
}

/** One request; asks for the key where it is needed. `Problem` for what the service refuses. */
async function ask(path, options = {}) {
  for (;;) {
    const used = key();
    const answer = await fetch(path, { ...options, headers: { ...options.headers, ...headers() } });
    if (answer.ok) return answer;
    const body = await answer.json().catch(() => ({}));
    if (answer.status !== 401) throw new Problem(answer.status, body);
    await askForAnother(used, body.detail ?? "");
  }
}

/** Ask for a key in place of the one that was refused, unless another one is there by now. */
async function askForAnother(used, detail) {
  if (used === key()) await askKey(used ? "The service does not know this key, or no longer." : detail);
}

/** The answer to a GET; while the service is away, asks again. */
async function patiently(path, options = {}) {
  for (let attempt = 0; ; attempt++) {
    try {
      const answer = await ask(path, options);
      tellAway(false);
      return answer;
    } catch (error) {
      const isAway = error instanceof TypeError || error.status === 503;
      if (!isAway || options.signal?.aborted) throw error;
      tellAway(true);
      await pause(Math.min(0.25 * 2 ** attempt, LONGEST_PAUSE_SECONDS));
    }
  }
}

export const get = async (path, options) => (await patiently(path, options)).json();
export const getBytes = async (path) => (await patiently(path)).arrayBuffer();

/** POST, DELETE …: done once, never by itself again. */
export async function send(method, path, body) {
  const content = body === undefined ? {} : { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
  try {
    const answer = await ask(path, { method, ...content });
    return answer.status === 204 ? null : answer.json();
  } catch (error) {
    throw error instanceof TypeError ? new Error("The service does not answer. Nothing was done; try again.") : error;
  }
}

/** Send a file as the body, streamed from the disk; `progress` gets the bytes sent. Resolves to the answer's JSON. */
export async function upload(path, file, progress, signal) {
  for (;;) {
    const used = key();
    try {
      return await sendFile(path, file, progress, signal);
    } catch (error) {
      if (error.status !== 401) throw error;
      await askForAnother(used, error.message);
    }
  }
}

function sendFile(path, file, progress, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch tells nothing of what it has sent
    request.open("POST", path);
    request.responseType = "json";
    request.setRequestHeader("Content-Type", "application/octet-stream");
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.upload.addEventListener("progress", (event) => progress(event.loaded));
    request.addEventListener("load", () =>
      request.status < 300 ? resolve(request.response) : reject(new Problem(request.status, request.response ?? {})));
    request.addEventListener("error", () =>
      reject(new Error("The connection broke off while the file was being sent. It may be larger than the service takes, or have changed on the disk.")));
    request.addEventListener("abort", () => reject(new DOMException("stopped", "AbortError")));
    signal.addEventListener("abort", () => request.abort());
    request.send(file);
  });
}

/** The states of a job as it goes on, until it has ended; resumed where the connection broke off. */
export async function* follow(id, signal) {
  let last = "";
  for (let attempt = 0; !signal.aborted; attempt++) {
    const options = { signal, headers: { Accept: "text/event-stream", ...(last && { "Last-Event-ID": last }) } };
    try {
      const stream = await patiently(`/v1/jobs/${encodeURIComponent(id)}/events`, options);
      for await (const event of eventsOf(stream.body)) {
        last = event.id;
        attempt = 0;
        yield event.job;
        if (ended(event.job)) return;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof TypeError)) throw error;
      tellAway(true);
    }
    await pause(Math.min(0.25 * 2 ** attempt, LONGEST_PAUSE_SECONDS));
  }
}

async function* eventsOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (text + value).split(/\r?\n\r?\n/);
    text = blocks.pop();
    for (const block of blocks) {
      const fields = Object.fromEntries(block.split(/\r?\n/).map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trim()]));
      if (fields.data) yield { id: fields.id ?? "", job: JSON.parse(fields.data) };
    }
  }
}

export const ended = (job) => ["succeeded", "failed", "cancelled"].includes(job.status);

// A link cannot send the key: with one, what is linked under /v1 is fetched and then saved.
document.addEventListener("click", async (event) => {
  const link = event.target.closest?.("a[href^='/v1/']");
  if (!link || !key()) return;
  event.preventDefault();
  try {
    const answer = await ask(link.getAttribute("href"));
    save(await answer.blob(), link.download || link.pathname.split("/").pop());
  } catch (error) {
    showError(error);
  }
});

/** Let the browser save something made here. */
export function save(blob, filename) {
  const address = URL.createObjectURL(blob);
  const link = h("a", { href: address, download: filename });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** What to do when the key may not do what was asked: the page is the same, and its bearer need not be. */
const another = () =>
  h("button", { type: "button", class: "plain", onclick: () => askKey("A key with this scope is needed.").then(() => location.reload()) },
    "Use another key");

/** An error, at the head of the page, in the service's own words. */
export function showError(error) {
  if (error.name === "AbortError") return;
  const notice = h("p", { class: "notice error", role: "alert" }, error.message, error.code === "forbidden" ? another() : null);
  find("main .notice.error[role=alert]")?.remove();
  find("main").prepend(notice);
  notice.scrollIntoView({ block: "nearest" });
}

/** Run a page; what goes wrong is said. */
export async function start(page) {
  try {
    await page();
  } catch (error) {
    showError(error);
    for (const loading of document.querySelectorAll("main [aria-busy] > .empty")) loading.remove();
    if (!(error instanceof Problem)) throw error;
  } finally {
    document.documentElement.dataset.ready = "";
    find("main").removeAttribute("aria-busy");
  }
}
