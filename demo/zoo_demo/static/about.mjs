// About: the model card, how to load the model in Python, and the page's own interface.

import { t } from "./text.mjs";
import { h } from "./ui.mjs";

const CHART = { width: 560, height: 220, margin: 44 };
const SVG = "http://www.w3.org/2000/svg";

export class About {
  constructor() {
    this.element = h("div", { class: "zoo-about" });
  }

  async show(model) {
    const { card } = model;
    this.element.replaceChildren(
      section(t("card"), facts(model)),
      section(t("components"), components(card)),
      section(t("curve"), card.history?.length > 1 ? curve(card.history) : h("p", {}, t("noCurve"))),
      section(t("settings"), pairs(Object.entries(card.settings).map(([name, value]) => [name, written(value)]))),
      section(t("inPython"), code(`import zoo\n\nmodel = ${card.load}\nlatents = model.encode(images)  # (N, ${model.imageShape.join(", ")}) → (N, ${model.latentDim})\nimages = model.decode(latents)`)),
      section(t("inShell"), code(card.command ? `${card.command}` : "–")),
      section(t("api"), code(api(model)), h("p", { class: "zoo-hint" }, t("apiHint"))),
      section(t("keys"), h("p", {}, t("keysText"))),
    );
  }
}

function section(title, ...content) {
  return h("section", {}, h("h2", {}, title), ...content);
}

function code(text) {
  return h("pre", { tabIndex: 0 }, h("code", {}, text));
}

function facts(model) {
  const { card } = model;
  const metrics = card.test_metrics ?? {};
  const number = (name, digits, unit = "") => (name in metrics ? metrics[name].toFixed(digits) + unit : "–");
  const { dataset } = card;
  return pairs([
    [t("model"), card.title],
    [t("imageShape"), card.image_shape.join(" × ")],
    [t("latentSize"), card.latent_dim],
    [t("parameters"), `${card.parameters.encoder.toLocaleString()} + ${card.parameters.decoder.toLocaleString()}`],
    [t("epoch"), card.epoch],
    ["MSE", number("mse", 5)],
    ["PSNR", number("psnr", 2, " dB")],
    ["SSIM", number("ssim", 3)],
    [t("dataset"), [dataset.name, dataset.summary].filter(Boolean).join(": ")],
    [t("licence"), dataset.licence],
    [t("credit"), dataset.credit],
    [t("decodedWhere"), model.inBrowser ? t("inBrowser") : `${t("onServer")} (${model.why})`],
    ["SHA-256", card.sha256],
    ...Object.entries(card.versions),
  ]);
}

function components(card) {
  const rows = Object.entries(card.components).map(([kind, { name, distribution, version, options }]) => {
    const settings = Object.entries(options).map(([option, value]) => `${option}=${written(value)}`);
    return [kind, name, `${distribution} ${version}`, settings.join("  ")];
  });
  return h(
    "div",
    { class: "zoo-scroll" },
    h(
      "table",
      { class: "zoo-table" },
      ...rows.map(([kind, ...cells]) => h("tr", {}, h("th", { scope: "row" }, kind), ...cells.map((text) => h("td", {}, text)))),
    ),
  );
}

function pairs(entries) {
  const known = entries.filter(([, value]) => value !== undefined && value !== null && value !== "");
  return h("dl", { class: "zoo-facts" }, ...known.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, String(value))]));
}

function written(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function api({ id, latentDim }) {
  const zeros = latentDim > 3 ? `[0.0] * ${latentDim}` : `[${Array(latentDim).fill("0.0").join(", ")}]`;
  return `from gradio_client import Client

client = Client("${location.origin}")
images = client.predict("${id}", [${zeros}], api_name="/decode")  # (N, C, H, W), nested lists
latents = client.predict("${id}", images, api_name="/encode")  # (N, ${latentDim})
answer = client.predict("${id}", images, api_name="/reconstruct")  # reconstructions, latents, mse`;
}

/** The losses over the epochs, on a logarithmic axis. */
function curve(history) {
  const { width, height, margin } = CHART;
  const series = { train_loss: "zoo-train", val_loss: "zoo-val" };
  const values = history.flatMap((row) => Object.keys(series).map((name) => row[name])).filter((value) => value > 0);
  const [low, high] = [Math.log(Math.min(...values)), Math.log(Math.max(...values))];
  const epochs = history.map((row) => row.epoch);
  const [first, last] = [Math.min(...epochs), Math.max(...epochs)];
  const x = (epoch) => margin + ((width - 2 * margin) * (epoch - first)) / (last - first || 1);
  const y = (value) => height - margin - ((height - 2 * margin) * (Math.log(value) - low)) / (high - low || 1);
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, class: "zoo-curve", role: "img", "aria-label": t("curve") });
  for (const value of [Math.exp(low), Math.exp((low + high) / 2), Math.exp(high)]) {
    svg.append(draw("line", { x1: margin, x2: width - margin, y1: y(value), y2: y(value), class: "zoo-rule" }));
    svg.append(draw("text", { x: margin - 6, y: y(value) + 4, "text-anchor": "end" }, value.toPrecision(2)));
  }
  for (const epoch of [first, last]) svg.append(draw("text", { x: x(epoch), y: height - margin + 18, "text-anchor": "middle" }, epoch));
  svg.append(draw("text", { x: width / 2, y: height - 8, "text-anchor": "middle" }, t("epochs")));
  Object.entries(series).forEach(([name, className], place) => {
    const points = history.filter((row) => row[name] > 0).map((row) => `${x(row.epoch)},${y(row[name])}`);
    svg.append(draw("polyline", { points: points.join(" "), class: className }));
    svg.append(draw("text", { x: width - margin, y: 16 + 16 * place, "text-anchor": "end", class: className }, t(name)));
  });
  return svg;
}

function draw(tag, attributes, text = "") {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
}
