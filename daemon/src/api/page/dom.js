// Elements from data. Text goes in as text, never as markup.

/** An element: `h("a.quiet", { href: "/" }, "text", other)`. Keys that begin with "on" are listeners; null children are left out. */
export function h(name, ...rest) {
  const [tag, ...classes] = name.split(".");
  const element = document.createElement(tag);
  if (classes.length > 0) element.className = classes.join(" ");
  const isElement = rest[0] instanceof Node || Array.isArray(rest[0]);
  if (rest[0] !== null && typeof rest[0] === "object" && !isElement) set(element, rest.shift());
  add(element, rest);
  return element;
}

function set(element, attributes) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
}

function add(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
}

/** Puts these children in the place of those that an element has. */
export function fill(element, ...children) {
  element.replaceChildren();
  add(element, children);
  return element;
}

/** As `fill`, and a control that has the focus keeps it if it is there again. */
export function refill(element, ...children) {
  const controls = () => [...element.querySelectorAll("a, button")];
  const before = controls();
  const at = before.indexOf(document.activeElement);
  fill(element, ...children);
  const again = controls()[at];
  if (again?.textContent === before[at]?.textContent) again?.focus();
}

/** Puts these children in the place of those that an element has. Those that stay are not moved: they keep focus, selection and what is open. */
export function update(element, children) {
  const wanted = new Set(children);
  for (const child of [...element.childNodes]) if (!wanted.has(child)) child.remove();
  let next = element.firstChild;
  for (const child of children) {
    if (child === next) next = next.nextSibling;
    else element.insertBefore(child, next);
  }
}

const SVG = "http://www.w3.org/2000/svg";

/** Lines of the icons, in a square of 16. */
const ICONS = {
  accepted: "M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11",
  recognizing: "M2.5 7v2M5.5 4.5v7M8.5 2.5v11M11.5 5v6M14 7v2",
  waiting: "M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11M8 5v3l2 1.5",
  completed: "M3 8.5l3.5 3.5L13 4.5",
  failed: "M4 4l8 8M12 4l-8 8",
  canceled: "M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11M4.2 4.2l7.6 7.6",
  paused: "M5.5 3.5v9M10.5 3.5v9",
  alert: "M8 2.5l6 11H2zM8 6.5v3.5M8 11.8v.2",
  play: "M5 3.5l7.5 4.5L5 12.5z",
};

/** An icon. It says nothing to a screen reader: a word stands beside it. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const path = document.createElementNS(SVG, "path");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", ICONS[name] ?? ICONS.accepted);
  svg.append(path);
  return svg;
}

/** Places an element from one part of its parent to another, in percent of the width. The policy of the page permits this, a style attribute not. */
export function across(element, from, to) {
  element.style.left = `${from}%`;
  element.style.width = `${Math.max(to - from, 0)}%`;
  return element;
}
