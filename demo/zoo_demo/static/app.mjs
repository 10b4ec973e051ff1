// The page: a model, a latent that all tabs share, and the tabs.

import { About } from "./about.mjs";
import { readAddress, writeAddress } from "./address.mjs";
import { Compare } from "./compare.mjs";
import { Explore } from "./explore.mjs";
import { LatentMap } from "./map.mjs";
import { Model } from "./model.mjs";
import { Morph } from "./morph.mjs";
import { Reconstruct } from "./reconstruct.mjs";
import { ServerError, json } from "./server.mjs";
import { language, t } from "./text.mjs";
import { field, h, modelOptions, select, setOptions, weighted } from "./ui.mjs";

const TABS = { reconstruct: Reconstruct, explore: Explore, map: LatentMap, morph: Morph, compare: Compare, about: About };
const NAMES = Object.keys(TABS);

/** Build the page inside an element. */
export async function mount(element) {
  if (element.querySelector(".zoo-app")) return;
  document.documentElement.lang = language;
  const root = h("div", { class: "zoo-app" });
  element.replaceChildren(root);
  try {
    const { models, default: first } = await json("/zoo/models");
    await new App(root, models).start(first);
    root.dataset.ready = "true"; // for whoever waits for the page
  } catch (error) {
    root.append(h("p", { class: "zoo-error", role: "alert" }, error.message));
  }
}

/**
 * What the tabs share. A tab's view has an `element`; `show(model)` is called when the tab is opened with another model
 * than before, `follow(by)`, where it has one, when the shared latent was set (by whom) or the tab is opened again, and
 * `redraw()`, where it has one, when the model is told another class than when the tab was drawn.
 */
class App {
  constructor(root, cards) {
    this.root = root;
    this.cards = cards;
    this.opened = new Map();
    this.model = null;
    this.latent = null; // Float32Array d
    this.told = null; // the class that conditional models are told, {label, name}; null for unknown
    this.#build();
  }

  /** Show what the address names, or else a model of this id; from now on follow the address. */
  async start(id) {
    addEventListener("hashchange", () => this.#goTo(readAddress()));
    const { tab, model } = readAddress();
    this.select(tab in TABS ? tab : NAMES[0]);
    await this.attempt(() => this.open(this.#has(model) ? model : id));
  }

  /** Open a model, once. */
  modelOf(id) {
    if (!this.opened.has(id)) {
      const opening = Model.open(id);
      opening.catch(() => this.opened.delete(id));
      this.opened.set(id, opening);
    }
    return this.opened.get(id);
  }

  /** Make a model the page's own and show it in the open tab; where that fails, the one before stays. */
  async open(id) {
    this.wanted = id;
    this.panels.inert = true;
    this.status.textContent = t("opening");
    try {
      const model = await this.modelOf(id);
      if (this.wanted === id) this.status.textContent = t("measuring");
      await model.measure();
      if (this.wanted !== id) return; // another was chosen meanwhile
      model.tell(this.told);
      this.model = model;
      this.latent = model.median();
      this.#describe(model);
      await this.select(this.tab);
    } finally {
      if (this.wanted === id) {
        this.wanted = this.picker.value = this.model?.id ?? "";
        if (this.model) writeAddress(this.tab, this.model.id);
        this.panels.inert = false;
        this.status.textContent = "";
      }
    }
  }

  /** Set the shared latent; the open tab follows. */
  setLatent(latent, by) {
    this.latent = Float32Array.from(latent);
    const { shown, view } = this.tabs[this.tab];
    if (shown === this.model) view.follow?.(by);
  }

  /** Open a tab by its name. */
  async select(name) {
    this.tab = name;
    this.#forgive();
    for (const [key, tab] of Object.entries(this.tabs)) {
      const chosen = key === name;
      tab.button.setAttribute("aria-selected", String(chosen));
      tab.button.tabIndex = chosen ? 0 : -1;
      tab.panel.hidden = !chosen || !this.model;
    }
    this.tabs[name].button.scrollIntoView({ block: "nearest", inline: "nearest" });
    if (this.wanted) writeAddress(name, this.wanted);
    if (this.model) await this.#show(this.tabs[name]);
  }

  /** Run what a user asked for, and say whether it worked; a failure becomes a line on the page, until the next act. */
  async attempt(action, line = this.error) {
    try {
      await action();
      return true;
    } catch (error) {
      if (!(error instanceof ServerError)) console.error(error);
      line.textContent = error.message;
      return false;
    }
  }

  async #show(tab) {
    const { model } = this;
    const { shown, told } = tab;
    Object.assign(tab, { shown: model, told: model.label });
    if (shown !== model) {
      if (!(await this.attempt(() => tab.view.show(model)))) tab.shown = null;
      return;
    }
    tab.view.follow?.();
    if (told !== model.label) await this.attempt(() => tab.view.redraw?.());
  }

  /** Tell the model a class in all tabs. */
  async #tell(label) {
    if (!this.model) return;
    const { classes } = this.model;
    this.told = label < classes.length ? { label, name: classes[label] } : null;
    this.model.tell(this.told);
    await this.#show(this.tabs[this.tab]);
  }

  #has(id) {
    return this.cards.some((card) => card.id === id);
  }

