// The address after its #: the open tab and the model. So a view can be linked to, and Back goes back.

/** The tab and the model that the address names; either may be missing. */
export function readAddress() {
  const [tab, model] = location.hash.slice(1).split("/");
  return { tab, model };
}

/** Let the address name them: a new entry of the history, unless the old one named no model. */
export function writeAddress(tab, model) {
  const hash = `#${tab}/${model}`;
  if (hash === location.hash) return;
  const write = readAddress().model ? history.pushState : history.replaceState;
  write.call(history, null, "", hash);
}
