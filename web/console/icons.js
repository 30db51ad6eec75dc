// The few signs that the page draws itself. Shapes differ and not only colours, for those who see no difference in these.

import { h } from "./dom.js";

const icon = (size, box, ...parts) =>
  h("svg", { viewBox: box, width: size, height: size, "aria-hidden": "true", focusable: "false" }, ...parts);

export const crown = (size = 20) =>
  icon(size, "0 0 24 24", h("path", { class: "crown-shape", d: "M3 18.500V6.500l5.200 4.300L12 4l3.800 6.800L21 6.500v12z" }), h("path", { class: "crown-band", d: "M3 21h18" }));

/** How a member is: a disc (well), a ring half filled (worth a look), a cross (bad). */
export function dot(tone) {
  const inner = {
    good: [h("circle", { cx: 6, cy: 6, r: 4.5, class: "fill" })],
    watch: [h("circle", { cx: 6, cy: 6, r: 4, class: "ring" }), h("path", { d: "M6 2a4 4 0 0 0 0 8z", class: "fill" })],
    bad: [h("path", { d: "M2.500 2.500l7 7m0-7l-7 7", class: "cross" })],
  }[tone];
  return h("span", { class: `dot ${tone}` }, icon(12, "0 0 12 12", ...inner));
}

export const theme = (dark) =>
  icon(18, "0 0 24 24", dark
    ? h("path", { class: "line", d: "M12 3v2m0 14v2M3 12h2m14 0h2M5.600 5.600l1.400 1.400m10 10l1.400 1.400m0-12.800l-1.400 1.400m-10 10l-1.400 1.400M16 12a4 4 0 1 1-8 0 4 4 0 0 1 8 0z" })
    : h("path", { class: "line", d: "M20 14.500A8.500 8.500 0 0 1 9.500 4a8.500 8.500 0 1 0 10.500 10.500z" }));
