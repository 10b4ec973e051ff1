// One model of the page: its card, its decoder (here or on the server), and what was measured of it.

import { loadDecoder } from "./engine.mjs";
import { bytes, floats, json } from "./server.mjs";

const LATENTS_A_SLICE = 16; // decoded here before the browser may paint again

export class Model {
  /** Open the model of a card as `/zoo/models` gives it. */
  static async open(id) {
    const card = await json(`/zoo/models/${id}`);
    const model = new Model(card);
    if (card.decoder.where === "browser") {
      try {
        model.decoder = await loadDecoder(card.decoder.plan, card.decoder.weights);
      } catch (error) {
        model.why = error.message; // the server decodes, and the badge says why
      }
    } else {
      model.why = card.decoder.why;
    }
    return model;
  }

  constructor(card) {
    this.card = card;
    this.id = card.id;
    this.imageShape = card.image_shape;
    this.latentDim = card.latent_dim;
    this.pixels = card.image_shape.reduce((product, n) => product * n, 1);
    this.decoder = null;
    this.why = "";
    this.path = `/zoo/models/${card.id}`;
    this.once = new Map();
  }

  /** Whether latents are decoded in the browser. */
  get inBrowser() {
    return this.decoder !== null;
  }

  /** Decode latents, Float32Array k·d, into pixels, Float32Array k·C·H·W. */
  async decode(latents) {
    const count = latents.length / this.latentDim;
    if (this.decoder && count <= LATENTS_A_SLICE) return this.decoder.decode(latents);
    const slice = this.decoder ? LATENTS_A_SLICE : this.card.most.latents;
    const pixels = new Float32Array(count * this.pixels);
    for (let start = 0; start < count; start += slice) {
      const part = latents.slice(start * this.latentDim, (start + slice) * this.latentDim);
      if (this.decoder) await new Promise((resolve) => setTimeout(resolve));
      const decoded = this.decoder ? this.decoder.decode(part) : await floats(`${this.path}/decode`, part);
      pixels.set(decoded, start * this.pixels);
    }
    return pixels;
  }

  /** Encode and decode images, Uint8Array k·C·H·W. */
  async reconstruct(images) {
    const count = images.length / this.pixels;
    const answer = await floats(`${this.path}/reconstruct`, images);
    const errors = count * this.latentDim;
    return {
      latents: answer.slice(0, errors),
      errors: answer.slice(errors, errors + count),
      reconstructions: answer.slice(errors + count),
    };
  }

  /** The test images of these indices, Uint8Array k·C·H·W. */
  async images(indices) {
    const images = new Uint8Array(indices.length * this.pixels);
    const { images: most } = this.card.most; // a request
    for (let start = 0; start < indices.length; start += most) {
      const part = indices.slice(start, start + most);
      images.set(await bytes(`${this.path}/images?index=${part.join(",")}`), start * this.pixels);
    }
    return images;
  }

  /** Latents drawn from the prior, Float32Array k·d. */
  async sample(count) {
    return floats(`${this.path}/sample?count=${count}`);
  }

  /** An image file, as the model takes it: Uint8Array C·H·W. */
  async upload(file, invert) {
    return bytes(`${this.path}/upload?invert=${invert ? 1 : 0}`, file);
  }

  /** What was measured on the dataset: ranges, order, threshold. */
  space() {
    return this.#memo("space", () => json(`${this.path}/space`));
  }

  /** The test images' latents n·d, per-image errors n and labels n; null where the dataset is not there. */
  points() {
    return this.#memo("points", async () => {
      const space = await this.space();
      if (!space.available) return null;
      const raw = await bytes(`${this.path}/points`);
      const [n, d] = [space.count, this.latentDim];
      return {
        count: n,
        latents: new Float32Array(raw.buffer, 0, n * d),
        errors: new Float32Array(raw.buffer, 4 * n * d, n),
        labels: new Int32Array(raw.buffer, 4 * n * (d + 1), n),
      };
    });
  }

  /** The middle of the data: where the sliders start. */
  async median() {
    return Float32Array.from((await this.space()).dims, (dim) => dim.median);
  }

  #memo(name, compute) {
    if (!this.once.has(name)) {
      const promise = compute();
      promise.catch(() => this.once.delete(name)); // a failure may be asked again
      this.once.set(name, promise);
    }
    return this.once.get(name);
  }
}
