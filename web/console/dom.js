// Elements from data, and the least change that makes what is shown what is wanted. All views use it; it knows no cluster.
// It never takes HTML as text, so nothing that a server says can become a script.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "g", "path", "line", "rect", "circle", "text", "title", "defs", "use", "clipPath"]);

/**
 * An element. `css` sets single properties (a style attribute is what the page's policy forbids), `key` names an element
 * among its siblings; false, null and undefined attributes and children are left out.
 */
export function h(tag, attributes, ...children) {
  const node = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === false || value === null || value === undefined) continue;
    if (name === "css") node.css = value;
    else if (name === "key") node.key = String(value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  if (node.css) dress(node, {}, node.css);
  append(node, children);
  return node;
}

/**
 * A keyed element that is made only when one of `things` is another one than last time: among hundreds, most stay as they are.
 */
export function later(tag, key, things, make) {
  const node = document.createElement(tag);
  node.key = String(key);
  node.later = { things, make };
  // found again where the element around it is new
  node.className = LATER;
  return node;
}

const LATER = "later";

function made(node) {
  const { things, make } = node.later;
  const whole = make();
  whole.key = node.key;
  whole.things = things;
  return whole;
}

const asBefore = (known, things) => known.things?.length === things.length && things.every((thing, index) => thing === known.things[index]);

function append(node, children) {
  for (const child of children) {
    if (child === false || child === null || child === undefined) continue;
    if (Array.isArray(child)) append(node, child);
    else node.append(child);
  }
}

function dress(node, before, css) {
  for (const name of Object.keys(before)) if (!(name in css)) node.style.removeProperty(name);
  for (const [name, value] of Object.entries(css)) if (before[name] !== value) node.style.setProperty(name, value);
}

/** Makes what is inside `place` like `wanted` (one element or several), keeping elements, focus and what is open. */
export function show(place, ...wanted) {
  const fragment = document.createDocumentFragment();
  append(fragment, wanted);
  children(place, [...fragment.childNodes]);
}

function children(place, wanted) {
  const keyed = new Map();
  for (const child of place.childNodes) if (child.key) keyed.set(child.key, child);
  let at = place.firstChild;
  for (const next of wanted) {
    const known = next.key ? keyed.get(next.key) : at && !at.key ? at : null;
    if (known && alike(known, next)) {
      if (known === at) at = at.nextSibling;
      else place.insertBefore(known, at);
      if (!next.later) patch(known, next);
      else if (!asBefore(known, next.later.things)) patch(known, made(next));
    } else {
      place.insertBefore(next.later ? made(next) : next, at);
      for (const inner of next.querySelectorAll?.(`.${LATER}`) ?? []) inner.replaceWith(made(inner));
    }
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
}

function alike(a, b) {
  return a.nodeType === b.nodeType && a.nodeName === b.nodeName && a.key === b.key;
}

function patch(node, next) {
  if (node.nodeType === Node.TEXT_NODE) {
    if (node.data !== next.data) node.data = next.data;
    return;
  }
  for (const { name } of [...node.attributes]) {
    // what a person opened stays open, and properties are no attributes of ours
    if (!next.hasAttribute(name) && name !== "style" && !kept(node, name)) node.removeAttribute(name);
  }
  for (const { name, value } of next.attributes) {
    if (name !== "style" && !kept(node, name) && node.getAttribute(name) !== value) node.setAttribute(name, value);
  }
  if (node.css || next.css) dress(node, node.css ?? {}, next.css ?? {});
  node.css = next.css;
  node.things = next.things;
  children(node, [...next.childNodes]);
}

function kept(node, name) {
  return (name === "open" && node.nodeName === "DETAILS") || (name === "value" && node.nodeName === "INPUT");
}
