// Building blocks of the page: elements, controls, numbers. Text enters as text, never as HTML.

import { t } from "./text.mjs";

/** Make an element. `on…` properties become listeners; the rest properties or attributes. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && typeof value !== "string") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** A button, busy while its action runs. */
export function button(label, action, properties = {}) {
  const element = h("button", { type: "button", class: "zoo-button", ...properties }, label);
  element.addEventListener("click", () => whileBusy(element, action));
  return element;
}

/** Mark an element as busy while something runs; the style sheet shows it where that takes long. */
export async function whileBusy(element, run) {
  element.setAttribute("aria-busy", "true");
  try {
    await run();
  } finally {
    element.removeAttribute("aria-busy");
  }
}

/** A labelled control; the label's text stands before it. */
export function field(label, control) {
  return h("label", { class: "zoo-field" }, h("span", {}, label), control);
}

/** A labelled checkbox; the label's text stands behind it. */
export function checkbox(label, onchange, properties = {}) {
  const control = h("input", { type: "checkbox", onchange, ...properties });
  return { control, element: h("label", { class: "zoo-field zoo-check" }, control, h("span", {}, label)) };
}

/** A `<select>`; options are [value, text] pairs. */
export function select(options, value, onchange, properties = {}) {
  const element = h("select", { class: "zoo-select", onchange: () => onchange(element.value), ...properties });
  setOptions(element, options, value);
  return element;
}

/** Give a `<select>` other options; where it has no option of the value, the first is chosen. */
export function setOptions(element, options, value) {
  element.replaceChildren(...options.map(([key, text]) => h("option", { value: String(key) }, text)));
  element.value = String(value);
  if (element.selectedIndex < 0) element.selectedIndex = 0;
}

/** The options of a `<select>` of models: one's own, then the pretrained ones. */
export function modelOptions(cards) {
  return ["run", "pretrained"].map((source) => {
    const options = cards.filter((card) => card.source === source).map((card) => h("option", { value: card.id }, card.title));
    return options.length ? h("optgroup", { label: t(`source.${source}`) }, ...options) : null;
  }).filter(Boolean);
}

/** A component's name, with its weight in a sum of distortions. */
export function weighted({ name, weight = 1 }) {
  return weight === 1 ? name : `${weight} × ${name}`;
}

/** A number with three significant digits. */
export function short(value) {
  return Number.isFinite(value) ? String(Number(value.toPrecision(3))) : "–";
}

/** A number with two digits behind the point; nothing is −0.00. */
export function decimal(value) {
  return (Math.round(100 * value) / 100 + 0).toFixed(2);
}

/** Let the user save a blob as a file. */
export function save(blob, name) {
  const link = h("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
