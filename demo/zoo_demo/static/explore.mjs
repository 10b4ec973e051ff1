// Explore: one slider a latent dimension, and what the decoder makes of it.

import { Latest } from "./latest.mjs";
import { Picture } from "./picture.mjs";
import { LatentSlider } from "./slider.mjs";
import { t } from "./text.mjs";
import { button, decimal, h } from "./ui.mjs";

const OPEN_SLIDERS = 16; // the dimensions beyond are folded away
const STRIP_DELAY = 150; // ms without a change before the strips are drawn again

export class Explore {
  constructor(app) {
    this.app = app;
    this.picture = new Picture(t("decoded"), "zoo-large");
    this.sliders = h("div", { class: "zoo-sliders" });
    this.hint = h("p", { class: "zoo-hint" });
    this.prior = button(t("prior"), () => app.attempt(() => this.#prior()));
    this.sample = button(t("fromSample"), () => this.#fromSample());
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
          button(t("random"), () => app.setLatent(app.model.randomLatent())),
          button(t("reset"), () => app.setLatent(app.model.median())),
          this.sample,
          this.prior,
        ),
      ),
      h("div", {}, this.hint, this.sliders),
    );
    this.frames = new Latest(app, this.picture.canvas, (latent) => this.#draw(latent));
    this.strips = new Latest(app, this.sliders, (latent) => this.#drawStrips(latent));
  }

  show(model) {
    const { dims, order, available } = model.space;
    this.prior.hidden = !model.card.has_prior;
    this.sample.hidden = !available;
    const more = model.latentSize - order.length;
    this.hint.textContent = [
      available ? t("exploreHint") : t("exploreUnmeasured", decimal(dims[0].low), decimal(dims[0].high)),
      model.latentShape.length > 1 ? t("mapDimHint") : "",
      more ? t("noSlider", more) : "",
    ].join(" ");
    this.rows = order.map((dim) => this.#row(dim, dims[dim]));
    const open = this.rows.slice(0, OPEN_SLIDERS).map((row) => row.element);
    const folded = this.rows.slice(OPEN_SLIDERS).map((row) => row.element);
    const rest = h("details", { ontoggle: () => this.#later() }, h("summary", {}, t("moreDims", folded.length)), ...folded);
    this.sliders.replaceChildren(...open, ...(folded.length ? [rest] : []));
    this.follow();
  }

  #row(dim, range) {
    const row = new LatentSlider(dim, this.app.model.dimName(dim), range, (value) => {
      const latent = Float32Array.from(this.app.latent);
      latent[dim] = value;
      this.app.setLatent(latent, row);
    });
    return row;
  }

  /** Move sliders and picture to the shared latent; a slider that set it keeps its range, as it may be in a hand. */
  follow(by) {
    const { latent } = this.app;
    for (const row of this.rows) {
      if (row.value === latent[row.dim]) continue;
      if (row !== by) row.fit(latent[row.dim]);
      row.show(latent[row.dim]);
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
    this.timer = setTimeout(() => this.strips.request(this.app.latent), STRIP_DELAY);
  }

  async #drawStrips(latent) {
    const { model } = this.app;
    for (const row of this.rows.filter(({ element }) => element.offsetParent)) {
      const pixels = await model.decode(row.traverse(latent));
      await new Promise((resolve) => setTimeout(resolve)); // a hand on a slider comes first
      if (model !== this.app.model || this.strips.waiting) return;
      row.strip.show(pixels, model.imageShape);
    }
  }

  #fromSample() {
    const { model } = this.app;
    this.app.setLatent(model.latentOf(Math.floor(Math.random() * model.points.count)));
  }

  async #prior() {
    this.app.setLatent(await this.app.model.sample(1));
  }
}
