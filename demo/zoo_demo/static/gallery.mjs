// The test images: thumbnails of all or of one class, in some order, and the one that is chosen.

import { Latest } from "./latest.mjs";
import { t } from "./text.mjs";
import { thumbnails } from "./thumbnails.mjs";
import { button, field, h, select, setOptions } from "./ui.mjs";

const THUMBNAILS = 24;

export class Gallery {
  /** `onchoose` gets the number of the test image that the user chooses. */
  constructor(app, onchoose) {
    this.app = app;
    this.onchoose = onchoose;
    this.number = h("input", {
      type: "number",
      min: "0",
      class: "zoo-number",
      id: "zoo-index",
      onchange: () => onchoose(app.model.nearestIndex(this.number.value)),
    });
    const refill = () => this.fill();
    this.classes = select([], "", refill, { id: "zoo-class" });
    const orders = ["first", "random", "worst"].map((order) => [order, t(`order.${order}`)]);
    this.order = select(orders, "first", refill, { id: "zoo-order" });
    this.again = button(t("shuffle"), refill, { id: "zoo-shuffle" });
    this.shelf = h("div", { class: "zoo-shelf" });
    this.fills = new Latest(app, this.shelf, () => this.#fill());
    this.element = h(
      "fieldset",
      { class: "zoo-gallery" },
      h("legend", {}, t("testImages")),
      h(
        "div",
        { class: "zoo-buttons" },
        field(t("number"), this.number),
        button(t("randomImage"), () => this.#chooseAny()),
        field(t("class"), this.classes),
        field(t("order"), this.order),
        this.again,
      ),
      this.shelf,
    );
  }

  /** Offer a model's test images; a class that it has too stays chosen. */
  async show(model) {
    this.element.hidden = !model.points;
    if (!model.points) return;
    this.number.max = String(model.points.count - 1);
    const classes = model.space.labels.map((label) => [label, model.nameOf(label)]);
    setOptions(this.classes, [["", t("allClasses")], ...classes], this.classes.value);
    this.classes.disabled = !classes.length;
    await this.fill();
  }

  fill() {
    return this.fills.request();
  }

  /** Show which image is chosen; null where it is none of these. */
  mark(index) {
    this.marked = index;
    this.number.value = index ?? "";
    for (const thumbnail of this.shelf.children) thumbnail.setAttribute("aria-pressed", String(thumbnail.value === String(index)));
  }

  async #fill() {
    const { model } = this.app;
    this.again.hidden = this.order.value !== "random";
    const indices = this.#ordered().slice(0, THUMBNAILS);
    const buttons = await thumbnails(model, indices, this.onchoose);
    if (model !== this.app.model) return;
    this.shelf.replaceChildren(...buttons);
    this.mark(this.marked);
  }

  #ordered() {
    const { model } = this.app;
    const { errors } = model.points;
    const indices = model.indicesOf(this.classes.value);
    if (this.order.value === "worst") indices.sort((a, b) => errors[b] - errors[a]);
    if (this.order.value === "random") shuffle(indices);
    return indices;
  }

  #chooseAny() {
    const indices = this.app.model.indicesOf(this.classes.value);
    this.onchoose(indices[Math.floor(Math.random() * indices.length)]);
  }
}

/** Fisher and Yates. */
function shuffle(items) {
  for (let last = items.length - 1; last > 0; last -= 1) {
    const other = Math.floor(Math.random() * (last + 1));
    [items[last], items[other]] = [items[other], items[last]];
  }
}
