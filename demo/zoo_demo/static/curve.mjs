// The losses over a training's epochs, as an SVG.

import { t } from "./text.mjs";

const [WIDTH, HEIGHT, MARGIN, LEFT] = [560, 220, 44, 60];
const SVG = "http://www.w3.org/2000/svg";
const SERIES = { train_loss: "zoo-train", val_loss: "zoo-val" };

/** Draw a history of two or more epochs, on a logarithmic axis. */
export function curve(history) {
  const values = history.flatMap((row) => Object.keys(SERIES).map((name) => row[name])).filter((value) => value > 0);
  const [low, high] = [Math.log(Math.min(...values)), Math.log(Math.max(...values))];
  const epochs = history.map((row) => row.epoch);
  const [first, last] = [Math.min(...epochs), Math.max(...epochs)];
  const right = WIDTH - MARGIN;
  const bottom = HEIGHT - MARGIN;
  const x = (epoch) => LEFT + ((right - LEFT) * (epoch - first)) / (last - first || 1);
  const y = (value) => bottom - ((bottom - MARGIN) * (Math.log(value) - low)) / (high - low || 1);
  const svg = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "zoo-curve", role: "img", "aria-label": t("curve") });
  for (const value of [Math.exp(low), Math.exp((low + high) / 2), Math.exp(high)]) {
    svg.append(draw("line", { x1: LEFT, x2: right, y1: y(value), y2: y(value), class: "zoo-rule" }));
    svg.append(draw("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, value.toPrecision(2)));
  }
  for (const epoch of [first, last]) svg.append(draw("text", { x: x(epoch), y: bottom + 18, "text-anchor": "middle" }, epoch));
  svg.append(draw("text", { x: (LEFT + right) / 2, y: HEIGHT - 8, "text-anchor": "middle" }, t("epochs")));
  Object.entries(SERIES).forEach(([name, className], place) => {
    const points = history.filter((row) => row[name] > 0).map((row) => `${x(row.epoch)},${y(row[name])}`);
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
