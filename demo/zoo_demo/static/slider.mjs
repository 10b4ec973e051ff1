// One latent dimension: a slider over a strip of what it does, each image under the place of the thumb that gives it.

import { Strip } from "./strip.mjs";
import { t } from "./text.mjs";
import { decimal, h, short } from "./ui.mjs";

const STRIP_STEPS = 11;
const KEY_STEPS = 50; // from end to end by arrow key
const FINE_KEY_STEPS = 1000; // with Shift
const DIRECTIONS = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 };

export class LatentSlider {
  /** `onmove` gets each value that the user chooses. */
  constructor(dim, name, { low, high, std }, onmove) {
    this.dim = dim;
    this.value = null;
    this.usual = { low, high };
    this.onmove = onmove;
    const id = `zoo-slider-${dim}`;
    this.output = h("output", { for: id });
    this.slider = h("input", { id, type: "range", step: "any", oninput: () => onmove(Number(this.slider.value)) });
    this.slider.addEventListener("keydown", (event) => this.#step(event));
    this.strip = new Strip(t("stripOf", name), (share) => onmove(this.low + share * (this.high - this.low)));
    const label = h("label", { for: id, title: t("spread", short(std)) }, name);
    this.element = h("div", { class: "zoo-slider" }, label, this.slider, this.output, this.strip.element);
    this.fit(low);
  }

  /** Widen the usual range so far that it holds a value: a sample may lie outside. */
  fit(value) {
    this.low = Math.min(this.usual.low, value);
    this.high = Math.max(this.usual.high, value);
    this.slider.min = String(this.low);
    this.slider.max = String(this.high);
  }

  show(value) {
    this.value = value;
    this.slider.value = String(value);
    this.slider.setAttribute("aria-valuetext", decimal(value));
    this.output.textContent = decimal(value);
    this.strip.mark((value - this.low) / (this.high - this.low));
  }

  /** A latent with this dimension from its low to its high end, the others as they are: Float32Array k·d. */
  traverse(latent) {
    const latents = new Float32Array(STRIP_STEPS * latent.length);
    for (let step = 0; step < STRIP_STEPS; step += 1) {
      latents.set(latent, step * latent.length);
      latents[step * latent.length + this.dim] = this.low + ((this.high - this.low) * step) / (STRIP_STEPS - 1);
    }
    return latents;
  }

  /** The slider's own steps are as fine as its pixels: too fine for keys. */
  #step(event) {
    const direction = DIRECTIONS[event.key];
    if (!direction) return;
    event.preventDefault();
    const step = (this.high - this.low) / (event.shiftKey ? FINE_KEY_STEPS : KEY_STEPS);
    this.onmove(Math.min(this.high, Math.max(this.low, Number(this.slider.value) + direction * step)));
  }
}
