// The journal as a timeline, newest first, and the explanation beside it: an act's story, or why a member does not lead.
// It shows what the agents wrote, sentence by sentence.

import { h } from "./dom.js";
import { grave, questions, sentence } from "./foretold.js";
import { evidence, matching, since, tone } from "./story.js";
import { clock, dayAndClock } from "./words.js";

/** The timeline: `shown` entries that match `filter`; `chosen` is the one that is explained. */
export function timeline(entries, { filter, shown, chosen }) {
  const found = matching(entries, filter);
  const latest = found.slice(-shown).reverse();
  if (!latest.length) return h("p", { class: "empty" }, entries.length ? "Nothing in the journal matches." : "The journal is empty.");
  const rows = [];
  let term = null;
  for (const entry of latest) {
    if (entry.term !== term) rows.push(h("li", { class: "term", key: `term-${entry.term}-${entry.id}` }, `term ${entry.term}`));
    term = entry.term;
    rows.push(row(entry, chosen));
  }
  return [
    h("ol", { class: "timeline", "aria-label": "Decisions, newest first" }, rows),
    found.length > shown && h("button", { type: "button", class: "plain", "data-act": "older" }, `Show older (${found.length - shown} more)`),
  ];
}

function row(entry, chosen) {
  const current = chosen === entry.id;
  return h("li", { class: `entry ${tone(entry)}`, key: `${entry.id}/${entry.member}` },
    h("button", { type: "button", "data-act": "explain", "data-id": entry.id, "aria-pressed": String(current), title: `#${entry.id}: explain` },
      h("time", { datetime: entry.at }, clock(entry.id / 1000)),
      h("span", { class: "who" }, entry.member),
      h("span", { class: "what" }, entry.text)));
}

/** What can be asked, and the answer. */
export function why({ cluster, asked, explanation, foretold, error }) {
  const members = cluster?.members ?? [];
  const question = (act, label, pressed, data) => h("button", { type: "button", class: "ask", "data-act": act, "aria-pressed": String(pressed), ...data }, label);
  return [
    h("div", { class: "asks", role: "group", "aria-label": "Questions" },
      question("explain", "What happened last?", asked.kind === "last", {}),
      members.map((m) => question("explain-member", m.name === cluster.leader ? `Why does ${m.name} lead?` : `Why is ${m.name} not leader?`,
        asked.kind === "member" && asked.member === m.name, { "data-member": m.name, key: m.name })),
      questions(cluster).map((q) => question("what-if", q.text, asked.kind === "what-if" && asked.query === q.query, { "data-query": q.query, key: q.query }))),
    error && h("p", { class: "notice bad" }, error.message, error.next && h("span", { class: "next" }, error.next)),
    explanation && h("div", { class: "answer", "aria-live": "polite", "aria-atomic": "true" }, h("div", { class: "summary" }, sentences(explanation.summary).map((text) => h("p", null, text)))),
    explanation?.entries.length > 0 && steps(explanation.entries),
    foretold && future(foretold),
    !explanation && !foretold && !error && h("p", { class: "empty" }, "Choose a decision in the journal, or a question."),
  ];
}

/** How it would end, the most frequent end first, and what the simulation cannot know. */
function future(foretold) {
  return h("div", { class: "answer", "aria-live": "polite", "aria-atomic": "true" },
    h("div", { class: `summary foretold ${grave(foretold) ? "grave" : ""}` }, foretold.ends.map((end) => h("p", null, sentence(foretold, end)))),
    h("p", { class: "quiet" }, `Simulated ${foretold.draws} times by the code that decides in earnest; nothing was touched.`),
    h("ul", { class: "notes" }, foretold.notes.map((note) => h("li", { class: "quiet" }, note))));
}

/** The agent's sentences, one by one. */
function sentences(text) {
  return text.split(/(?<=\.) (?=\S)/).map((sentence) => sentence.trim()).filter(Boolean);
}

function steps(entries) {
  const first = entries[0];
  return [
    h("p", { class: "quiet" }, `${entries.length === 1 ? "The decision" : `${entries.length} decisions`} it rests on, from ${dayAndClock(first.id / 1000)}`),
    h("ol", { class: "steps" }, entries.map((entry) => h("li", { class: tone(entry), key: `${entry.id}/${entry.member}` },
      h("span", { class: "offset" }, since(entry, first)),
      h("div", null,
        h("p", null, h("strong", null, entry.member), " ", entry.text),
        details(entry))))),
  ];
}

function details(entry) {
  const fields = evidence(entry);
  if (!fields.length) return null;
  return h("details", null, h("summary", null, "evidence"),
    h("dl", null, fields.map(([name, value]) => [h("dt", null, name), h("dd", null, value)]),
      h("dt", null, "decision"), h("dd", null, `#${entry.id}`)));
}
