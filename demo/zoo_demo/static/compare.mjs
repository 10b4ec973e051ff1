// Compare: two models on the same images, or on the same latent where their sizes agree.

import { Latest } from "./latest.mjs";
import { Picture, colourKey, figure, signedError } from "./picture.mjs";
import { t } from "./text.mjs";
import { button, field, h, modelOptions } from "./ui.mjs";

const IMAGES = 8;

export class Compare {
  constructor(app) {
    this.app = app;
    this.picker = h("select", { class: "zoo-select", id: "zoo-other", onchange: () => app.attempt(() => this.#pick()) });
    this.images = h("div", { class: "zoo-scroll zoo-compare-images" });
    this.metrics = h("div", { class: "zoo-scroll" });
    this.note = h("p", {});
    this.sameImages = h(
      "fieldset",
      { hidden: true },
      h("legend", {}, t("sameImages")),
      this.images,
      h("p", { class: "zoo-key zoo-hint" }, colourKey(t("firstErrsMore"), t("secondErrsMore"))),
      button(t("otherImages"), () => app.attempt(() => this.#otherImages())),
    );
    this.pair = [new Picture(t("decoded"), "zoo-medium"), new Picture(t("decoded"), "zoo-medium")];
    this.figures = this.pair.map((picture) => figure(picture, ""));
    const twins = h("div", { class: "zoo-trio" }, ...this.figures);
    this.sameLatent = h(
      "fieldset",
      { hidden: true },
      h("legend", {}, t("sameLatent")),
      twins,
      button(t("random"), () => app.setLatent(app.model.randomLatent())),
    );
    this.element = h(
      "div",
      { class: "zoo-compare" },
      h("div", { class: "zoo-buttons" }, field(t("compareWith"), this.picker)),
      this.metrics,
      this.note,
      this.sameImages,
      this.sameLatent,
    );
    this.indices = []; // the images that are compared
    this.decodes = new Latest(app, twins, (latent) => this.#drawLatent(latent));
  }

  async show(model) {
    const others = this.app.cards.filter((card) => card.id !== model.id);
    const before = this.picker.value;
    this.picker.replaceChildren(...modelOptions(others));
    this.element.classList.toggle("zoo-empty", !others.length);
    if (!others.length) return;
    const fitting = others.filter((card) => String(card.image_shape) === String(model.imageShape));
    this.picker.value = (fitting.find((card) => card.id === before) ?? fitting[0] ?? others[0]).id;
    await this.#pick();
  }

  follow() {
    if (!this.sameLatent.hidden) this.decodes.request(this.app.latent);
  }

  /** Tell the other model the class too. */
  redraw() {
    return this.other && this.#pick();
  }

  async #pick() {
    const { model } = this.app;
    const other = await this.app.modelOf(this.picker.value);
    if (model !== this.app.model || this.picker.value !== other.id) return;
    this.other = other;
    other.tell(this.app.told);
    this.metrics.replaceChildren(metricTable([model, other]));
    this.figures.forEach((each, place) => (each.querySelector("figcaption").textContent = [model, other][place].card.title));
    this.sameLatent.hidden = !haveSameLatents(model, other);
    this.note.textContent = whyNoImages(model, other);
    this.sameImages.hidden = this.note.textContent !== "";
    this.follow();
    if (!this.sameImages.hidden) await this.#drawImages();
  }

  /** Draw other images than before. */
  #otherImages() {
    this.indices = [];
    return this.#drawImages();
  }

  /** Rows: the input, each reconstruction with its error, and which model errs more where. */
  async #drawImages() {
    const { model } = this.app;
    const { other } = this;
    const { told } = this.app;
    const { count } = model.points;
    if (!this.indices.length || Math.max(...this.indices) >= count) {
      this.indices = Array.from({ length: Math.min(IMAGES, count) }, () => Math.floor(Math.random() * count));
    }
    const { indices } = this;
    const images = await model.images(indices);
    const results = await Promise.all([model.reconstruct(images), other.reconstruct(images)]);
    if (model !== this.app.model || other !== this.other || indices !== this.indices || told !== this.app.told) return;
    const headings = [t("input"), model.card.title, other.card.title, t("errorDifference")];
    const rows = headings.map((heading) => h("tr", {}, h("th", { scope: "row" }, heading)));
    indices.forEach((index, place) => {
      const part = (all) => all.subarray(place * model.pixels, (place + 1) * model.pixels);
      const image = part(images);
      rows[0].append(cell(picture(model.titleOf(index), image, model)));
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

  async #drawLatent(latent) {
    const { model } = this.app;
    const models = [model, this.other];
    if (!haveSameLatents(...models)) return;
    const decoded = await Promise.all(models.map((each) => each.decode(latent)));
    if (model !== this.app.model || models[1] !== this.other) return;
    decoded.forEach((pixels, place) => this.pair[place].show(pixels, models[place].imageShape));
  }
}

function haveSameLatents(model, other) {
  return String(model.latentShape) === String(other.latentShape);
}

/** Why two models cannot be compared on images; "" where they can. */
function whyNoImages(model, other) {
  if (String(other.imageShape) !== String(model.imageShape)) return t("otherShape");
  return model.points ? "" : t("noDataset", model.space.why);
}

function picture(title, pixels, model) {
  const made = new Picture(title, "zoo-small");
  made.show(pixels, model.imageShape);
  return made;
}

function cell(made, caption = "") {
  return h("td", {}, made.canvas, h("div", { class: "zoo-caption" }, caption));
}

/** Sizes, and each metric that any of the models has. */
function metricTable(models) {
  const metrics = models.map(({ card }) => new Map(card.test_metrics.map(({ name, text }) => [name, text])));
  const names = new Set(metrics.flatMap((each) => [...each.keys()]));
  const rows = [
    ["", ...models.map((model) => model.card.title)],
    [t("latentSize"), ...models.map((model) => model.latentShape.join(" × "))],
    [t("parameters"), ...models.map(({ card }) => (card.parameters.encoder + card.parameters.decoder).toLocaleString())],
    ...[...names].map((name) => [t("metric", name), ...metrics.map((each) => each.get(name) ?? "–")]),
  ];
  return h(
    "table",
    { class: "zoo-table" },
    ...rows.map(([heading, ...cells], row) =>
      h("tr", {}, h("th", { scope: "row" }, heading), ...cells.map((text) => h(row ? "td" : "th", {}, text))),
    ),
  );
}
