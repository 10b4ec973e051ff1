// Planes through a latent space, and the square of one that a map shows.

import { t } from "./text.mjs";

/** Two latent dimensions; the others stay as they are. A latent of one dimension has a flat second axis. */
export function pairPlane(first, second, model) {
  const flat = second >= model.latentSize;
  return {
    names: [model.dimName(first), flat ? "" : model.dimName(second)],
    toPlane: (latent) => [latent[first], flat ? 0 : latent[second]],
    toLatent: ([x, y], base) => {
      const latent = Float32Array.from(base);
      latent[first] = x;
      if (!flat) latent[second] = y;
      return latent;
    },
  };
}

/** The plane of the two principal components, through the mean; an axis is named with its share of the variance. */
export function principalPlane({ pca: { mean, components, variance }, dims }) {
  const whole = dims.reduce((sum, { std }) => sum + std ** 2, 0);
  const along = (latent, axis) => axis.reduce((sum, weight, dim) => sum + weight * (latent[dim] - mean[dim]), 0);
  return {
    names: variance.map((part, place) => t("component", place + 1, Math.round((100 * part) / whole))),
    toPlane: (latent) => components.map((axis) => along(latent, axis)),
    toLatent: ([x, y]) => Float32Array.from(mean, (value, dim) => value + x * components[0][dim] + y * components[1][dim]),
  };
}

/** A square of a plane on a canvas whose side is given in pixels. */
export class Square {
  constructor(side, { centre, radius }) {
    this.side = side;
    this.centre = centre;
    this.radius = radius;
  }

  toPlane([x, y]) {
    const { side, centre, radius } = this;
    return [centre[0] + radius * ((2 * x) / side - 1), centre[1] - radius * ((2 * y) / side - 1)];
  }

  toCanvas([x, y]) {
    const { side, centre, radius } = this;
    return [(((x - centre[0]) / radius + 1) * side) / 2, ((1 - (y - centre[1]) / radius) * side) / 2];
  }
}

/** Centre and radius of a square that holds nearly all points, x and y in turn: 1 in 200 may lie outside on either side. */
export function around(places) {
  const ends = [0, 1].map((offset) => {
    const sorted = places.filter((_, index) => index % 2 === offset).sort();
    return [sorted[Math.floor(0.005 * (sorted.length - 1))], sorted[Math.ceil(0.995 * (sorted.length - 1))]];
  });
  const radius = 0.55 * Math.max(...ends.map(([low, high]) => high - low), 1e-6);
  return { centre: ends.map(([low, high]) => (low + high) / 2), radius };
}
