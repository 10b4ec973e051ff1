// What the page asks of the server: JSON and little-endian binary, over the routes of zoo_demo/routes.py.

const RETRIES = 3;

/** A refusal of the server; the message is one line for the user. */
export class ServerError extends Error {}

export async function json(path) {
  return (await request(path)).json();
}

export async function floats(path, body) {
  return new Float32Array(await (await request(path, body)).arrayBuffer());
}

export async function bytes(path, body) {
  return new Uint8Array(await (await request(path, body)).arrayBuffer());
}

export async function blob(path, body) {
  return (await request(path, body)).blob();
}

/** GET without a body, POST with one; a server that is busy is asked again. */
async function request(path, body) {
  const options = body === undefined ? {} : { method: "POST", body, headers: { "Content-Type": "application/octet-stream" } };
  for (let attempt = 0; ; attempt += 1) {
    const response = await fetch(path, options).catch((error) => {
      throw new ServerError(String(error.message || error));
    });
    if (response.ok) return response;
    if (response.status === 503 && attempt < RETRIES) {
      const seconds = Number(response.headers.get("Retry-After")) || 1;
      await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
      continue;
    }
    const answer = await response.json().catch(() => ({}));
    throw new ServerError(answer.error || `${response.status} ${response.statusText}`);
  }
}
