// Building blocks of the page: elements, pictures, strips, sliders. Text enters as text, never as HTML.

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

export function button(label, onclick, properties = {}) {
  return h("button", { type: "button", class: "zoo-button", onclick, ...properties }, label);
}

/** A labelled control; the label's text stands before it. */
export function field(label, control) {
  return h("label", { class: "zoo-field" }, h("span", {}, label), control);
}

/** A `<select>`; options are [value, text] pairs. */
export function select(options, value, onchange, properties = {}) {
  const element = h("select", { class: "zoo-select", onchange: () => onchange(element.value), ...properties });
  for (const [key, text] of options) element.append(h("option", { value: String(key) }, text));
  element.value = String(value);
  return element;
}

/** A picture of one image at pixel size; `canvas.pixels` holds the floats it shows. */
export class Picture {
  constructor(label, className = "") {
    this.canvas = h("canvas", { class: `zoo-picture ${className}`, role: "img", "aria-label": label });
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

/** Images in a row on one canvas; a click or an arrow key picks one. */
export class Strip {
  constructor(label, onpick = null) {
    const interactive = onpick ? { tabIndex: 0, role: "slider", "aria-valuemin": "0" } : { role: "img" };
    this.canvas = h("canvas", { class: "zoo-strip", "aria-label": label, ...interactive });
    this.count = 0;
    this.picked = 0;
    if (!onpick) return;
    const pick = (index) => {
      this.picked = Math.min(this.count - 1, Math.max(0, index));
      this.canvas.setAttribute("aria-valuenow", this.picked);
      onpick(this.picked);
    };
    this.canvas.addEventListener("click", (event) => {
      const box = this.canvas.getBoundingClientRect();
      pick(Math.floor(((event.clientX - box.left) / box.width) * this.count));
    });
    this.canvas.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      pick(this.picked + step);
    });
  }

  /** Show k images, floats k·C·H·W. */
  show(pixels, shape) {
    const [channels, height, width] = shape;
    const size = channels * height * width;
    this.count = pixels.length / size;
    this.canvas.width = this.count * (width + 1) - 1;
    this.canvas.height = height;
    this.canvas.setAttribute("aria-valuemax", this.count - 1);
    const context = this.canvas.getContext("2d");
    for (let index = 0; index < this.count; index += 1) {
      context.putImageData(toImage(pixels.subarray(index * size, (index + 1) * size), shape), index * (width + 1), 0);
    }
  }
}

/** Run the newest of many requests, one at a time: nothing old is shown after something new. */
export class Latest {
  constructor(run) {
    this.run = run;
    this.waiting = null;
    this.busy = false;
  }

  async request(value) {
    this.waiting = { value };
    if (this.busy) return;
    this.busy = true;
    try {
      while (this.waiting) {
        const { value: newest } = this.waiting;
        this.waiting = null;
        await this.run(newest);
      }
    } finally {
      this.busy = false;
    }
  }
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
    image.data.set(error > 0 ? [220, 38, 38] : [37, 99, 235], 4 * index);
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

/** A number with three significant digits. */
export function short(value) {
  return Number.isFinite(value) ? String(Number(value.toPrecision(3))) : "–";
}

/** Let the user save a blob as a file. */
export function save(blob, name) {
  const link = h("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
