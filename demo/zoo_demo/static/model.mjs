// One model of the page: its card, its decoder (here or on the server), and what was measured of it.

import { loadDecoder } from "./engine.mjs";
import { bytes, floats, json } from "./server.mjs";
import { t } from "./text.mjs";

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
    this.latentShape = card.latent_shape; // [d], or [d, h, w] for maps; latents are flat here
    this.pixels = sizeOf(card.image_shape);
    this.latentSize = sizeOf(card.latent_shape);
    this.classes = card.settings.conditional ? card.classes : []; // that it can be told
    this.label = this.classes.length; // what it is told: a class, or this number for unknown
    this.decoder = null;
    this.why = "";
    this.path = `/zoo/models/${card.id}`;
    this.space = null;
    this.points = null;
  }

  /** Whether latents are decoded in the browser. */
  get inBrowser() {
    return this.decoder !== null;
  }

  /** Tell the model a class, {label, name}, in all that it decodes from now on; null or a name that it lacks is unknown. */
  tell(told) {
    const same = told && this.classes[told.label] === told.name; // several classes may have one name
    const label = same ? told.label : this.classes.indexOf(told?.name);
    this.label = label < 0 ? this.classes.length : label;
  }

  /** The query that tells the server what the model is told. */
  get #told() {
    return this.label < this.classes.length ? `?label=${this.label}` : "";
  }

  /** Decode latents, Float32Array k·d, into pixels, Float32Array k·C·H·W. */
  async decode(latents) {
    const count = latents.length / this.latentSize;
    const { label } = this; // another may be told before the last slice
    if (this.decoder && count <= LATENTS_A_SLICE) return this.decoder.decode(latents, label);
    const path = `${this.path}/decode${this.#told}`;
    const slice = this.decoder ? LATENTS_A_SLICE : this.card.most.latents;
    const pixels = new Float32Array(count * this.pixels);
    for (let start = 0; start < count; start += slice) {
      const part = latents.slice(start * this.latentSize, (start + slice) * this.latentSize);
      if (this.decoder) await new Promise((resolve) => setTimeout(resolve));
      const decoded = this.decoder ? this.decoder.decode(part, label) : await floats(path, part);
      pixels.set(decoded, start * this.pixels);
    }
    return pixels;
  }

  /** Encode and decode images, Uint8Array k·C·H·W. */
  async reconstruct(images) {
    const count = images.length / this.pixels;
    const answer = await floats(`${this.path}/reconstruct${this.#told}`, images);
    const errors = count * this.latentSize;
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

  /**
   * Ask what was measured on the dataset: `space`, the ranges, their order and the threshold; and `points`, the test
   * images' latents n·d, errors n and labels n, null where the dataset is not there.
   */
  async measure() {
    if (this.space) return;
    const space = await json(`${this.path}/space`);
    this.points = space.available ? await this.#measuredPoints(space.count) : null;
    this.space = space;
  }

  async #measuredPoints(count) {
    const raw = await bytes(`${this.path}/points`);
    const numbers = count * this.latentSize;
    return {
      count,
      latents: new Float32Array(raw.buffer, 0, numbers),
      errors: new Float32Array(raw.buffer, 4 * numbers, count),
      labels: new Int32Array(raw.buffer, 4 * (numbers + count), count),
    };
  }

  /** The test image that a number means, be it out of range or none at all. */
  nearestIndex(number) {
    return Math.min(this.points.count - 1, Math.max(0, Math.round(number) || 0));
  }

  /** The numbers of the test images of a class; of all for "". */
  indicesOf(label) {
    const { labels } = this.points;
    const indices = Array.from(labels.keys());
    return label === "" ? indices : indices.filter((index) => labels[index] === Number(label));
  }

  titleOf(index) {
    return t("testImage", index, this.nameOf(this.points.labels[index]));
  }

  /** The name of a class; its number where it has no name, and beside a name that another class has too. */
  nameOf(label) {
    const { classes } = this.card;
    const name = classes[label] ?? String(label);
    return classes.indexOf(name) === classes.lastIndexOf(name) ? name : `${name} (${label})`;
  }

  /** The name of a number of the latent, of maps with its place: counted from 1. */
  dimName(dim) {
    if (this.latentShape.length === 1) return t("dim", dim + 1);
    const [, height, width] = this.latentShape;
    const place = dim % (height * width);
    return t("mapDim", Math.floor(dim / (height * width)) + 1, Math.floor(place / width) + 1, (place % width) + 1);
  }

  /** The latent of a test image. */
  latentOf(index) {
    return this.points.latents.slice(index * this.latentSize, (index + 1) * this.latentSize);
  }

  /** The middle of the data: where the sliders start. */
  median() {
    return Float32Array.from(this.space.dims, (dim) => dim.median);
  }

  /** Any latent within the ranges of the sliders. */
  randomLatent() {
    return Float32Array.from(this.space.dims, ({ low, high }) => low + (high - low) * Math.random());
  }
}

function sizeOf(shape) {
  return shape.reduce((product, side) => product * side, 1);
}
