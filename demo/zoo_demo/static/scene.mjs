// What the map shows beneath its cursor: decoded images over the plane, and the test images' latents as dots.

import { toImage } from "./picture.mjs";

const DOT = 3;
const PALETTE = ["#4e79a7", "#f28e2b", "#e15759", "#76b7b2", "#59a14f", "#edc948", "#b07aa1", "#ff9da7", "#9c755f", "#bab0ac"];

/** The colour of the label in a place of `count`. */
export function colour(place, count) {
  return count <= PALETTE.length ? PALETTE[place] : `hsl(${(360 * place) / count} 65% 55%)`;
}

/** Images of a square grid, floats n·n·C·H·W, as one canvas. */
export function tiled(pixels, shape, grid) {
  const [channels, height, width] = shape;
  const size = channels * height * width;
  const canvas = new OffscreenCanvas(grid * width, grid * height);
  const context = canvas.getContext("2d");
  for (let cell = 0; cell < grid * grid; cell += 1) {
    const image = toImage(pixels.subarray(cell * size, (cell + 1) * size), shape);
    context.putImageData(image, (cell % grid) * width, Math.floor(cell / grid) * height);
  }
  return canvas;
}

/** Draw a square scene: the backdrop, where there is one, dimmed under the dots, where there are some: [x, y, colour]. */
export function drawScene(canvas, backdrop, dots) {
  const context = canvas.getContext("2d");
  const { width: side } = canvas;
  context.fillStyle = "#111";
  context.fillRect(0, 0, side, side);
  if (backdrop) {
    context.imageSmoothingEnabled = false;
    context.globalAlpha = dots.length ? 0.55 : 1;
    context.drawImage(backdrop, 0, 0, side, side);
    context.globalAlpha = 1;
  }
  for (const [x, y, style] of dots) {
    context.fillStyle = style;
    context.fillRect(x - DOT / 2, y - DOT / 2, DOT, DOT);
  }
}

/** Draw a cross-hair. */
export function mark(context, [x, y], style, radius) {
  Object.assign(context, { strokeStyle: style, lineWidth: 2 });
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.moveTo(x - 2 * radius, y);
  context.lineTo(x + 2 * radius, y);
  context.moveTo(x, y - 2 * radius);
  context.lineTo(x, y + 2 * radius);
  context.stroke();
}
