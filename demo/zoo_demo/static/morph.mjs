// Morph: from one image to another, and arithmetic with latents.

import { blob } from "./server.mjs";
import { t } from "./text.mjs";
import { Latest, Picture, Strip, button, field, h, save, select } from "./ui.mjs";

const STEPS = 11;
const FRAMES = 32; // of the animation, there; and as many back
const FRAME_MS = 50;
const GIF_SIDE = 224;

export class Morph {
  constructor(app) {
    this.app = app;
    this.corners = ["A", "B", "C"].map((name) => new Corner(name, app, () => this.#changed()));
    this.way = select(
      [
        ["straight", t("straight")],
        ["spherical", t("spherical")],
        ["arithmetic", "C + t·(A − B)"],
      ],
      "straight",
      () => this.#changed(),
      { id: "zoo-way" },
    );
    this.strip = new Strip(t("morphStrip"), (step) => this.#at(step / (STEPS - 1)));
    this.picture = new Picture(t("decoded"), "zoo-large");
    this.time = h("input", {
      id: "zoo-time",
      type: "range",
      min: "0",
      max: "1",
      step: "0.01",
      value: "0",
      "aria-label": "t",
      oninput: () => this.#at(Number(this.time.value)),
    });
    this.player = button(t("play"), () => this.#toggle());
    this.element = h(
      "div",
      { class: "zoo-morph" },
      h("div", { class: "zoo-corners" }, ...this.corners.map((corner) => corner.element)),
      h("div", { class: "zoo-buttons" }, field(t("way"), this.way)),
      this.strip.canvas,
      h(
        "div",
        { class: "zoo-stage" },
        this.picture.canvas,
        h(
          "div",
          {},
          this.time,
          h("div", { class: "zoo-buttons" }, this.player, button(t("saveGif"), () => app.attempt(() => this.#saveGif()))),
        ),
      ),
      h("p", { class: "zoo-hint" }, t("morphHint")),
    );
    this.frames = new Latest((time) => this.#draw(time));
    this.strips = new Latest(() => this.#drawStrip());
  }

  async show(model) {
    this.#stop();
    const points = await model.points();
    for (const [place, corner] of this.corners.entries()) await corner.start(model, points, place);
    this.#changed();
  }

  /** The latent at time t in [0, 1]. */
  latent(time) {
    const [a, b, c] = this.corners.map((corner) => corner.latent);
    if (this.way.value === "spherical") return spherical(a, b, time);
    if (this.way.value === "arithmetic") return c.map((value, dim) => value + time * (a[dim] - b[dim]));
    return a.map((value, dim) => value + time * (b[dim] - value));
  }

  #changed() {
    if (this.corners.some((corner) => !corner.latent)) return;
    this.corners[2].element.hidden = this.way.value !== "arithmetic";
    this.#at(Number(this.time.value));
    this.app.attempt(() => this.strips.request(null));
  }

  #at(time) {
    this.time.value = String(time);
    this.app.attempt(() => this.frames.request(time));
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
    const { latentDim } = this.app.model;
    const latents = new Float32Array(count * latentDim);
    for (let step = 0; step < count; step += 1) latents.set(this.latent(step / (count - 1)), step * latentDim);
    return latents;
  }

  #toggle() {
    if (this.playing) {
      this.#stop();
      return;
    }
    let frame = 0;
    this.player.textContent = t("pause");
    this.playing = setInterval(() => {
      if (this.element.closest("[hidden]")) this.#stop();
      frame = (frame + 1) % (2 * FRAMES);
      this.#at(Math.min(frame, 2 * FRAMES - frame) / FRAMES);
    }, FRAME_MS);
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

/** One end of the morph: a test image or the latent of the sliders. */
class Corner {
  constructor(name, app, onchange) {
    this.app = app;
    this.onchange = onchange;
    this.latent = null;
    this.picture = new Picture(t("corner", name), "zoo-medium");
    this.index = h("input", {
      type: "number",
      min: "0",
      class: "zoo-number",
      id: `zoo-corner-${name}`,
      onchange: () => this.#choose(Number(this.index.value)),
    });
    this.random = button(t("randomImage"), () => this.#choose(Math.floor(Math.random() * this.points.count)));
    const current = button(t("sliderLatent"), () => this.#take(app.latent));
    this.element = h(
      "fieldset",
      {},
      h("legend", {}, name),
      this.picture.canvas,
      h("div", { class: "zoo-buttons" }, field(t("number"), this.index), this.random, current),
    );
  }

  async start(model, points, place) {
    this.points = points;
    this.index.disabled = this.random.disabled = !points;
    if (!points) {
      await this.#take(this.app.latent.map((value, dim) => value + (dim === 0 ? place : 0)));
      return;
    }
    this.index.max = String(points.count - 1);
    await this.#set(Math.min(place, points.count - 1));
  }

  #choose(index) {
    return this.app.attempt(async () => {
      await this.#set(Math.min(this.points.count - 1, Math.max(0, Math.round(index) || 0)));
      this.onchange();
    });
  }

  async #set(index) {
    const { latentDim } = this.app.model;
    this.index.value = String(index);
    this.latent = this.points.latents.slice(index * latentDim, (index + 1) * latentDim);
    await this.#draw();
  }

  #take(latent) {
    return this.app.attempt(async () => {
      this.latent = Float32Array.from(latent);
      this.index.value = "";
      await this.#draw();
      this.onchange();
    });
  }

  async #draw() {
    const { model } = this.app;
    const pixels = await model.decode(this.latent);
    if (model === this.app.model) this.picture.show(pixels, model.imageShape);
  }
}

/** Along the great circle (Shoemake 1985); straight where the ends are parallel. */
function spherical(a, b, time) {
  const norm = (latent) => Math.hypot(...latent);
  const cosine = a.reduce((sum, value, dim) => sum + value * b[dim], 0) / (norm(a) * norm(b));
  const angle = Math.acos(Math.min(1, Math.max(-1, cosine)));
  if (!(Math.sin(angle) > 1e-4)) return a.map((value, dim) => value + time * (b[dim] - value));
  const [from, to] = [Math.sin((1 - time) * angle), Math.sin(time * angle)].map((sine) => sine / Math.sin(angle));
  return a.map((value, dim) => from * value + to * b[dim]);
}
