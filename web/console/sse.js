// Server-sent events from a stream of text, as the standard cuts them. Pure; tested in web/test.
// EventSource itself is of no use here: it takes no Authorization header and hides the comments that say "I live".

/** A reader: give it text as it comes; it calls `onEvent(kind, data)` for each event. */
export function reader(onEvent) {
  let rest = "";
  let kind = "";
  let data = [];
  const line = (text) => {
    if (text === "") {
      if (data.length) onEvent(kind || "message", data.join("\n"));
      kind = "";
      data = [];
      return;
    }
    if (text.startsWith(":")) return;
    const colon = text.indexOf(":");
    const field = colon < 0 ? text : text.slice(0, colon);
    const value = colon < 0 ? "" : text.slice(colon + 1).replace(/^ /, "");
    if (field === "event") kind = value;
    if (field === "data") data.push(value);
  };
  return (text) => {
    rest += text;
    const lines = rest.split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    lines.forEach(line);
  };
}
