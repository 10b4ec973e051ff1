// A pad to draw a digit on, with mouse, finger or keyboard; centred and scaled as MNIST's digits are.

import { t } from "./text.mjs";
import { button, h } from "./ui.mjs";

const SIDE = 280; // the pad's own pixels
const PEN = 22;
const KEY_STEP = 10;
const BOX = 20 / 28; // MNIST: the digit fits a box of 20 in 28 pixels, its centre of mass in the middle

export class DrawingPad {
  /** `onchange` is called after each stroke, and when the pad was cleared. */
  constructor(onchange) {
    this.onchange = onchange;
    this.canvas = h("canvas", {
      class: "zoo-pad",
      width: SIDE,
      height: SIDE,
      tabIndex: 0,
      role: "application",
      "aria-label": t("padLabel"),
    });
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
    this.tip = h("span", { class: "zoo-pad-pen" });
    this.frame = h("div", { class: "zoo-pad-frame" }, this.canvas, h("span", { class: "zoo-pad-invitation" }, t("drawHere")), this.tip);
    this.element = h(
      "fieldset",
      {},
      h("legend", {}, t("draw")),
      this.frame,
      h("div", { class: "zoo-buttons" }, button(t("clear"), () => this.clear())),
      h("p", { class: "zoo-hint" }, t("drawHint")),
    );
    this.#wipe();
    this.#listenToPointer();
    this.#listenToKeys();
  }

  clear() {
    this.#wipe();
    this.onchange();
  }

  /** The drawing as a model of this shape takes it: Uint8Array C·H·W. */
  image([channels, height, width]) {
    const grey = centred(this.canvas, width, height);
    const image = new Uint8Array(channels * grey.length);
    for (let channel = 0; channel < channels; channel += 1) image.set(grey, channel * grey.length);
    return image;
  }

  #wipe() {
    this.context.fillStyle = "black";
    this.context.fillRect(0, 0, SIDE, SIDE);
    this.#setDrawn(false);
    this.#movePen([SIDE / 2, SIDE / 2]);
  }

  #listenToPointer() {
    const { canvas } = this;
    let last = null;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || !event.isPrimary) return;
      canvas.setPointerCapture(event.pointerId);
      last = this.#at(event);
      this.#line(last, last);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!last || !event.isPrimary) return;
      for (const moved of event.getCoalescedEvents?.() ?? [event]) {
        const next = this.#at(moved);
        this.#line(last, next);
        last = next;
      }
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (last = null));
  }

  #listenToKeys() {
    const steps = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
    this.canvas.addEventListener("keydown", (event) => {
      if (event.key === "Delete" || event.key === "Backspace") this.clear();
      const step = steps[event.key];
      if (!step) return;
      event.preventDefault();
      const from = this.pen;
      this.#movePen(from.map((value, axis) => Math.min(SIDE, Math.max(0, value + KEY_STEP * step[axis]))));
      if (!event.shiftKey) this.#line(from, this.pen);
    });
  }

  #at(event) {
    const box = this.canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * SIDE, ((event.clientY - box.top) / box.height) * SIDE];
  }

  /** Move the pen of the keyboard, which is seen while the keyboard has the pad. */
  #movePen([x, y]) {
    this.pen = [x, y];
    this.tip.style.left = `${(100 * x) / SIDE}%`;
    this.tip.style.top = `${(100 * y) / SIDE}%`;
  }

  #line(from, to) {
    Object.assign(this.context, { strokeStyle: "white", lineWidth: PEN, lineCap: "round", lineJoin: "round" });
    this.context.beginPath();
    this.context.moveTo(...from);
    this.context.lineTo(...to);
    this.context.stroke();
    this.#setDrawn(true);
    this.onchange();
  }

  #setDrawn(drawn) {
    this.drawn = drawn;
    this.frame.dataset.drawn = String(drawn);
  }
}

/** White ink on black, fitted into the box and moved to its centre of mass: Uint8Array H·W. */
function centred(drawing, width, height) {
  const ink = boundingBox(drawing);
  const small = new OffscreenCanvas(width, height);
  const context = small.getContext("2d", { willReadFrequently: true });
  Object.assign(context, { fillStyle: "black", imageSmoothingEnabled: true, imageSmoothingQuality: "high" });
  const scale = (BOX * Math.min(width, height)) / Math.max(ink.width, ink.height, 1);
  const size = [Math.max(1, ink.width * scale), Math.max(1, ink.height * scale)];
  const place = (x, y) => {
    context.fillRect(0, 0, width, height);
    if (ink.width) context.drawImage(drawing, ink.left, ink.top, ink.width, ink.height, x, y, ...size);
    return greys(context, width, height);
  };
  const corner = [(width - size[0]) / 2, (height - size[1]) / 2];
  const [x, y] = centreOfMass(place(...corner), width, height);
  return place(corner[0] + Math.round((width - 1) / 2 - x), corner[1] + Math.round((height - 1) / 2 - y));
}

function greys(context, width, height) {
  const { data } = context.getImageData(0, 0, width, height);
  return Uint8Array.from({ length: width * height }, (_, index) => data[4 * index]);
}

function boundingBox(drawing) {
  const grey = greys(drawing.getContext("2d"), SIDE, SIDE);
  let [left, top, right, bottom] = [SIDE, SIDE, -1, -1];
  grey.forEach((value, index) => {
    if (!value) return;
    const [x, y] = [index % SIDE, Math.floor(index / SIDE)];
    [left, top, right, bottom] = [Math.min(left, x), Math.min(top, y), Math.max(right, x), Math.max(bottom, y)];
  });
  return { left, top, width: Math.max(0, right - left + 1), height: Math.max(0, bottom - top + 1) };
}

function centreOfMass(grey, width, height) {
  let [sum, x, y] = [0, 0, 0];
  grey.forEach((value, index) => {
    sum += value;
    x += value * (index % width);
    y += value * Math.floor(index / width);
  });
  return sum ? [x / sum, y / sum] : [(width - 1) / 2, (height - 1) / 2];
}
