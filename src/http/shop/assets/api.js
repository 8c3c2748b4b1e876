// Talking to /v1. Every change carries an Idempotency-Key and is repeated with the same key when the answer was lost,
// so a bad connection, a double click or a reload never does anything twice.

export class Problem extends Error {
  constructor(facts) {
    super(facts.detail ?? facts.title ?? facts.code);
    Object.assign(this, facts);
  }
}

const ATTEMPTS_MAX = 6;
const ANSWER_TIMEOUT_MS = 20_000;
const PAUSE_MAX_MS = 5_000;

export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export const get = (path) => call("GET", path);
export const post = (path, body, options) => call("POST", path, body, options);
export const put = (path, body, options) => call("PUT", path, body, options);

// Answers the body; throws a Problem. Retries what the server calls retryable and what got no answer at all.
async function call(method, path, body, { key = newKey(), headers = {} } = {}) {
  const request = { method, headers: { accept: "application/json", ...headers } };
  if (method !== "GET") request.headers["idempotency-key"] = key;
  if (body !== undefined) {
    request.headers["content-type"] = "application/json";
    request.body = JSON.stringify(body);
  }
  for (let attempt = 1; ; attempt += 1) {
    const { answer, problem, retryAfterMs } = await once(path, request);
    if (!problem) return answer;
    const patient = method === "GET" ? 2 : ATTEMPTS_MAX;
    if (!problem.retryable || attempt >= patient) throw problem;
    await pause(retryAfterMs ?? Math.min(PAUSE_MAX_MS, 250 * 2 ** attempt) * (0.5 + Math.random() / 2));
  }
}

async function once(path, request) {
  try {
    const response = await fetch(path, { ...request, signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS) });
    reachable(true);
    const answer = response.status === 204 ? null : await response.json();
    if (response.ok) return { answer };
    const after = Number(response.headers.get("retry-after"));
    return { problem: new Problem(answer), retryAfterMs: after > 0 ? Math.min(after, 10) * 1000 : undefined };
  } catch (error) {
    reachable(navigator.onLine && !(error instanceof TypeError));
    return { problem: new Problem({ code: "offline", retryable: true, outcome: "unknown", detail: String(error) }) };
  }
}

// Tells the page whether the shop answers.
function reachable(yes) {
  document.getElementById("offline").hidden = yes;
}

addEventListener("offline", () => reachable(false));
addEventListener("online", () => reachable(true));

// Follows a stream of events; the browser reconnects by itself and names the last event it saw. Answers how to stop.
export function follow(path, heard) {
  const source = new EventSource(path);
  const listen = (event) => heard(event.data);
  for (const name of ["message", "stock", "order", "state", "history"]) source.addEventListener(name, listen);
  return () => source.close();
}
