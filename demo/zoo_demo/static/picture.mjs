// Pictures of images at pixel size, and of where two images differ.

import { h } from "./ui.mjs";

const TOO_BRIGHT = [239, 68, 68]; // as in page.css
const TOO_DARK = [59, 130, 246];

/** A picture of one image; `canvas.pixels` holds the floats it shows. Without a label, what holds it is named. */
export class Picture {
  constructor(label, className = "") {
    const name = label ? { role: "img", "aria-label": label } : { "aria-hidden": "true" };
    this.canvas = h("canvas", { class: `zoo-picture ${className}`, ...name });
  }

  /** Show pixels, float in [0, 1] or uint8, C·H·W. */
  show(pixels, shape) {
    this.canvas.pixels = pixels;
    this.#put(toImage(pixels, shape));
  }

  /** Show where a reconstruction is too bright (red) and too dark (blue). */
  showError(errors, [, height, width]) {
    this.canvas.pixels = errors;
    this.#put(toErrorImage(errors, height, width));
  }

  clear() {
    this.canvas.pixels = null;
    this.canvas.getContext("2d").clearRect(0, 0, this.canvas.width, this.canvas.height);
  }

  #put(image) {
    if (this.canvas.width !== image.width || this.canvas.height !== image.height) {
      this.canvas.width = image.width;
      this.canvas.height = image.height;
    }
    this.canvas.getContext("2d").putImageData(image, 0, 0);
    this.canvas.frames = (this.canvas.frames || 0) + 1;
  }
}

/** A picture over its caption. */
export function figure(picture, ...caption) {
  return h("figure", {}, picture.canvas, h("figcaption", { class: "zoo-key" }, ...caption));
}

/** What the colours of an error picture mean. */
export function colourKey(red, blue) {
  const entry = (className, text) => h("span", {}, h("span", { class: `zoo-swatch ${className}` }), text);
  return [entry("zoo-red", red), entry("zoo-blue", blue)];
}

/** Floats in [0, 1] or uint8, C·H·W, to ImageData: grey, RGB, or the channels' mean. */
export function toImage(pixels, [channels, height, width]) {
  const image = new ImageData(width, height);
  const area = height * width;
  const scale = pixels instanceof Uint8Array ? 1 : 255;
  for (let index = 0; index < area; index += 1) {
    for (let channel = 0; channel < 3; channel += 1) {
      const value = channels === 3 ? pixels[channel * area + index] : mean(pixels, index, area, channels);
      image.data[4 * index + channel] = Math.round(scale * value); // clamped by the array
    }
    image.data[4 * index + 3] = 255;
  }
  return image;
}

function mean(pixels, index, area, channels) {
  let sum = 0;
  for (let channel = 0; channel < channels; channel += 1) sum += pixels[channel * area + index];
  return sum / channels;
}

/** Signed errors H·W in [−1, 1]: red above zero, blue below, transparent at it. */
function toErrorImage(errors, height, width) {
  const image = new ImageData(width, height);
  errors.forEach((error, index) => {
    image.data.set(error > 0 ? TOO_BRIGHT : TOO_DARK, 4 * index);
    image.data[4 * index + 3] = Math.round(255 * Math.min(1, Math.abs(error)));
  });
  return image;
}

/** Reconstruction minus input, the mean over the channels: Float32Array H·W. */
export function signedError(reconstruction, image, [channels, height, width]) {
  const area = height * width;
  const errors = new Float32Array(area);
  for (let index = 0; index < area; index += 1) {
    for (let channel = 0; channel < channels; channel += 1) {
      const at = channel * area + index;
      errors[index] += (reconstruction[at] - image[at] / 255) / channels;
    }
  }
  return errors;
}
