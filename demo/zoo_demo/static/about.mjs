// About: the model card, how to load the model in Python, and the page's own interface.

import { curve } from "./curve.mjs";
import { t } from "./text.mjs";
import { button, h, weighted } from "./ui.mjs";

export class About {
  constructor() {
    this.element = h("div", { class: "zoo-about" });
  }

  show(model) {
    const { card } = model;
    this.element.replaceChildren(
      section(t("card"), facts(model)),
      section(t("components"), components(card)),
      section(t("curve"), curve(card.history ?? []) ?? h("p", {}, t("noCurve"))),
      section(t("settings"), pairs(Object.entries(card.settings).map(([name, value]) => [name, written(value)]))),
      program(t("inPython"), inPython(model), card.source === "run" ? t("pathHint") : ""),
      program(t("inShell"), card.command),
      program(t("api"), api(model), t("apiHint")),
      section(t("keys"), h("p", {}, t("keysText"))),
    );
  }
}

function section(title, ...content) {
  return h("section", {}, h("h2", {}, title), ...content);
}

/** Text to be copied. Browsers let a page write to the clipboard where they trust its address: elsewhere no button. */
function program(title, text, hint = "") {
  const copy = button(t("copy"), async () => {
    await navigator.clipboard.writeText(text);
    copy.textContent = t("copied");
  });
  return section(
    title,
    h("pre", { tabIndex: 0, role: "region", "aria-label": title }, h("code", {}, text)),
    navigator.clipboard ? copy : null,
    h("p", { class: "zoo-hint" }, hint),
  );
}

function inPython({ card, imageShape, latentShape, classes }) {
  const labels = classes.length ? `\nlabels = torch.tensor([0, 1])  # numbers of classes; ${classes.length} is unknown` : "";
  return `import torch
import zoo

model = ${card.load}
images = torch.rand(2, ${imageShape.join(", ")})  # (N, C, H, W), float in [0, 1]
latents = model.encode(images)  # (2, ${latentShape.join(", ")})${labels}
images = model.decode(latents${labels && ", labels"})`;
}

function facts(model) {
  const { card } = model;
  const { dataset } = card;
  return pairs([
    [t("model"), card.title],
    [t("imageShape"), card.image_shape.join(" × ")],
    [t("latentSize"), model.latentShape.join(" × ")],
    [t("parameters"), `${card.parameters.encoder.toLocaleString()} + ${card.parameters.decoder.toLocaleString()}`],
    [t("epoch"), card.epoch],
    ...card.test_metrics.map(({ name, text }) => [t("metric", name), text]),
    [t("toldClasses"), model.classes.map((_, label) => model.nameOf(label)).join(", ")],
    [t("dataset"), [dataset.name, dataset.summary].filter(Boolean).join(": ")],
    [t("licence"), dataset.licence],
    [t("credit"), dataset.credit],
    [t("decodedWhere"), model.inBrowser ? t("inBrowser") : `${t("onServer")} (${model.why})`],
    ["SHA-256", card.sha256],
    ...Object.entries(card.versions),
  ]);
}

function components(card) {
  const rows = card.components.map((component) => {
    const { kind, distribution, version, options } = component;
    const settings = Object.entries(options).map(([option, value]) => `${option}=${written(value)}`);
    return [kind, weighted(component), `${distribution} ${version}`, settings.join("  ")];
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

function api({ id, latentShape, classes }) {
  const [size, ...outer] = latentShape.toReversed();
  const numbers = size > 3 ? `[0.0] * ${size}` : `[${Array(size).fill("0.0").join(", ")}]`;
  const zeros = outer.reduce((inner, side) => `[${inner}] * ${side}`, numbers);
  const label = classes.length ? ", [0]" : "";
  const labels = label && `# the last argument: numbers of classes, ${classes.length} for unknown\n`;
  return `from gradio_client import Client

client = Client("${location.origin}")
# behind --auth: Client("${location.origin}", httpx_kwargs={"auth": ("USER", "PASSWORD")})
${labels}images = client.predict("${id}", [${zeros}]${label}, api_name="/decode")  # (N, C, H, W) in nested lists, in [0, 1]
latents = client.predict("${id}", images, api_name="/encode")  # (N, ${latentShape.join(", ")})
answer = client.predict("${id}", images${label}, api_name="/reconstruct")  # reconstructions, latents, mse`;
}
