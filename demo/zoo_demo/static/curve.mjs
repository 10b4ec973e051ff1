// The losses over a training's epochs, as an SVG.

import { t } from "./text.mjs";

const [WIDTH, HEIGHT, MARGIN, LEFT] = [560, 220, 44, 60];
const SVG = "http://www.w3.org/2000/svg";
const SERIES = { train_loss: "zoo-train", val_loss: "zoo-val" };

/** Draw a history of two or more epochs, on a logarithmic axis where all losses are positive; null where it has fewer. */
export function curve(history) {
  const values = history.flatMap(({ losses }) => Object.keys(SERIES).map((name) => losses[name])).filter(Number.isFinite);
  if (history.length < 2 || !values.length) return null;
  const [least, most] = values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [values[0], values[0]]);
  const [scale, unscale] = least > 0 ? [Math.log, Math.exp] : [Number, Number];
  const [low, high] = [scale(least), scale(most)];
  const epochs = history.map((row) => row.epoch);
  const [first, last] = [Math.min(...epochs), Math.max(...epochs)];
  const right = WIDTH - MARGIN;
  const bottom = HEIGHT - MARGIN;
  const x = (epoch) => LEFT + ((right - LEFT) * (epoch - first)) / (last - first || 1);
  const y = (value) => bottom - ((bottom - MARGIN) * (scale(value) - low)) / (high - low || 1);
  const svg = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "zoo-curve", role: "img", "aria-label": t("curve") });
  for (const value of [low, (low + high) / 2, high].map(unscale)) {
    svg.append(draw("line", { x1: LEFT, x2: right, y1: y(value), y2: y(value), class: "zoo-rule" }));
    svg.append(draw("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, value.toPrecision(2)));
  }
  for (const epoch of [first, last]) svg.append(draw("text", { x: x(epoch), y: bottom + 18, "text-anchor": "middle" }, epoch));
  svg.append(draw("text", { x: (LEFT + right) / 2, y: HEIGHT - 8, "text-anchor": "middle" }, t("epochs")));
  Object.entries(SERIES).forEach(([name, className], place) => {
    const points = history.filter(({ losses }) => name in losses).map(({ epoch, losses }) => `${x(epoch)},${y(losses[name])}`);
    svg.append(draw("polyline", { points: points.join(" "), class: className }));
    svg.append(draw("text", { x: right, y: 16 + 16 * place, "text-anchor": "end", class: className }, t(name)));
  });
  return svg;
}

function draw(tag, attributes, text = "") {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
}
