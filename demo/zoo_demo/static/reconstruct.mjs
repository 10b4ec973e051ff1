// Reconstruct: an image in, its reconstruction out, and how unusual the error is.

import { DrawingPad } from "./drawing.mjs";
import { t } from "./text.mjs";
import { Latest, Picture, button, field, h, select, short, signedError } from "./ui.mjs";

const SHELF = 24; // thumbnails

export class Reconstruct {
  constructor(app) {
    this.app = app;
    this.input = new Picture(t("input"), "zoo-large");
    this.output = new Picture(t("reconstruction"), "zoo-large");
    this.error = new Picture(t("errorMap"), "zoo-large zoo-signed");
    this.verdict = h("p", { class: "zoo-verdict", role: "status" });
    this.meter = h("div", { class: "zoo-meter", role: "img" }, h("div", { class: "zoo-meter-mark" }), h("div", { class: "zoo-meter-line" }));
    this.pad = new DrawingPad((image) => this.images.request({ image, title: t("yourDrawing") }));
    this.images = new Latest((chosen) => app.attempt(() => this.#reconstruct(chosen)));
    this.element = h(
      "div",
      { class: "zoo-reconstruct" },
      h(
        "div",
        {},
        h(
          "div",
          { class: "zoo-trio" },
          figure(this.input, t("input")),
          figure(this.output, t("reconstruction")),
          figure(this.error, t("errorMap"), t("errorMapHint")),
        ),
        this.meter,
        this.verdict,
        button(t("exploreThis"), () => this.#explore(), { id: "zoo-explore-this" }),
        this.#testImages(),
      ),
      h("div", {}, this.#drawing(), this.#upload()),
    );
  }

  async show(model) {
    this.latent = null;
    this.pad.imageShape = model.imageShape;
    this.space = await model.space();
    this.points = await model.points();
    this.fromTest.hidden = !this.space.available;
    this.verdict.textContent = "";
    for (const picture of [this.input, this.output, this.error]) picture.clear();
    if (!this.space.available) {
      this.verdict.textContent = t("noDataset", this.space.why);
      return;
    }
    this.index.max = String(this.points.count - 1);
    this.classes.replaceChildren(h("option", { value: "" }, t("allClasses")));
    for (const label of this.space.labels) this.classes.append(h("option", { value: String(label) }, String(label)));
    await this.#fillShelf();
    await this.#choose(Number(this.index.value) < this.points.count ? Number(this.index.value) : 0);
  }

  #testImages() {
    const refill = () => this.app.attempt(() => this.#fillShelf());
    this.index = h("input", {
      type: "number",
      min: "0",
      value: "0",
      class: "zoo-number",
      id: "zoo-index",
      onchange: () => this.app.attempt(() => this.#choose(this.#bounded(Number(this.index.value)))),
    });
    this.classes = h("select", { class: "zoo-select", id: "zoo-class", onchange: refill });
    this.order = select(
      [
        ["first", t("order.first")],
        ["random", t("order.random")],
        ["worst", t("order.worst")],
      ],
      "first",
      refill,
      { id: "zoo-order" },
    );
    this.shelf = h("div", { class: "zoo-shelf" });
    this.fromTest = h(
      "fieldset",
      {},
      h("legend", {}, t("testImages")),
      h(
        "div",
        { class: "zoo-buttons" },
        field(t("number"), this.index),
        button(t("randomImage"), () => this.app.attempt(() => this.#choose(Math.floor(Math.random() * this.points.count)))),
        field(t("class"), this.classes),
        field(t("order"), this.order),
      ),
      this.shelf,
    );
    return this.fromTest;
  }

  #upload() {
    const invert = h("input", { type: "checkbox", id: "zoo-invert", onchange: () => send() });
    const file = h("input", { type: "file", id: "zoo-file", accept: "image/*", onchange: () => send() });
    const send = () =>
      this.app.attempt(async () => {
        if (!file.files.length) return;
        const image = await this.app.model.upload(file.files[0], invert.checked);
        await this.images.request({ image, title: file.files[0].name });
      });
    return h(
      "fieldset",
      {},
      h("legend", {}, t("upload")),
      field(t("imageFile"), file),
      h("label", { class: "zoo-field" }, invert, h("span", {}, t("invert"))),
      h("p", { class: "zoo-hint" }, t("uploadHint")),
    );
  }

  #drawing() {
    return h(
      "fieldset",
      {},
      h("legend", {}, t("draw")),
      this.pad.canvas,
      h("div", { class: "zoo-buttons" }, button(t("clear"), () => this.pad.clear())),
      h("p", { class: "zoo-hint" }, t("drawHint")),
    );
  }

  /** Put thumbnails of the chosen class and order on the shelf. */
  async #fillShelf() {
    const { model } = this.app;
    const { labels, errors, count } = this.points;
    let indices = Array.from({ length: count }, (_, index) => index);
    if (this.classes.value !== "") indices = indices.filter((index) => labels[index] === Number(this.classes.value));
    if (this.order.value === "worst") indices.sort((a, b) => errors[b] - errors[a]);
    if (this.order.value === "random") shuffle(indices);
    indices = indices.slice(0, SHELF);
    const images = indices.length ? await model.images(indices) : new Uint8Array();
    if (model !== this.app.model) return;
    this.shelf.replaceChildren(
      ...indices.map((index, place) => {
        const thumbnail = new Picture("", "zoo-thumbnail");
        thumbnail.show(images.subarray(place * model.pixels, (place + 1) * model.pixels), model.imageShape);
        const label = t("testImage", index, labels[index]);
        return h(
          "button",
          { type: "button", title: label, "aria-label": label, onclick: () => this.app.attempt(() => this.#choose(index)) },
          thumbnail.canvas,
        );
      }),
    );
  }

  async #choose(index) {
    this.index.value = String(index);
    const image = await this.app.model.images([index]);
    await this.images.request({ image, title: t("testImage", index, this.points.labels[index]) });
  }

  async #reconstruct({ image, title }) {
    const { model } = this.app;
    const { latents, errors, reconstructions } = await model.reconstruct(image);
    if (model !== this.app.model) return;
    this.latent = latents;
    this.input.show(image, model.imageShape);
    this.output.show(reconstructions, model.imageShape);
    this.error.showError(signedError(reconstructions, image, model.imageShape), model.imageShape);
    this.#judge(title, errors[0]);
  }

  /** Say where an error stands among those of the validation images. */
  #judge(title, error) {
    const { threshold, validation_errors: quantiles, available } = this.space;
    const mse = t("mse", title, error.toFixed(4));
    this.meter.hidden = !available;
    if (!available) {
      this.verdict.textContent = mse;
      return;
    }
    const percentile = Math.max(0, quantiles.filter((quantile) => quantile < error).length - 1); // 0 to 100
    const unusual = error > threshold.mse;
    const limit = t("threshold", Math.round(100 * threshold.quantile), threshold.mse.toFixed(4), threshold.count.toLocaleString());
    this.verdict.textContent = `${mse} ${t(unusual ? "unusual" : "ordinary", percentile)} ${limit}`;
    this.verdict.dataset.unusual = String(unusual);
    const top = Math.max(2 * threshold.mse, error);
    this.meter.setAttribute("aria-label", this.verdict.textContent);
    this.meter.title = `${short(error)} / ${short(threshold.mse)}`;
    this.meter.children[0].style.width = `${(100 * error) / top}%`;
    this.meter.children[0].dataset.unusual = String(unusual);
    this.meter.children[1].style.left = `${(100 * threshold.mse) / top}%`;
  }

  #explore() {
    if (!this.latent) return;
    this.app.setLatent(this.latent, "reconstruct");
    this.app.select("explore");
  }

  #bounded(index) {
    return Math.min(this.points.count - 1, Math.max(0, Math.round(index) || 0));
  }
}

function figure(picture, caption, hint = "") {
  return h("figure", {}, picture.canvas, h("figcaption", { title: hint }, caption));
}

/** Fisher and Yates. */
function shuffle(items) {
  for (let last = items.length - 1; last > 0; last -= 1) {
    const other = Math.floor(Math.random() * (last + 1));
    [items[last], items[other]] = [items[other], items[last]];
  }
}
