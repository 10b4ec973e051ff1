// An image file of the user's; what is wrong with it is said here, where it was chosen.

import { t } from "./text.mjs";
import { checkbox, field, h } from "./ui.mjs";

export class Upload {
  /** `onchoose` gets what the file holds: {title, image, line}, `line` being the place for a failure. */
  constructor(onchoose) {
    this.chosen = null;
    const choose = () => this.chosen && onchoose(this.chosen);
    const invert = checkbox(t("invert"), choose, { id: "zoo-invert" });
    const line = h("p", { class: "zoo-error", role: "alert" });
    const file = h("input", {
      type: "file",
      id: "zoo-file",
      accept: "image/*",
      onclick: () => (file.value = ""), // so that the same file, chosen again, is a change
      onchange: () => {
        const [content] = file.files;
        if (!content) return;
        this.chosen = { title: content.name, image: (model) => model.upload(content, invert.control.checked), line };
        choose();
      },
    });
    this.element = h(
      "fieldset",
      {},
      h("legend", {}, t("upload")),
      field(t("imageFile"), file),
      line,
      invert.element,
      h("p", { class: "zoo-hint" }, t("uploadHint")),
    );
  }
}
