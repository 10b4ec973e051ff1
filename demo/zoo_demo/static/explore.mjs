// Explore: one slider a latent dimension, and what the decoder makes of it.

import { t } from "./text.mjs";
import { Latest, Picture, Strip, button, h, short } from "./ui.mjs";

const OPEN_SLIDERS = 16; // the dimensions beyond are folded away
const STRIP_STEPS = 11;
const STRIP_DELAY = 150; // ms without a change before the strips are drawn again

export class Explore {
  constructor(app) {
    this.app = app;
    this.picture = new Picture(t("decoded"), "zoo-large");
    this.sliders = h("div", { class: "zoo-sliders" });
    this.prior = button(t("prior"), () => app.attempt(() => this.#prior()));
    this.sample = button(t("fromSample"), () => app.attempt(() => this.#fromSample()));
    this.element = h(
      "div",
      { class: "zoo-explore" },
      h(
        "div",
        { class: "zoo-stage" },
        this.picture.canvas,
        h(
          "div",
          { class: "zoo-buttons" },
          button(t("reset"), () => app.attempt(() => this.#reset())),
          button(t("random"), () => app.attempt(() => this.#random())),
          this.sample,
          this.prior,
        ),
        h("p", { class: "zoo-hint" }, t("exploreHint")),
      ),
      this.sliders,
    );
    this.frames = new Latest((latent) => this.#draw(latent));
    this.strips = new Latest((latent) => this.#drawStrips(latent));
    app.addEventListener("latent", ({ detail }) => this.#follow(detail));
  }

  async show(model) {
    this.space = await model.space();
    this.prior.hidden = !model.card.has_prior;
    this.sample.hidden = !this.space.available;
    this.rows = this.space.order.map((dim) => this.#row(dim));
    const open = this.rows.slice(0, OPEN_SLIDERS).map((row) => row.element);
    const folded = this.rows.slice(OPEN_SLIDERS).map((row) => row.element);
    const more = h("details", {}, h("summary", {}, t("moreDims", folded.length)), ...folded);
    more.addEventListener("toggle", () => this.#later());
    this.sliders.replaceChildren(...open, ...(folded.length ? [more] : []));
    this.#follow();
  }

  #row(dim) {
    const { low, high, std } = this.space.dims[dim];
    const id = `zoo-slider-${dim}`;
    const value = h("output", { for: id });
    const slider = h("input", {
      id,
      type: "range",
      min: String(low),
      max: String(high),
      step: String((high - low) / 1000 || 0.001),
      oninput: () => {
        const latent = Float32Array.from(this.app.latent);
        latent[dim] = Number(slider.value);
        this.app.setLatent(latent, slider);
      },
    });
    const strip = new Strip(t("stripOf", dim + 1), (step) => {
      const latent = Float32Array.from(this.app.latent);
      latent[dim] = low + ((high - low) * step) / (STRIP_STEPS - 1);
      this.app.setLatent(latent, strip);
    });
    const label = h("label", { for: id, title: t("spread", short(std)) }, t("dim", dim + 1));
    const element = h("div", { class: "zoo-slider" }, label, slider, value, strip.canvas);
    return { dim, slider, value, strip, element };
  }

  /** Move sliders and picture to the shared latent. */
  #follow(by) {
    if (!this.rows || this.app.tabs.explore.shown !== this.app.model) return;
    const { latent } = this.app;
    for (const { dim, slider, value } of this.rows) {
      if (slider !== by) {
        slider.min = String(Math.min(Number(slider.min), latent[dim])); // a sample may lie outside the range
        slider.max = String(Math.max(Number(slider.max), latent[dim]));
        slider.value = String(latent[dim]);
      }
      value.textContent = latent[dim].toFixed(2);
    }
    this.frames.request(latent);
    this.#later();
  }

  async #draw(latent) {
    const { model } = this.app;
    const pixels = await model.decode(latent);
    if (model !== this.app.model) return;
    this.picture.show(pixels, model.imageShape);
    this.picture.canvas.latent = latent;
  }

  #later() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.app.attempt(() => this.strips.request(this.app.latent)), STRIP_DELAY);
  }

  /** Draw what each dimension does from its low to its high end, the others as they are. */
  async #drawStrips(latent) {
    const { model } = this.app;
    const { dims } = this.space;
    for (const { dim, strip } of this.rows.filter((row) => row.element.offsetParent)) {
      const latents = new Float32Array(STRIP_STEPS * model.latentDim);
      for (let step = 0; step < STRIP_STEPS; step += 1) {
        latents.set(latent, step * model.latentDim);
        const { low, high } = dims[dim];
        latents[step * model.latentDim + dim] = low + ((high - low) * step) / (STRIP_STEPS - 1);
      }
      const pixels = await model.decode(latents);
      if (model !== this.app.model || this.strips.waiting) return;
      strip.show(pixels, model.imageShape);
    }
  }

  async #reset() {
    this.app.setLatent(await this.app.model.median(), "reset");
  }

  async #random() {
    const latent = this.space.dims.map(({ low, high }) => low + (high - low) * Math.random());
    this.app.setLatent(latent, "random");
  }

  async #fromSample() {
    const { model } = this.app;
    const { latents, count } = await model.points();
    const index = Math.floor(Math.random() * count);
    this.app.setLatent(latents.subarray(index * model.latentDim, (index + 1) * model.latentDim), "sample");
  }

  async #prior() {
    this.app.setLatent(await this.app.model.sample(1), "prior");
  }
}
