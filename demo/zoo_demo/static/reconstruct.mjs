// Reconstruct: an image in, its reconstruction out, and how unusual the error is.

import { DrawingPad } from "./drawing.mjs";
import { Gallery } from "./gallery.mjs";
import { Latest } from "./latest.mjs";
import { Picture, colourKey, figure, signedError } from "./picture.mjs";
import { t } from "./text.mjs";
import { button, h } from "./ui.mjs";
import { Upload } from "./upload.mjs";
import { Verdict } from "./verdict.mjs";

// What is reconstructed is {title, image, line}: `image(model)` gives it as the model takes it, so that another model is
// asked about the same; a failure is said at `line`, or at the page's own where there is none.
export class Reconstruct {
  constructor(app) {
    this.app = app;
    this.input = new Picture(t("input"), "zoo-large");
    this.output = new Picture(t("reconstruction"), "zoo-large");
    this.error = new Picture(t("errorMap"), "zoo-large zoo-signed");
    this.verdict = new Verdict();
    this.note = h("p", { class: "zoo-hint" });
    this.toExplore = button(t("exploreThis"), () => this.#explore(), { id: "zoo-explore-this" });
    this.gallery = new Gallery(app, (index) => this.#choose(testImage(app.model, index)));
    this.upload = new Upload((file) => this.#choose(file));
    this.pad = new DrawingPad(() => this.#drawn());
    this.drawing = { title: t("yourDrawing"), image: (model) => this.pad.image(model.imageShape) };
    const trio = h(
      "div",
      { class: "zoo-trio" },
      figure(this.input, t("input")),
      figure(this.output, t("reconstruction")),
      figure(this.error, t("errorMap"), colourKey(t("tooBright"), t("tooDark"))),
    );
    this.element = h(
      "div",
      { class: "zoo-reconstruct" },
      h("div", { class: "zoo-results" }, trio, this.verdict.element, this.note, this.toExplore),
      h("div", { class: "zoo-own" }, this.pad.element, this.upload.element),
      this.gallery.element,
    );
    this.chosen = null;
    this.reconstructions = new Latest(app, trio, (source) => this.#reconstruct(source));
  }

  async show(model) {
    const measured = model.classes.length ? t("measuredUntold") : "";
    this.note.textContent = model.space.available ? measured : t("noDataset", model.space.why);
    await Promise.all([this.gallery.show(model), this.#choose(this.#again(model))]);
  }

  redraw() {
    return this.reconstructions.request(this.chosen);
  }

  /** What was chosen before, for another model: a test image by its number. */
  #again(model) {
    const { chosen } = this;
    if (chosen && chosen.index === undefined) return chosen;
    return model.points && testImage(model, model.nearestIndex(chosen?.index));
  }

  #choose(source) {
    this.chosen = source;
    this.gallery.mark(source?.index ?? null);
    return this.reconstructions.request(source);
  }

  #drawn() {
    if (this.pad.drawn) this.#choose(this.drawing);
    else if (this.chosen === this.drawing) this.#choose(null);
  }

  async #reconstruct(source) {
    const done = source && (await this.app.attempt(() => this.#put(source), source.line));
    if (!done) this.#clear();
  }

  async #put(source) {
    const { model } = this.app;
    try {
      const image = await source.image(model);
      const { latents, errors, reconstructions } = await model.reconstruct(image);
      if (model !== this.app.model) return;
      this.latent = latents;
      this.toExplore.disabled = false;
      this.input.show(image, model.imageShape);
      this.output.show(reconstructions, model.imageShape);
      this.error.showError(signedError(reconstructions, image, model.imageShape), model.imageShape);
      this.verdict.show(source.title, errors[0], model.space);
    } catch (error) {
      error.message = `${source.title}: ${error.message}`;
      throw error;
    }
  }

  #clear() {
    this.toExplore.disabled = true;
    for (const picture of [this.input, this.output, this.error]) picture.clear();
    this.verdict.clear();
  }

  #explore() {
    this.app.setLatent(this.latent);
    return this.app.select("explore");
  }
}

function testImage(model, index) {
  return { index, title: model.titleOf(index), image: () => model.images([index]) };
}