  #goTo({ tab, model }) {
    if (this.#has(model) && model !== this.wanted) this.attempt(() => this.open(model));
    this.select(tab in TABS ? tab : this.tab);
  }

  #forgive() {
    for (const line of this.root.querySelectorAll(".zoo-error")) line.textContent = "";
  }

  #build() {
    this.picker = h("select", { class: "zoo-select", id: "zoo-model", onchange: () => this.attempt(() => this.open(this.picker.value)) });
    this.picker.append(...modelOptions(this.cards));
    this.classes = select([], "", (label) => this.#tell(Number(label)), { id: "zoo-told" });
    this.classField = field(t("told"), this.classes);
    this.classField.hidden = true;
    this.badge = h("span", { class: "zoo-badge" });
    this.summary = h("p", { class: "zoo-summary" });
    this.status = h("p", { class: "zoo-status", role: "status" });
    this.error = h("p", { class: "zoo-error", role: "alert" });
    this.bar = h("div", { class: "zoo-tabs", role: "tablist", "aria-label": t("tabs") });
    this.panels = h("div", { class: "zoo-panels" });
    this.tabs = Object.fromEntries(NAMES.map((name) => [name, this.#buildTab(name)]));
    this.root.append(
      h("header", { class: "zoo-header" }, h("h1", {}, "Autoencoder Zoo"), field(t("model"), this.picker), this.classField, this.badge),
      this.summary,
      this.bar,
      this.panels,
      h("div", { class: "zoo-notes" }, this.status, this.error),
    );
    this.bar.addEventListener("keydown", (event) => this.#moveAlong(event));
    for (const act of ["click", "input", "change"]) this.root.addEventListener(act, () => this.#forgive(), { capture: true });
  }

  #buildTab(name) {
    const view = new TABS[name](this);
    const panel = h(
      "section",
      { id: `zoo-${name}`, class: "zoo-panel", role: "tabpanel", "aria-labelledby": `zoo-tab-${name}`, hidden: true },
      view.element,
    );
    const tab = h(
      "button",
      { type: "button", id: `zoo-tab-${name}`, role: "tab", "aria-controls": panel.id, onclick: () => this.select(name) },
      t(`tab.${name}`),
    );
    this.bar.append(tab);
    this.panels.append(panel);
    return { view, panel, button: tab, shown: null, told: null };
  }

  #moveAlong(event) {
    const at = NAMES.indexOf(this.tab);
    const last = NAMES.length - 1;
    const next = { ArrowRight: at === last ? 0 : at + 1, ArrowLeft: at === 0 ? last : at - 1, Home: 0, End: last }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    this.select(NAMES[next]);
    this.tabs[NAMES[next]].button.focus();
  }

  #describe(model) {
    const { components, test_metrics: [metric] } = model.card;
    const named = (kind) => components.filter((each) => each.kind === kind).map(weighted).join(" + ");
    const parts = ["encoder", "objective", "decoder", "distortion", "dataset"].map(named);
    const size = t({ 1: "oneDim" }[model.latentSize] ?? (model.latentShape.length > 1 ? "maps" : "dims"), model.latentShape.join("×"));
    const classes = model.classes.map((_, label) => [label, model.nameOf(label)]);
    setOptions(this.classes, [[classes.length, t("unknownClass")], ...classes], model.label);
    this.classField.hidden = !classes.length;
    this.summary.textContent =
      t("summary", parts.join(" · "), size, model.imageShape.join("×")) +
      (metric ? ` · ${t("metric", metric.name)} ${metric.text}` : "");
    this.badge.textContent = model.inBrowser ? t("inBrowser") : t("onServer");
    this.badge.title = model.why;
    this.badge.dataset.where = model.inBrowser ? "browser" : "server";
  }
}
