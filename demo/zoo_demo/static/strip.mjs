// Images in a row, of which one is picked.

import { toImage } from "./picture.mjs";
import { t } from "./text.mjs";
import { h } from "./ui.mjs";

const ALMOST = 1e-4; // of an image: where arithmetic ends that means a whole one

/** Images in a row on one canvas; a click or a key picks one. All are told by their share of the way, 0 to 1. */
export class Strip {
  constructor(label, onpick) {
    this.onpick = onpick;
    this.canvas = h("canvas", {
      class: "zoo-strip",
      role: "slider",
      tabIndex: 0,
      "aria-label": label,
      "aria-valuemin": "0",
      "aria-valuemax": "0",
      "aria-valuenow": "0",
    });
    this.frame = h("span", { class: "zoo-strip-mark" });
    this.element = h("div", { class: "zoo-strip-row" }, this.canvas, this.frame);
    this.count = 1;
    this.share = 0;
    this.#listen();
  }

  /** Show k images, floats k·C·H·W. */
  show(pixels, shape) {
    const [channels, height, width] = shape;
    const size = channels * height * width;
    this.count = pixels.length / size;
    this.canvas.width = this.count * (width + 1) - 1;
    this.canvas.height = height;
    const context = this.canvas.getContext("2d");
    for (let index = 0; index < this.count; index += 1) {
      context.putImageData(toImage(pixels.subarray(index * size, (index + 1) * size), shape), index * (width + 1), 0);
    }
    this.#mark();
  }

  /** Frame the image nearest to a share of the way. */
  mark(share) {
    this.share = share;
    this.#mark();
  }

  #mark() {
    const nearest = Math.round(this.share * (this.count - 1));
    this.frame.style.left = `${(100 * nearest) / this.count}%`;
    this.frame.style.width = `${100 / this.count}%`;
    this.canvas.setAttribute("aria-valuemax", this.count - 1);
    this.canvas.setAttribute("aria-valuenow", nearest);
    this.canvas.setAttribute("aria-valuetext", t("stripImage", nearest + 1, this.count));
  }

  #listen() {
    const pick = (index) => this.onpick(Math.min(this.count - 1, Math.max(0, index)) / (this.count - 1 || 1));
    this.canvas.addEventListener("click", (event) => {
      const box = this.canvas.getBoundingClientRect();
      pick(Math.floor(((event.clientX - box.left) / box.width) * this.count));
    });
    this.canvas.addEventListener("keydown", (event) => {
      const at = this.share * (this.count - 1);
      const next = Math.floor(at + ALMOST) + 1;
      const previous = Math.ceil(at - ALMOST) - 1;
      const index = { ArrowRight: next, ArrowUp: next, ArrowLeft: previous, ArrowDown: previous, Home: 0, End: this.count - 1 }[event.key];
      if (index === undefined) return;
      event.preventDefault();
      pick(index);
    });
  }
}
