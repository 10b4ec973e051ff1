// Map: the test images' latents on a plane, what the decoder makes of the plane behind them.

import { Axes } from "./axes.mjs";
import { Latest } from "./latest.mjs";
import { Picture } from "./picture.mjs";
import { Square, around } from "./plane.mjs";
import { colour, drawScene, mark, tiled } from "./scene.mjs";
import { t } from "./text.mjs";
import { thumbnails } from "./thumbnails.mjs";
import { button, checkbox, decimal, h } from "./ui.mjs";

const SIDE = 640; // the canvas's own pixels
const GRID = 20; // decoded images along a side
const NEIGHBOURS = 8;
const KEY_STEP = 16;

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
    this.scene = new OffscreenCanvas(SIDE, SIDE); // everything but the cross-hairs, which move
    this.preview = new Picture(t("decoded"), "zoo-medium");
    this.where = h("p", { class: "zoo-where" });
    this.legend = h("div", { class: "zoo-legend" });
    this.nearest = h("div", { class: "zoo-shelf" });
    this.neighbours = h("div", { class: "zoo-neighbours" }, h("h2", {}, t("neighbours")), this.nearest);
    this.manifold = checkbox(t("manifold"), () => this.#redraw(), { id: "zoo-manifold", checked: true });
    this.axes = new Axes(() => this.#changePlane());
    this.dots = checkbox(t("points"), () => this.#redraw(), { id: "zoo-dots", checked: true });
    this.element = h(
      "div",
      { class: "zoo-map-tab" },
      h("div", { class: "zoo-stage" }, this.preview.canvas, this.where, button(t("exploreThis"), () => app.select("explore"))),
      h(
        "div",
        { class: "zoo-map-main" },
        h("div", { class: "zoo-buttons" }, this.axes.element, this.dots.element, this.manifold.element),
        this.#framed(),
        this.axes.pair,
        this.legend,
        h("p", { class: "zoo-hint" }, t("mapHint")),
      ),
      this.neighbours,
    );
    this.previews = new Latest(app, this.preview.canvas, (latent) => this.#decode(latent));
    this.backdrops = new Latest(app, this.canvas, () => this.#drawBackdrop());
    this.searches = new Latest(app, this.nearest, () => this.#showNeighbours());
    this.#listen();
  }

  show(model) {
    this.hidden = new Set(); // labels that are switched off
    this.cursor = null;
    this.plane = null;
    this.neighbours.hidden = this.dots.element.hidden = !model.points;
    this.axes.offer(model);
    this.#drawLegend(model);
    this.#setPlane();
    this.follow();
  }

  /** The shared latent has moved: the pin is where it is, and a plane of two dimensions goes through it. */
  follow() {
    const { latent, model } = this.app;
    const through = String(this.plane.toLatent([0, 0], latent));
    if (through !== this.through) {
      this.through = through;
      this.backdrops.request();
    }
    this.#drawMarks();
    this.previews.request(latent);
    if (model.points) this.searches.request();
  }

  redraw() {
    return this.backdrops.request();
  }

  #framed() {
    this.names = ["x", "y"].map((axis) => h("span", { class: `zoo-axis zoo-axis-${axis}` }));
    return h("div", { class: "zoo-map-frame" }, this.canvas, ...this.names);
  }

  #changePlane() {
    this.#setPlane();
    this.follow();
  }

  #setPlane() {
    const { model } = this.app;
    const { space, points } = model;
    this.plane = this.axes.plane(model);
    this.names.forEach((name, axis) => (name.textContent = this.plane.names[axis]));
    this.places = new Float32Array(2 * (points?.count ?? 0));
    for (let index = 0; index < this.places.length / 2; index += 1) {
      this.places.set(this.plane.toPlane(model.latentOf(index)), 2 * index);
    }
    const ends = [space.dims.map(({ low }) => low), space.dims.map(({ high }) => high)];
    const shown = points ? this.places : Float32Array.from(ends.flatMap((latent) => this.plane.toPlane(latent)));
    this.square = new Square(SIDE, around(shown));
    this.backdrop = null;
    this.through = null;
    this.#redraw();
  }

  #drawLegend(model) {
    this.legend.replaceChildren(
      ...model.space.labels.map((label, place) => {
        const swatch = h("span", { class: "zoo-swatch", style: `background:${colour(place, model.space.labels.length)}` });
        const toggle = h(
          "button",
          { type: "button", class: "zoo-legend-item", "aria-pressed": "true", onclick: () => this.#toggle(label, toggle) },
          swatch,
          model.nameOf(label),
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

  async #drawBackdrop() {
    const { plane, square } = this;
    const { model, latent } = this.app;
    const latents = new Float32Array(GRID * GRID * model.latentSize);
    for (let cell = 0; cell < GRID * GRID; cell += 1) {
      const at = [((cell % GRID) + 0.5) / GRID, (Math.floor(cell / GRID) + 0.5) / GRID].map((share) => share * SIDE);
      latents.set(plane.toLatent(square.toPlane(at), latent), cell * model.latentSize);
    }
    const pixels = await model.decode(latents);
    if (plane !== this.plane) return;
    this.backdrop = tiled(pixels, model.imageShape, GRID);
    this.canvas.dataset.manifold = "true";
    this.#redraw();
  }

  #redraw() {
    drawScene(this.scene, this.manifold.control.checked ? this.backdrop : null, this.dots.control.checked ? this.#shownDots() : []);
    this.#drawMarks();
  }

  #shownDots() {
    const { space, points } = this.app.model;
    const colours = new Map(space.labels.map((label, place) => [label, colour(place, space.labels.length)]));
    const dots = [];
    for (let index = 0; index < this.places.length / 2; index += 1) {
      const label = points.labels[index];
      if (this.hidden.has(label)) continue;
      const at = this.square.toCanvas(this.places.subarray(2 * index, 2 * index + 2));
      dots.push([...at, colours.get(label) ?? colour(0, 1)]);
    }
    return dots;
  }

  #drawMarks() {
    const context = this.canvas.getContext("2d");
    context.drawImage(this.scene, 0, 0);
    mark(context, this.#pin(), "#fff", 9);
    if (this.cursor) mark(context, this.cursor, "#facc15", 6);
  }

  /** Where the shared latent is on the canvas. */
  #pin() {
    return this.square.toCanvas(this.plane.toPlane(this.app.latent));
  }

  #listen() {
    const at = (event) => {
      const box = this.canvas.getBoundingClientRect();
      return [((event.clientX - box.left) / box.width) * SIDE, ((event.clientY - box.top) / box.height) * SIDE];
    };
    this.canvas.addEventListener("pointermove", (event) => this.#hover(at(event), "off"));
    this.canvas.addEventListener("pointerleave", () => this.#hover(null, "off"));
    this.canvas.addEventListener("click", (event) => this.#choose(at(event)));
    this.canvas.addEventListener("keydown", (event) => {
      const step = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key];
      const from = this.cursor ?? this.#pin();
      const next = step && from.map((value, axis) => Math.min(SIDE, Math.max(0, value + KEY_STEP * step[axis])));
      if (event.key === "Enter" || event.key === " ") this.#choose(from);
      else if (next) this.#hover(next, "polite");
      else return;
      event.preventDefault();
    });
  }

  /** Show what is under the cursor; where it is, is read aloud only to who steers it by keys. */
  #hover(cursor, live) {
    this.cursor = cursor;
    this.where.setAttribute("aria-live", live);
    this.#drawMarks();
    this.previews.request(cursor ? this.#latentAt(cursor) : this.app.latent);
  }

  #choose(at) {
    this.where.setAttribute("aria-live", "polite");
    this.app.setLatent(this.#latentAt(at));
  }

  #latentAt(at) {
    return this.plane.toLatent(this.square.toPlane(at), this.app.latent);
  }

  async #decode(latent) {
    const { model } = this.app;
    const pixels = await model.decode(latent);
    if (model !== this.app.model) return;
    this.preview.show(pixels, model.imageShape);
    this.where.textContent = this.plane.toPlane(latent).map(decimal).join(", ");
  }

  async #showNeighbours() {
    const { model, latent } = this.app;
    const indices = nearest(model.points.latents, latent, NEIGHBOURS);
    const buttons = await thumbnails(model, indices, (index) => this.app.setLatent(model.latentOf(index)));
    if (model === this.app.model) this.nearest.replaceChildren(...buttons);
  }
}

/** The indices of the nearest rows, by Euclidean distance. */
function nearest(rows, point, count) {
  const distances = new Float32Array(rows.length / point.length);
  for (let row = 0; row < distances.length; row += 1) {
    for (let dim = 0; dim < point.length; dim += 1) distances[row] += (rows[row * point.length + dim] - point[dim]) ** 2;
  }
  return Array.from(distances.keys()).sort((a, b) => distances[a] - distances[b]).slice(0, count);
}
