// The dialog: a member's facts, an act with what it will do and its outcome, signing in, a silence. One at a time; the
// browser's own dialog element keeps the focus inside. It gives commands and tells what the agent answered.

import { h, show } from "./dom.js";
import * as members from "./members.js";
import { candidates, plan, unfit } from "./plan.js";
import { Refusal, post, session, tokenIsTaken } from "./session.js";

const DURATIONS = [["900", "15 minutes"], ["3600", "1 hour"], ["7200", "2 hours"], ["28800", "8 hours"], ["86400", "1 day"], ["604800", "1 week"]];

/** The dialog; `world()` gives the page's state, `on.changed` is called when a command or a sign-in changed something. */
export function makeSheet(dialog, world, on) {
  let is = null;

  const render = () => {
    if (!is) return;
    const { cluster, pending } = world();
    const views = { member: () => members.sheet(cluster, is.member, pending), act: () => act(is, cluster), "sign-in": () => signIn(is), silence: () => silence(is), told: () => told(is) };
    show(dialog, h("div", { class: "body", key: is.kind }, views[is.kind]()));
  };

  const open = (what) => {
    is = { typed: "", lines: [], phase: "ask", ...what };
    dialog.replaceChildren();
    render();
    if (!dialog.open) dialog.showModal();
    dialog.querySelector("[data-first]")?.focus();
  };
  const close = () => dialog.open && dialog.close();

  const run = async (request, done) => {
    const mine = is;
    const say = (more) => {
      Object.assign(mine, more);
      if (is === mine) render();
    };
    say({ phase: "running", lines: [], error: null });
    try {
      const outcome = await post(request.path, request.body, (line) => say({ lines: [...mine.lines, line].slice(-6) }));
      say({ phase: "done", outcome });
      on.said(outcome.message);
      done?.();
    } catch (error) {
      say({ phase: "failed", error: error instanceof Refusal ? error : new Refusal(0, { message: String(error) }) });
      on.said(`Not done: ${mine.error.message}`);
    }
    on.changed();
    if (is === mine && mine.phase === "failed") dialog.querySelector("[data-outcome]")?.focus();
  };

  dialog.addEventListener("close", () => {
    is = null;
    on.closed();
  });
  dialog.addEventListener("click", (event) => event.target === dialog && is?.phase !== "running" && close());
  dialog.addEventListener("input", (event) => {
    const name = event.target.name;
    if (!is || !name) return;
    if (name === "accept") is.args.accept = event.target.checked;
    else if (name === "heir") is.args.member = event.target.value || null;
    else is[name] = event.target.value;
    render();
  });
  dialog.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!is) return;
    if (is.kind === "sign-in") enter();
    if (is.kind === "act") {
      const wanted = plan(is.act, world().cluster, is.args);
      if (!wanted.word || is.typed.trim() === wanted.word) run(wanted.request);
    }
    if (is.kind === "silence") {
      const body = { member: is.member ?? null, kind: is.what ?? null, seconds: Number(is.seconds), by: is.by ?? "", because: is.because ?? "" };
      run({ path: "v1/alerts/silence", body }, close);
    }
  });

  const enter = async () => {
    const mine = is;
    const given = mine.token.trim();
    mine.phase = "running";
    mine.error = null;
    render();
    try {
      mine.error = await tokenIsTaken(given);
    } catch {
      mine.error = new Refusal(0, { message: "no agent was reached to check the token", next: "try again when the page is live" });
    }
    if (is !== mine) return;
    mine.phase = "ask";
    if (mine.error) {
      render();
      on.said(`Not signed in: ${mine.error.message}`);
      return;
    }
    session.signIn(given);
    on.said("Signed in: this page may act.");
    on.changed();
    if (mine.then) open(mine.then);
    else close();
  };

  return { open, close, render, get kind() { return is?.kind ?? null; }, get current() { return is; } };
}

const textField = (name, label, value, more = {}) =>
  h("label", { class: "field" }, h("span", null, label), h("input", { type: "text", name, autocomplete: "off", spellcheck: "false", ...more }));

