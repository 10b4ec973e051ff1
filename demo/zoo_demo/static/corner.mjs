// One corner of a morph: a test image's latent, or that of the sliders.

import { Latest } from "./latest.mjs";
import { Picture } from "./picture.mjs";
import { t } from "./text.mjs";
import { button, field, h, select, setOptions } from "./ui.mjs";

export class Corner {
  /** `onchange` is called when another latent was chosen. */
  constructor(name, app, onchange) {
    this.app = app;
    this.onchange = onchange;
    this.latent = null;
    this.picture = new Picture(t("corner", name), "zoo-medium");
    this.number = h("input", {
      type: "number",
      min: "0",
      class: "zoo-number",
      id: `zoo-corner-${name}`,
      onchange: () => this.#choose(app.model.nearestIndex(this.number.value)),
    });
    this.classes = select([], "", (label) => this.#chooseAny(label), { id: `zoo-corner-class-${name}` });
    this.any = button(t("randomImage"), () => this.#chooseAny(""));
    const controls = [
      field(t("class"), this.classes),
      field(t("number"), this.number),
      this.any,
      button(t("sliderLatent"), () => this.#take(app.latent)),
    ];
    this.element = h("fieldset", { class: "zoo-corner" }, h("legend", {}, name), this.picture.canvas, h("div", {}, ...controls));
    this.frames = new Latest(app, this.picture.canvas, () => this.#draw());
  }

  /** Offer a model's test images. */
  offer(model) {
    const { points, space } = model;
    this.number.disabled = this.any.disabled = !points;
    this.classes.disabled = !space.labels.length;
    this.number.max = String((points?.count ?? 1) - 1);
    setOptions(this.classes, [["", "–"], ...space.labels.map((label) => [label, model.nameOf(label)])], "");
  }

  /** Be at a test image. */
  setIndex(index) {
    const { model } = this.app;
    this.setLatent(model.latentOf(index));
    this.number.value = String(index);
    this.classes.value = String(model.points.labels[index]);
  }

  /** Be at any latent. */
  setLatent(latent) {
    this.latent = Float32Array.from(latent);
    this.number.value = this.classes.value = "";
    this.frames.request();
  }

  #choose(index) {
    this.setIndex(index);
    this.onchange();
  }

  #take(latent) {
    this.setLatent(latent);
    this.onchange();
  }

  #chooseAny(label) {
    const indices = this.app.model.indicesOf(label);
    this.#choose(indices[Math.floor(Math.random() * indices.length)]);
  }

  async #draw() {
    const { model } = this.app;
    const pixels = await model.decode(this.latent);
    if (model === this.app.model) this.picture.show(pixels, model.imageShape);
  }
}
