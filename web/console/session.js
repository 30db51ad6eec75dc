// Who the person at the page is, and what is asked of the agent: GETs, commands with their progress, the token's header.
// The token lies in this tab's sessionStorage and goes out in that header alone: there is no cookie to ride on.

const KEY = "dauphin.token";
/** Longest wait for an answer to a question; commands may take as long as they take. */
const READ_WAIT_MAX = 6000;

/** The agent that is asked now: "" is the one that the page came from. */
let base = "";
let token = stored();

function stored() {
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

export const session = {
  get base() {
    return base;
  },
  set base(url) {
    base = url;
  },
  get signedIn() {
    return token !== "";
  },
  signIn(given) {
    token = given;
    keep();
  },
  signOut() {
    token = "";
    keep();
  },
};

function keep() {
  try {
    if (token) sessionStorage.setItem(KEY, token);
    else sessionStorage.removeItem(KEY);
  } catch {
    // a browser that stores nothing: the token lives as long as the page
  }
}

/** The headers of a request: the token, if there is one. */
export function headers(more = {}) {
  return token ? { ...more, Authorization: `Bearer ${token}` } : more;
}

/** Why something was not done, in the agent's words. */
export class Refusal extends Error {
  constructor(status, { message, next, code } = {}) {
    super(message ?? `the agent answered ${status}`);
    this.status = status;
    this.next = next ?? "";
    this.code = code ?? "";
  }
}

/** A document. */
export async function get(path) {
  const answer = await fetch(base + path, { headers: headers(), signal: AbortSignal.timeout(READ_WAIT_MAX), cache: "no-store" });
  const document = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refusal(answer.status, document.error);
  return document;
}

/** Gives a command; `onLine` hears what is being done until the outcome is there. */
export async function post(path, body, onLine = () => {}) {
  let answer;
  try {
    answer = await fetch(base + path, {
      method: "POST",
      headers: headers({ "Content-Type": "application/json", Accept: "application/x-ndjson" }),
      body: JSON.stringify(body),
    });
  } catch {
    throw new Refusal(0, { message: "no agent was reached: nothing was asked", next: "wait until the page is live again" });
  }
  if (!answer.ok) throw new Refusal(answer.status, (await answer.json().catch(() => ({}))).error);
  const unknown = { message: "the answer broke off: the outcome is unknown", next: "see what the picture and the journal say" };
  let outcome = null;
  const line = (text) => {
    if (!text.trim()) return;
    const said = JSON.parse(text);
    if (said.progress !== undefined) onLine(said.progress);
    if (said.error) throw new Refusal(409, said.error);
    if (said.done) outcome = said.done;
  };
  let rest = "";
  const decoder = new TextDecoder();
  const stream = answer.body.getReader();
  for (;;) {
    const { value, done } = await stream.read().catch(() => {
      throw new Refusal(0, unknown);
    });
    rest += decoder.decode(value ?? new Uint8Array(), { stream: !done });
    const lines = rest.split("\n");
    rest = done ? "" : lines.pop();
    lines.forEach(line);
    if (done) break;
  }
  if (!outcome) throw new Refusal(0, unknown);
  return outcome;
}

/** Whether the agent takes this token: asked by a rehearsal of a change that changes nothing. */
export async function tokenIsTaken(given) {
  const answer = await fetch(`${base}v1/config`, {
    method: "POST",
    headers: { "Content-Type": "application/json", Authorization: `Bearer ${given}` },
    body: '{"dry_run":true}',
    signal: AbortSignal.timeout(READ_WAIT_MAX),
  });
  if (answer.status !== 401 && answer.status !== 403) return null;
  return new Refusal(answer.status, (await answer.json().catch(() => ({}))).error);
}