function act(is, cluster) {
  const wanted = plan(is.act, cluster, is.args);
  const over = is.phase === "done" || is.phase === "failed";
  const ready = !wanted.word || is.typed.trim() === wanted.word;
  return h("form", { class: `act ${wanted.danger ? "dangerous" : ""}` },
    h("h2", { id: "sheet-title" }, wanted.title),
    is.phase === "ask" && [
      is.act === "switchover" && heirs(is, cluster),
      h("p", { class: "quiet" }, "This is what will happen:"),
      h("ol", { class: "will" }, wanted.steps.map((step) => h("li", null, step))),
      wanted.mayAccept && h("label", { class: "check" }, h("input", { type: "checkbox", name: "accept" }), h("span", null, "Accept that acknowledged commits may be lost")),
      wanted.warnings.map((text) => h("p", { class: `notice ${wanted.danger ? "bad" : "watch"}` }, text)),
      wanted.word && h("label", { class: "field" }, h("span", null, "Type ", h("strong", { class: "mono" }, wanted.word), " to go on"),
        h("input", { type: "text", name: "typed", autocomplete: "off", spellcheck: "false", autocapitalize: "off" })),
      !session.signedIn && viewer(),
    ],
    is.phase === "running" && h("div", { class: "running", role: "status" }, h("span", { class: "bar", "aria-hidden": "true" }),
      is.lines.length ? h("ul", null, is.lines.map((line) => h("li", null, line))) : h("p", null, "Asked. The answer comes when it is done.")),
    is.phase === "done" && h("div", { class: "notice good", "data-outcome": true, tabindex: "-1" }, is.outcome.message,
      is.outcome.gap_ms !== null && is.outcome.gap_ms !== undefined && h("span", { class: "next" }, `Clients could not write for at most ${is.outcome.gap_ms} ms.`),
      is.outcome.lost && h("span", { class: "next" }, `Lost: ${is.outcome.lost}`)),
    is.phase === "failed" && refused(is.error),
    h("div", { class: "buttons" },
      is.phase === "ask" && h("button", { type: "submit", class: wanted.danger ? "danger solid" : "solid", disabled: !ready, "data-first": !wanted.danger && is.act !== "switchover" }, wanted.button),
      is.phase === "failed" && (is.error.status === 401 || is.error.status === 403) && h("button", { type: "button", class: "solid", "data-act": "sign-in" }, "Sign in…"),
      h("button", { type: "button", class: "plain", "data-act": "close", "data-first": wanted.danger }, over ? "Close" : is.phase === "running" ? "Leave it running" : "Cancel")));
}

const viewer = () =>
  h("p", { class: "notice watch" }, "You are a viewer: without the token this will be refused. ",
    h("button", { type: "button", class: "plain inline", "data-act": "sign-in" }, "Sign in…"));

function refused(error) {
  const why = { 401: "Refused: you are a viewer. ", 403: "Refused: the token is not taken. " }[error.status] ?? "";
  return h("div", { class: "notice bad", "data-outcome": true, tabindex: "-1", role: "alert" }, `${why}${error.message}`, error.next && h("span", { class: "next" }, error.next));
}

function told(is) {
  return [h("h2", { id: "sheet-title" }, "Not done"), refused(is.error),
    h("div", { class: "buttons" }, h("button", { type: "button", class: "plain", "data-act": "close", "data-first": true }, "Close"))];
}

function heirs(is, cluster) {
  const choices = [[null, "whoever is placed best", null], ...candidates(cluster).map((m) => [m.name, m.name, unfit(m)])];
  return h("fieldset", { class: "heirs" }, h("legend", null, "Next leader"),
    choices.map(([value, label, against], index) => {
      const checked = (is.args.member ?? null) === value;
      return h("label", { class: checked ? "chosen" : "" },
        h("input", { type: "radio", name: "heir", value: value ?? "", checked, "data-first": checked }),
        h("span", null, label, against && h("span", { class: "quiet" }, ` ${against}`), !against && index > 0 && h("span", { class: "quiet" }, " ready")));
    }));
}

function signIn(is) {
  return h("form", { class: "act" },
    h("h2", { id: "sheet-title" }, "Sign in"),
    h("p", null, "Without the cluster's token this page is a viewer: it shows everything and changes nothing."),
    h("label", { class: "field" }, h("span", null, "Token"),
      h("input", { type: "password", name: "token", autocomplete: "off", spellcheck: "false", "data-first": true, required: true })),
    h("p", { class: "quiet" }, "The file ", h("code", null, "token"), " in a member's state_dir holds it; in the lab, ", h("code", null, "api.token"), " of ", h("code", null, "dauphin lab show --json"),
      ". It stays in this tab, and is sent to the members' agents alone."),
    location.protocol === "http:" && !/^(localhost|127\.|\[::1\])/.test(location.host) && h("p", { class: "notice watch" }, "This connection is not encrypted: who listens on the way can take the token. Use an SSH tunnel or a TLS proxy."),
    is.error && refused(is.error),
    h("div", { class: "buttons" },
      h("button", { type: "submit", class: "solid", disabled: is.phase === "running" }, is.phase === "running" ? "Asking…" : "Sign in"),
      h("button", { type: "button", class: "plain", "data-act": "close" }, "Stay a viewer")));
}

function silence(is) {
  return h("form", { class: "act" },
    h("h2", { id: "sheet-title" }, "Silence ", is.member ?? "the cluster", is.what ? ` (${is.what})` : ""),
    h("p", null, "What is silenced is not told to anybody, and still shown here. What lasts when the silence ends is told then."),
    is.phase !== "done" && [
      h("label", { class: "field" }, h("span", null, "For"),
        h("select", { name: "seconds", "data-first": true }, DURATIONS.map(([value, label]) => h("option", { value, selected: value === is.seconds }, label)))),
      textField("because", "Why", is.because, { required: true, maxlength: "200" }),
      textField("by", "Who you are", is.by, { maxlength: "60" }),
      !session.signedIn && viewer(),
    ],
    is.phase === "failed" && refused(is.error),
    h("div", { class: "buttons" },
      h("button", { type: "submit", class: "solid", disabled: is.phase === "running" }, "Silence"),
      h("button", { type: "button", class: "plain", "data-act": "close" }, "Cancel")));
}
