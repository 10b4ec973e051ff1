// Morph: from one image to another, and arithmetic with latents.

import { Corner } from "./corner.mjs";
import { Latest } from "./latest.mjs";
import { Picture } from "./picture.mjs";
import { blob } from "./server.mjs";
import { Strip } from "./strip.mjs";
import { t } from "./text.mjs";
import { button, decimal, field, h, save, select } from "./ui.mjs";

const STEPS = 11;
const FRAMES = 32; // of the animation, there; and as many back
const FRAME_MS = 50;
const GIF_SIDE = 224;

export class Morph {
  constructor(app) {
    this.app = app;
    this.corners = ["A", "B", "C"].map((name) => new Corner(name, app, () => this.#changed()));
    const paths = [
      ["straight", t("straight")],
      ["spherical", t("spherical")],
      ["arithmetic", "C + (A − B)"],
    ];
    this.path = select(paths, "straight", () => this.#changed(), { id: "zoo-path" });
    this.strip = new Strip(t("morphStrip"), (share) => this.#at(share));
    this.picture = new Picture(t("decoded"), "zoo-large");
    this.time = h("input", {
      id: "zoo-time",
      type: "range",
      min: "0",
      max: "1",
      step: "0.01",
      value: "0",
      oninput: () => this.#at(Number(this.time.value)),
    });
    this.player = button(t("play"), () => this.#toggle());
    this.element = h(
      "div",
      { class: "zoo-morph" },
      h("div", { class: "zoo-buttons" }, field(t("path"), this.path)),
      h("div", { class: "zoo-corners" }, ...this.corners.map((corner) => corner.element)),
      this.strip.element,
      h(
        "div",
        { class: "zoo-stage" },
        this.picture.canvas,
        h(
          "div",
          {},
          h("label", { class: "zoo-time" }, h("span", {}, t("position")), this.time),
          h("div", { class: "zoo-buttons" }, this.player, button(t("saveGif"), () => app.attempt(() => this.#saveGif()))),
        ),
      ),
      h("p", { class: "zoo-hint" }, t("morphHint")),
    );
    this.frames = new Latest(app, this.picture.canvas, (time) => this.#draw(time));
    this.strips = new Latest(app, this.strip.canvas, () => this.#drawStrip());
  }

  show(model) {
    this.#stop();
    for (const corner of this.corners) corner.offer(model);
    if (model.points) firstCorners(model).forEach((index, place) => this.corners[place].setIndex(index));
    else cornersOfRange(model).forEach((latent, place) => this.corners[place].setLatent(latent));
    this.#changed();
  }

  redraw() {
    for (const corner of this.corners) corner.frames.request();
    this.#changed();
  }

  /** The latent at time t in [0, 1]. */
  latent(time) {
    const [a, b, c] = this.corners.map((corner) => corner.latent);
    if (this.path.value === "spherical") return spherical(a, b, time);
    if (this.path.value === "arithmetic") return c.map((value, dim) => value + time * (a[dim] - b[dim]));
    return a.map((value, dim) => value + time * (b[dim] - value));
  }

  #changed() {
    this.corners[2].element.hidden = this.path.value !== "arithmetic";
    this.#at(Number(this.time.value));
    this.strips.request();
  }

  #at(time) {
    this.time.value = String(time);
    this.time.setAttribute("aria-valuetext", decimal(time));
    this.strip.mark(time);
    this.frames.request(time);
  }

  async #draw(time) {
    const { model } = this.app;
    const pixels = await model.decode(this.latent(time));
    if (model === this.app.model) this.picture.show(pixels, model.imageShape);
  }

  async #drawStrip() {
    const { model } = this.app;
    const pixels = await model.decode(this.#latents(STEPS));
    if (model === this.app.model) this.strip.show(pixels, model.imageShape);
  }

  #latents(count) {
    const { latentSize } = this.app.model;
    const latents = new Float32Array(count * latentSize);
    for (let step = 0; step < count; step += 1) latents.set(this.latent(step / (count - 1)), step * latentSize);
    return latents;
  }

  #toggle() {
    if (this.playing) {
      this.#stop();
      return;
    }
    this.player.textContent = t("pause");
    this.direction = 1;
    this.playing = setInterval(() => this.#advance(), FRAME_MS);
  }

  /** A frame on from wherever the slider is; at an end it turns round. */
  #advance() {
    if (this.element.closest("[hidden]")) {
      this.#stop();
      return;
    }
    const time = Number(this.time.value);
    if (time >= 1) this.direction = -1;
    if (time <= 0) this.direction = 1;
    this.#at(Math.min(1, Math.max(0, time + this.direction / FRAMES)));
  }

  #stop() {
    clearInterval(this.playing);
    this.playing = null;
    this.player.textContent = t("play");
  }

  async #saveGif() {
    const { model } = this.app;
    const there = await model.decode(this.#latents(FRAMES));
    const frames = new Uint8Array((2 * FRAMES - 2) * model.pixels);
    for (let frame = 0; frame < 2 * FRAMES - 2; frame += 1) {
      const from = frame < FRAMES ? frame : 2 * FRAMES - 2 - frame;
      const pixels = there.subarray(from * model.pixels, (from + 1) * model.pixels);
      frames.set(pixels.map((value) => Math.round(255 * Math.min(1, Math.max(0, value)))), frame * model.pixels);
    }
    const [channels, height, width] = model.imageShape;
    const scale = Math.max(1, Math.floor(GIF_SIDE / Math.max(height, width)));
    const query = new URLSearchParams({ channels, height, width, scale, milliseconds: FRAME_MS });
    save(await blob(`/zoo/gif?${query}`, frames), `${model.id}-morph.gif`);
  }
}

/** A and B of two classes, and C another of B's, so that C + (A − B) is like A and no debris: images' numbers. */
function firstCorners(model) {
  const { labels } = model.points;
  const [a] = wellDone(model, labels[0]);
  const [b = a, c = b] = wellDone(model, labels.find((label) => label !== labels[0]) ?? labels[0]).filter((index) => index !== a);
  return [a, b, c];
}

/** The images of a class that are reconstructed as well as its better half. */
function wellDone(model, label) {
  const { errors } = model.points;
  const indices = model.indicesOf(label);
  const median = indices.map((index) => errors[index]).sort((one, other) => one - other)[Math.floor(indices.length / 2)];
  return indices.filter((index) => errors[index] <= median);
}

/** Without images: the ends of the dimension that varies most, and the end of the next. */
function cornersOfRange(model) {
  const { dims, order } = model.space;
  const from = (dim, end) => model.median().map((value, place) => (place === dim ? dims[dim][end] : value));
  return [from(order[0], "low"), from(order[0], "high"), from(order.at(1) ?? order[0], "high")];
}

/** Along the great circle (Shoemake 1985); straight where the ends are parallel. */
function spherical(a, b, time) {
  const norm = (latent) => Math.sqrt(latent.reduce((sum, value) => sum + value ** 2, 0));
  const cosine = a.reduce((sum, value, dim) => sum + value * b[dim], 0) / (norm(a) * norm(b));
  const angle = Math.acos(Math.min(1, Math.max(-1, cosine)));
  if (!(Math.sin(angle) > 1e-4)) return a.map((value, dim) => value + time * (b[dim] - value));
  const [from, to] = [Math.sin((1 - time) * angle), Math.sin(time * angle)].map((sine) => sine / Math.sin(angle));
  return a.map((value, dim) => from * value + to * b[dim]);
}
