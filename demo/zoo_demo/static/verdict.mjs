// How unusual an error is: where it stands among the errors of the run's validation images.

import { t } from "./text.mjs";
import { h } from "./ui.mjs";

export class Verdict {
  constructor() {
    this.mark = h("div", { class: "zoo-meter-mark" });
    this.line = h("div", { class: "zoo-meter-line" });
    this.error = h("span", { class: "zoo-meter-label" });
    this.limit = h("span", { class: "zoo-meter-label" });
    const bar = h("div", { class: "zoo-meter-bar" }, this.mark, this.line);
    this.meter = h("div", { class: "zoo-meter", "aria-hidden": "true" }, this.error, bar, this.limit); // the text says it all
    this.text = h("p", { class: "zoo-verdict", role: "status" });
    this.basis = h("p", { class: "zoo-hint" });
    this.element = h("div", {}, this.meter, this.text, this.basis);
    this.clear();
  }

  clear() {
    this.meter.hidden = true;
    this.text.textContent = "";
    this.basis.textContent = "";
  }

  /** Judge the mean squared error of an image, by what was measured of the model. */
  show(title, error, { available, threshold, validation_errors: quantiles }) {
    const mse = t("mse", title, error.toFixed(4));
    this.clear();
    this.text.textContent = mse;
    if (!available) return;
    const percentile = Math.max(0, quantiles.filter((quantile) => quantile < error).length - 1); // 0 to 100
    const unusual = error > threshold.mse;
    const percent = Math.round(100 * threshold.quantile);
    this.text.textContent = `${mse} ${t(unusual ? "unusual" : "ordinary", percentile)}`;
    this.text.dataset.unusual = String(unusual);
    this.basis.textContent = t("threshold", percent, threshold.mse.toFixed(4), threshold.count.toLocaleString());
    this.#draw(error, threshold.mse, percent, unusual);
  }

  #draw(error, threshold, percent, unusual) {
    const top = Math.max(2 * threshold, error);
    const place = (value) => `${(100 * value) / top}%`;
    this.meter.hidden = false;
    this.mark.style.width = place(error);
    this.mark.dataset.unusual = String(unusual);
    this.line.style.left = place(threshold);
    this.error.style.setProperty("--place", place(error));
    this.error.textContent = error.toFixed(4);
    this.limit.style.setProperty("--place", place(threshold));
    this.limit.textContent = t("limit", threshold.toFixed(4), percent);
  }
}
