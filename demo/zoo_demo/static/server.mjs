// What the page asks of the server: JSON and little-endian binary, over the routes of zoo_demo/routes.py.

import { refusal, t } from "./text.mjs";

const RETRIES = 3;

/** A refusal of the server, or its silence; the message is one line for the user. */
export class ServerError extends Error {}

export function json(path) {
  return request(path, undefined, "json");
}

export async function floats(path, body) {
  return new Float32Array(await request(path, body, "arrayBuffer"));
}

export async function bytes(path, body) {
  return new Uint8Array(await request(path, body, "arrayBuffer"));
}

export function blob(path, body) {
  return request(path, body, "blob");
}

/** GET without a body, POST with one; a server that is busy is asked again. The answer is read in the form asked for. */
async function request(path, body, form) {
  const options = body === undefined ? {} : { method: "POST", body, headers: { "Content-Type": "application/octet-stream" } };
  for (let attempt = 0; ; attempt += 1) {
    const response = await heard(fetch(path, options));
    if (response.ok) return heard(response[form]());
    if (response.status === 503 && attempt < RETRIES) {
      const seconds = Number(response.headers.get("Retry-After")) || 1;
      await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
      continue;
    }
    const { error } = await response.json().catch(() => ({}));
    throw new ServerError(refusal(response.status, error || `${response.status} ${response.statusText}`));
  }
}

/** What a promise of `fetch` gives; it fails where nobody answers, or where the answer breaks off. */
function heard(promise) {
  return promise.catch(() => {
    throw new ServerError(t("noServer"));
  });
}
