// The choice of the plane that the map shows: the principal components, or two dimensions.

import { pairPlane, principalPlane } from "./plane.mjs";
import { t } from "./text.mjs";
import { field, h, select, setOptions } from "./ui.mjs";

export class Axes {
  constructor(onchange) {
    this.onchange = onchange;
    const kinds = [["pca", t("pca")], ["pair", t("pair")]];
    this.kind = select(kinds, "pca", () => this.#changeKind(), { id: "zoo-axes" });
    this.dims = ["x", "y"].map((name, axis) => select([], "", () => this.#changeDim(axis), { id: `zoo-${name}` }));
    this.element = field(t("axes"), this.kind);
    this.pair = h("div", { class: "zoo-buttons" }, ...this.dims.map((dim, axis) => field("xy"[axis], dim)));
  }

  /** Offer what a model has: two dimensions or fewer leave no choice. */
  offer(model) {
    const { latentSize, space } = model;
    this.chosen = latentSize > 2 ? space.order.slice(0, 2) : [0, 1];
    const names = [...space.order].sort((one, other) => one - other).map((dim) => [dim, model.dimName(dim)]);
    this.dims.forEach((dim, axis) => setOptions(dim, names, this.chosen[axis]));
    this.kind.value = latentSize > 2 && space.pca ? "pca" : "pair";
    this.element.hidden = this.kind.value === "pair";
    this.pair.hidden = latentSize <= 2 || this.kind.value === "pca";
  }

  /** The plane through a model's latent space that is chosen. */
  plane(model) {
    return this.kind.value === "pca" ? principalPlane(model.space) : pairPlane(...this.chosen, model);
  }

  #changeKind() {
    this.pair.hidden = this.kind.value === "pca";
    this.onchange();
  }

  /** Choose a dimension for an axis; where the other axis has it, they change places. */
  #changeDim(axis) {
    const before = this.chosen[axis];
    this.chosen[axis] = Number(this.dims[axis].value);
    if (this.chosen[1 - axis] === this.chosen[axis]) this.chosen[1 - axis] = before;
    this.dims.forEach((dim, place) => (dim.value = String(this.chosen[place])));
    this.onchange();
  }
}
