// Small test images, each a button that chooses it.

import { Picture } from "./picture.mjs";
import { h } from "./ui.mjs";

/** The buttons of test images by their numbers; `onchoose` gets the number of one. */
export async function thumbnails(model, indices, onchoose) {
  const images = await model.images(indices);
  return indices.map((index, place) => {
    const picture = new Picture("", "zoo-thumbnail");
    picture.show(images.subarray(place * model.pixels, (place + 1) * model.pixels), model.imageShape);
    const title = model.titleOf(index);
    const properties = { type: "button", value: String(index), title, "aria-label": title, onclick: () => onchoose(index) };
    return h("button", properties, picture.canvas);
  });
}
