// Compare: two models on the same images, or on the same latent where their sizes agree.

import { t } from "./text.mjs";
import { Latest, Picture, button, h, select, signedError } from "./ui.mjs";

const IMAGES = 8;

export class Compare {
  constructor(app) {
    this.app = app;
    this.picker = h("select", { class: "zoo-select", id: "zoo-other", onchange: () => app.attempt(() => this.#pick()) });
    this.images = h("div", { class: "zoo-compare-images" });
    this.metrics = h("div", { class: "zoo-scroll" });
    this.pair = [new Picture(t("decoded"), "zoo-medium"), new Picture(t("decoded"), "zoo-medium")];
    this.names = [h("figcaption"), h("figcaption")];
    this.sameLatent = h(
      "fieldset",
      {},
      h("legend", {}, t("sameLatent")),
      h("div", { class: "zoo-trio" }, ...this.pair.map((picture, place) => h("figure", {}, picture.canvas, this.names[place]))),
      button(t("random"), () => app.attempt(() => this.#randomLatent())),
    );
    this.element = h(
      "div",
      { class: "zoo-compare" },
      h("div", { class: "zoo-buttons" }, h("label", { class: "zoo-field" }, h("span", {}, t("compareWith")), this.picker)),
      this.metrics,
      h(
        "fieldset",
        {},
        h("legend", {}, t("sameImages")),
        h("div", { class: "zoo-scroll" }, this.images),
        button(t("otherImages"), () => app.attempt(() => this.#drawImages())),
        h("p", { class: "zoo-hint" }, t("compareHint")),
      ),
      this.sameLatent,
    );
    this.decodes = new Latest(() => this.#drawLatent());
    app.addEventListener("latent", () => this.#follow());
  }

  async show(model) {
    const others = this.app.cards.filter((card) => card.id !== model.id);
    const fitting = others.filter((card) => String(card.image_shape) === String(model.imageShape));
    const before = this.picker.value;
    this.picker.replaceChildren(...others.map((card) => h("option", { value: card.id }, card.title)));
    const first = fitting.find((card) => card.id === before) ?? fitting[0] ?? others[0];
    this.element.classList.toggle("zoo-empty", !first);
    if (!first) return;
    this.picker.value = first.id;
    await this.#pick();
  }

  async #pick() {
    const { model } = this.app;
    const other = await this.app.modelOf(this.picker.value);
    if (model !== this.app.model || this.picker.value !== other.id) return;
    this.other = other;
    this.metrics.replaceChildren(metricTable([model, other]));
    this.sameLatent.hidden = other.latentDim !== model.latentDim;
    this.names.forEach((name, place) => (name.textContent = [model, other][place].card.title));
    await this.#drawImages();
    this.#follow();
  }

  /** Rows: the input, each reconstruction with its error, and which model errs more where. */
  async #drawImages() {
    const { model } = this.app;
    const { other } = this;
    if (String(other.imageShape) !== String(model.imageShape)) {
      this.images.replaceChildren(h("p", {}, t("otherShape")));
      return;
    }
    const points = await model.points();
    if (!points) {
      this.images.replaceChildren(h("p", {}, t("noDataset", (await model.space()).why)));
      return;
    }
    const indices = Array.from({ length: Math.min(IMAGES, points.count) }, () => Math.floor(Math.random() * points.count));
    const images = await model.images(indices);
    const results = await Promise.all([model.reconstruct(images), other.reconstruct(images)]);
    if (model !== this.app.model || other !== this.other) return;
    const headings = [t("input"), model.card.title, other.card.title, t("errorDifference")];
    const rows = headings.map((heading) => h("tr", {}, h("th", { scope: "row" }, heading)));
    indices.forEach((index, place) => {
      const part = (all) => all.subarray(place * model.pixels, (place + 1) * model.pixels);
      const image = part(images);
      rows[0].append(cell(picture(t("testImage", index, points.labels[index]), image, model)));
      const errors = results.map(({ reconstructions, errors: mse }, row) => {
        const title = `${t("reconstruction")} ${index}`;
        rows[row + 1].append(cell(picture(title, part(reconstructions), model), mse[place].toFixed(4)));
        return signedError(part(reconstructions), image, model.imageShape).map(Math.abs);
      });
      const difference = new Picture(`${t("errorDifference")} ${index}`, "zoo-small zoo-signed");
      difference.showError(errors[0].map((error, at) => error - errors[1][at]), model.imageShape);
      rows[3].append(cell(difference));
    });
    this.images.replaceChildren(h("table", { class: "zoo-table" }, ...rows));
  }

  #follow() {
    if (this.app.tabs.compare.shown !== this.app.model || !this.other || this.sameLatent.hidden) return;
    this.app.attempt(() => this.decodes.request(null));
  }

  async #drawLatent() {
    const { model, latent } = this.app;
    const models = [model, this.other];
    if (models[1].latentDim !== latent.length) return;
    const decoded = await Promise.all(models.map((each) => each.decode(latent)));
    if (model !== this.app.model || models[1] !== this.other) return;
    decoded.forEach((pixels, place) => this.pair[place].show(pixels, models[place].imageShape));
  }

  async #randomLatent() {
    const { dims } = await this.app.model.space();
    this.app.setLatent(dims.map(({ low, high }) => low + (high - low) * Math.random()), "compare");
  }
}

function picture(title, pixels, model) {
  const made = new Picture(title, "zoo-small");
  made.show(pixels, model.imageShape);
  return made;
}

function cell(made, caption = "") {
  return h("td", {}, made.canvas, h("div", { class: "zoo-caption" }, caption));
}

function metricTable(models) {
  const rows = [
    ["", ...models.map((model) => model.card.title)],
    [t("latentSize"), ...models.map((model) => String(model.latentDim))],
    [t("parameters"), ...models.map(({ card }) => (card.parameters.encoder + card.parameters.decoder).toLocaleString())],
    ...[["mse", 5, ""], ["psnr", 2, " dB"], ["ssim", 3, ""]].map(([name, digits, unit]) => [
      `${name.toUpperCase()} (${t("testSplit")})`,
      ...models.map(({ card }) => (card.test_metrics ? card.test_metrics[name].toFixed(digits) + unit : "–")),
    ]),
  ];
  return h(
    "table",
    { class: "zoo-table" },
    ...rows.map(([heading, ...cells], row) =>
      h("tr", {}, h("th", { scope: "row" }, heading), ...cells.map((text) => h(row ? "td" : "th", {}, text))),
    ),
  );
}
