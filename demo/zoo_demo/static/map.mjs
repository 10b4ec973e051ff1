// Map: the test images' latents on a plane, what the decoder makes of the plane behind them.

import { t } from "./text.mjs";
import { Latest, Picture, button, field, h, select, toImage } from "./ui.mjs";

const SIDE = 640; // the canvas's own pixels
const GRID = 20; // decoded images along a side
const DOT = 3;
const NEIGHBOURS = 8;
const KEY_STEP = 16;
const PALETTE = ["#4e79a7", "#f28e2b", "#e15759", "#76b7b2", "#59a14f", "#edc948", "#b07aa1", "#ff9da7", "#9c755f", "#bab0ac"];

export class LatentMap {
  constructor(app) {
    this.app = app;
    this.canvas = h("canvas", {
      class: "zoo-map",
      width: SIDE,
      height: SIDE,
      tabIndex: 0,
      role: "application",
      "aria-label": t("mapLabel"),
    });
    this.preview = new Picture(t("decoded"), "zoo-medium");
    this.where = h("p", { class: "zoo-verdict", role: "status" });
    this.axes = h("span", { class: "zoo-buttons" });
    this.legend = h("div", { class: "zoo-legend" });
    this.neighbours = h("div", { class: "zoo-shelf" });
    this.manifold = h("input", { type: "checkbox", id: "zoo-manifold", checked: true, onchange: () => this.#redraw() });
    this.dots = h("input", { type: "checkbox", id: "zoo-dots", checked: true, onchange: () => this.#redraw() });
    this.element = h(
      "div",
      { class: "zoo-map-tab" },
      h(
        "div",
        {},
        h(
          "div",
          { class: "zoo-buttons" },
          this.axes,
          h("label", { class: "zoo-field" }, this.dots, h("span", {}, t("points"))),
          h("label", { class: "zoo-field" }, this.manifold, h("span", {}, t("manifold"))),
        ),
        this.canvas,
        this.legend,
        h("p", { class: "zoo-hint" }, t("mapHint")),
      ),
      h(
        "div",
        { class: "zoo-stage" },
        this.preview.canvas,
        this.where,
        h("h2", {}, t("neighbours")),
        this.neighbours,
        button(t("exploreThis"), () => app.select("explore")),
      ),
    );
    this.hovered = new Latest((latent) => this.#decode(latent));
    this.backdrops = new Latest((projection) => app.attempt(() => this.#drawManifold(projection)));
    this.#listen();
    app.addEventListener("latent", ({ detail }) => {
      if (detail !== this) this.#follow();
    });
  }

  async show(model) {
    this.hidden = new Set(); // labels that are switched off
    this.space = await model.space();
    this.points = await model.points();
    this.pin = null;
    this.cursor = null;
    this.#drawAxes(model);
    this.#drawLegend();
    this.#project(model.latentDim > 2 ? "pca" : "0,1");
    this.#follow();
  }

  #drawAxes(model) {
    this.axes.replaceChildren();
    if (model.latentDim <= 2) return;
    const names = Array.from({ length: model.latentDim }, (_, dim) => [dim, t("dim", dim + 1)]);
    const [first, second] = this.space.order;
    const pair = () => this.#project(choice.value === "pca" ? "pca" : `${x.value},${y.value}`);
    const x = select(names, first, pair, { id: "zoo-x" });
    const y = select(names, second, pair, { id: "zoo-y" });
    const dims = h("span", { class: "zoo-buttons", hidden: true }, field("x", x), field("y", y));
    const choice = select(
      [
        ["pca", t("pca")],
        ["pair", t("pair")],
      ],
      "pca",
      () => {
        dims.hidden = choice.value === "pca";
        pair();
      },
      { id: "zoo-axes" },
    );
    if (!this.space.pca) {
      choice.value = "pair";
      choice.disabled = true;
      dims.hidden = false;
    }
    this.axes.append(field(t("axes"), choice), dims);
  }

  #drawLegend() {
    this.legend.replaceChildren(
      ...this.space.labels.map((label, place) => {
        const swatch = h("span", { class: "zoo-swatch", style: `background:${colour(place, this.space.labels.length)}` });
        const toggle = h(
          "button",
          { type: "button", class: "zoo-legend-item", "aria-pressed": "true", onclick: () => this.#toggle(label, toggle) },
          swatch,
          String(label),
        );
        return toggle;
      }),
    );
  }

  #toggle(label, element) {
    if (!this.hidden.delete(label)) this.hidden.add(label);
    element.setAttribute("aria-pressed", String(!this.hidden.has(label)));
    this.#redraw();
  }

  /** Choose the plane: the principal components, or a pair of dimensions "i,j". */
  #project(axes) {
    const { model } = this.app;
    if (axes === "pca" && !this.space.pca) axes = this.space.order.slice(0, 2).join(",");
    this.projection =
      axes === "pca" ? principalPlane(this.space.pca) : pairPlane(...axes.split(",").map(Number), model.latentDim);
    this.projection.model = model;
    const { dims } = this.space;
    const count = this.points?.count ?? 0;
    this.places = new Float32Array(2 * count);
    for (let index = 0; index < count; index += 1) {
      const latent = this.points.latents.subarray(index * model.latentDim, (index + 1) * model.latentDim);
      this.places.set(this.projection.toPlane(latent), 2 * index);
    }
    const corners = [dims.map(({ low }) => low), dims.map(({ high }) => high)].map(this.projection.toPlane);
    this.bounds = count ? bounds(this.places) : { centre: middle(corners), radius: 3.5 };
    this.backdrop = null;
    this.#redraw();
    this.backdrops.request(this.projection);
  }

  async #drawManifold(projection) {
    const { model } = projection;
    const latents = new Float32Array(GRID * GRID * model.latentDim);
    for (let cell = 0; cell < GRID * GRID; cell += 1) {
      const at = [((cell % GRID) + 0.5) / GRID, (Math.floor(cell / GRID) + 0.5) / GRID].map((share) => share * SIDE);
      latents.set(projection.toLatent(this.#toPlane(at), this.app.latent), cell * model.latentDim);
    }
    const pixels = await model.decode(latents);
    if (projection !== this.projection) return;
    const [, height, width] = model.imageShape;
    const backdrop = new OffscreenCanvas(GRID * width, GRID * height);
    const context = backdrop.getContext("2d");
    for (let cell = 0; cell < GRID * GRID; cell += 1) {
      const image = toImage(pixels.subarray(cell * model.pixels, (cell + 1) * model.pixels), model.imageShape);
      context.putImageData(image, (cell % GRID) * width, Math.floor(cell / GRID) * height);
    }
    this.backdrop = backdrop;
    this.canvas.dataset.manifold = "true";
    this.#redraw();
  }

  #redraw() {
    const context = this.canvas.getContext("2d");
    context.fillStyle = "#111";
    context.fillRect(0, 0, SIDE, SIDE);
    if (this.manifold.checked && this.backdrop) {
      context.imageSmoothingEnabled = false;
      context.globalAlpha = this.dots.checked ? 0.55 : 1;
      context.drawImage(this.backdrop, 0, 0, SIDE, SIDE);
      context.globalAlpha = 1;
    }
    if (this.dots.checked && this.points) this.#drawPoints(context);
    if (this.pin) mark(context, this.#toCanvas(this.pin), "#fff", 9);
    if (this.cursor) mark(context, this.cursor, "#facc15", 6);
  }

  #drawPoints(context) {
    const { labels } = this.space;
    const place = new Map(labels.map((label, index) => [label, index]));
    for (let index = 0; index < this.points.count; index += 1) {
      const label = this.points.labels[index];
      if (this.hidden.has(label)) continue;
      const [x, y] = this.#toCanvas(this.places.subarray(2 * index, 2 * index + 2));
      context.fillStyle = colour(place.get(label) ?? 0, labels.length);
      context.fillRect(x - DOT / 2, y - DOT / 2, DOT, DOT);
    }
  }

  #listen() {
    const at = (event) => {
      const box = this.canvas.getBoundingClientRect();
      return [((event.clientX - box.left) / box.width) * SIDE, ((event.clientY - box.top) / box.height) * SIDE];
    };
    this.canvas.addEventListener("pointermove", (event) => this.#hover(at(event)));
    this.canvas.addEventListener("pointerleave", () => this.#hover(null));
    this.canvas.addEventListener("click", (event) => this.#choose(at(event)));
    this.canvas.addEventListener("keydown", (event) => {
      const step = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key];
      const from = this.cursor ?? (this.pin ? this.#toCanvas(this.pin) : [SIDE / 2, SIDE / 2]);
      if (event.key === "Enter" || event.key === " ") this.#choose(from);
      else if (step) this.#hover(from.map((value, axis) => Math.min(SIDE, Math.max(0, value + KEY_STEP * step[axis]))));
      else return;
      event.preventDefault();
    });
  }

  #hover(cursor) {
    if (!this.projection) return;
    this.cursor = cursor;
    this.#redraw();
    const latent = cursor ? this.#latentAt(cursor) : this.app.latent;
    this.hovered.request(latent);
  }

  /** Pin a place: the sliders move to it, its neighbours are shown. */
  #choose(at) {
    if (!this.projection) return;
    this.app.setLatent(this.#latentAt(at), this);
    this.pin = this.#toPlane(at);
    this.#redraw();
    this.hovered.request(this.app.latent);
    this.app.attempt(() => this.#showNeighbours());
  }

  /** Another tab has moved the latent. */
  #follow() {
    if (!this.projection || this.app.tabs.map.shown !== this.app.model) return;
    this.pin = this.projection.toPlane(this.app.latent);
    this.#redraw();
    this.hovered.request(this.app.latent);
    this.app.attempt(() => this.#showNeighbours());
  }

  async #decode(latent) {
    const { model } = this.app;
    const pixels = await model.decode(Float32Array.from(latent));
    if (model !== this.app.model) return;
    this.preview.show(pixels, model.imageShape);
    this.where.textContent = this.projection.toPlane(latent).map((value) => value.toFixed(2)).join(", ");
  }

  async #showNeighbours() {
    const { model } = this.app;
    if (!this.points || this.app.tab !== "map") return;
    const indices = nearest(this.points.latents, this.app.latent, NEIGHBOURS);
    const images = await model.images(indices);
    if (model !== this.app.model) return;
    this.neighbours.replaceChildren(
      ...indices.map((index, place) => {
        const label = t("testImage", index, this.points.labels[index]);
        const thumbnail = new Picture(label, "zoo-thumbnail");
        thumbnail.show(images.subarray(place * model.pixels, (place + 1) * model.pixels), model.imageShape);
        thumbnail.canvas.title = label;
        return thumbnail.canvas;
      }),
    );
  }

  #latentAt(at) {
    return this.projection.toLatent(this.#toPlane(at), this.app.latent);
  }

  #toPlane([x, y]) {
    const { centre, radius } = this.bounds;
    return [centre[0] + radius * ((2 * x) / SIDE - 1), centre[1] - radius * ((2 * y) / SIDE - 1)];
  }

  #toCanvas([x, y]) {
    const { centre, radius } = this.bounds;
    return [(((x - centre[0]) / radius + 1) * SIDE) / 2, ((1 - (y - centre[1]) / radius) * SIDE) / 2];
  }
}

/** Two latent dimensions; the others stay as they are. A latent of one dimension has a flat second axis. */
function pairPlane(first, second, latentDim) {
  const flat = second >= latentDim;
  return {
    toPlane: (latent) => [latent[first], flat ? 0 : latent[second]],
    toLatent: ([x, y], base) => {
      const latent = Float32Array.from(base);
      latent[first] = x;
      if (!flat) latent[second] = y;
      return latent;
    },
  };
}

/** The plane of the two principal components, through the mean. */
function principalPlane({ mean, components }) {
  const along = (latent, axis) => axis.reduce((sum, weight, dim) => sum + weight * (latent[dim] - mean[dim]), 0);
  return {
    toPlane: (latent) => components.map((axis) => along(latent, axis)),
    toLatent: ([x, y]) => Float32Array.from(mean, (value, dim) => value + x * components[0][dim] + y * components[1][dim]),
  };
}

/** A square that holds nearly all points: 1 in 200 may lie outside on either side. */
function bounds(places) {
  const axis = (offset) => places.filter((_, index) => index % 2 === offset).sort();
  const ends = [0, 1].map((offset) => {
    const sorted = axis(offset);
    return [sorted[Math.floor(0.005 * (sorted.length - 1))], sorted[Math.ceil(0.995 * (sorted.length - 1))]];
  });
  const radius = 0.55 * Math.max(...ends.map(([low, high]) => high - low), 1e-6);
  return { centre: ends.map(([low, high]) => (low + high) / 2), radius };
}

function middle([[x0, y0], [x1, y1]]) {
  return [(x0 + x1) / 2, (y0 + y1) / 2];
}

/** The indices of the nearest rows, by Euclidean distance. */
function nearest(rows, point, count) {
  const distances = new Float32Array(rows.length / point.length);
  for (let row = 0; row < distances.length; row += 1) {
    for (let dim = 0; dim < point.length; dim += 1) distances[row] += (rows[row * point.length + dim] - point[dim]) ** 2;
  }
  return Array.from(distances.keys()).sort((a, b) => distances[a] - distances[b]).slice(0, count);
}

function colour(place, count) {
  return count <= PALETTE.length ? PALETTE[place] : `hsl(${(360 * place) / count} 65% 55%)`;
}

function mark(context, [x, y], style, radius) {
  Object.assign(context, { strokeStyle: style, lineWidth: 2 });
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.moveTo(x - 2 * radius, y);
  context.lineTo(x + 2 * radius, y);
  context.moveTo(x, y - 2 * radius);
  context.lineTo(x, y + 2 * radius);
  context.stroke();
}
