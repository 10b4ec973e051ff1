// The page: a model, a latent that all tabs share, and the tabs.

import { About } from "./about.mjs";
import { Compare } from "./compare.mjs";
import { Explore } from "./explore.mjs";
import { LatentMap } from "./map.mjs";
import { Model } from "./model.mjs";
import { Morph } from "./morph.mjs";
import { Reconstruct } from "./reconstruct.mjs";
import { json } from "./server.mjs";
import { language, t } from "./text.mjs";
import { h, select } from "./ui.mjs";

const TABS = { reconstruct: Reconstruct, explore: Explore, map: LatentMap, morph: Morph, compare: Compare, about: About };

/** Build the page inside an element. */
export async function mount(element) {
  if (element.querySelector(".zoo-app")) return;
  document.documentElement.lang = language;
  const root = h("div", { class: "zoo-app" });
  element.replaceChildren(root);
  try {
    const { models, default: first } = await json("/zoo/models");
    const app = new App(root, models);
    await app.open(first);
    root.dataset.ready = "true"; // for whoever waits for the page
  } catch (error) {
    root.append(h("p", { class: "zoo-error", role: "alert" }, error.message));
  }
}

/** What the tabs share. Events: `latent` (detail: who set it). */
class App extends EventTarget {
  constructor(root, cards) {
    super();
    this.cards = cards;
    this.opened = new Map();
    this.model = null;
    this.latent = null; // Float32Array d
    this.#build(root);
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

  /** Make a model the page's own and show it in the open tab. */
  async open(id) {
    this.status.textContent = t("opening");
    this.picker.value = id;
    const model = await this.modelOf(id);
    if (this.picker.value !== id) return; // another was chosen meanwhile
    this.model = model;
    this.latent = new Float32Array(model.latentDim);
    this.#describe(model);
    for (const tab of Object.values(this.tabs)) tab.shown = null;
    this.status.textContent = t("measuring");
    const median = await model.median();
    if (this.model !== model) return;
    this.latent = median;
    await this.#show(this.tab);
    if (this.model === model) this.status.textContent = "";
  }

  /** Set the shared latent; the tabs follow. */
  setLatent(latent, by) {
    this.latent = Float32Array.from(latent);
    this.dispatchEvent(new CustomEvent("latent", { detail: by }));
  }

  /** Open a tab by its name. */
  async select(name) {
    this.tab = name;
    for (const [key, tab] of Object.entries(this.tabs)) {
      const chosen = key === name;
      tab.button.setAttribute("aria-selected", String(chosen));
      tab.button.tabIndex = chosen ? 0 : -1;
      tab.panel.hidden = !chosen;
    }
    history.replaceState(null, "", `#${name}`);
    if (this.model) await this.#show(name);
  }

  /** Run what a user asked for; a failure becomes a line on the page. */
  async attempt(action) {
    this.error.textContent = "";
    try {
      await action();
    } catch (error) {
      this.error.textContent = error.message;
    }
  }

  async #show(name) {
    const tab = this.tabs[name];
    if (tab.shown === this.model) return;
    tab.shown = this.model;
    await this.attempt(() => tab.view.show(this.model));
  }

  #build(root) {
    this.picker = select(
      this.cards.map((card) => [card.id, card.title]),
      "",
      (id) => this.attempt(() => this.open(id)),
      { id: "zoo-model" },
    );
    this.badge = h("span", { class: "zoo-badge" });
    this.summary = h("p", { class: "zoo-summary" });
    this.status = h("p", { class: "zoo-status", role: "status" });
    this.error = h("p", { class: "zoo-error", role: "alert" });
    const bar = h("div", { class: "zoo-tabs", role: "tablist", "aria-label": t("tabs") });
    root.append(
      h(
        "header",
        { class: "zoo-header" },
        h("h1", {}, "Autoencoder Zoo"),
        h("label", { class: "zoo-field" }, h("span", {}, t("model")), this.picker),
        this.badge,
      ),
      this.summary,
      bar,
      this.status,
      this.error,
    );
    this.tabs = {};
    const names = Object.keys(TABS);
    for (const name of names) {
      const view = new TABS[name](this);
      const panel = h(
        "section",
        { id: `zoo-${name}`, class: "zoo-panel", role: "tabpanel", "aria-labelledby": `zoo-tab-${name}`, hidden: true },
        view.element,
      );
      const tabButton = h(
        "button",
        { type: "button", id: `zoo-tab-${name}`, role: "tab", "aria-controls": panel.id, onclick: () => this.select(name) },
        t(`tab.${name}`),
      );
      this.tabs[name] = { view, panel, button: tabButton, shown: null };
      bar.append(tabButton);
      root.append(panel);
    }
    bar.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = names[(names.indexOf(this.tab) + step + names.length) % names.length];
      this.select(next);
      this.tabs[next].button.focus();
    });
    const wanted = location.hash.slice(1);
    this.select(names.includes(wanted) ? wanted : names[0]);
  }

  #describe(model) {
    const { components, test_metrics: metrics } = model.card;
    const parts = ["encoder", "objective", "decoder", "dataset"].map((kind) => components[kind].name);
    this.summary.textContent =
      t("summary", parts.join(" · "), model.latentDim, model.imageShape.join("×")) +
      (metrics ? ` · ${t("testError", metrics.mse.toFixed(4))}` : "");
    this.badge.textContent = model.inBrowser ? t("inBrowser") : t("onServer");
    this.badge.title = model.why;
    this.badge.dataset.where = model.inBrowser ? "browser" : "server";
  }
}
