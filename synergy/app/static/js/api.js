// Requests to the server. Every failure is an Error whose message can be shown to the user.

const UNREACHABLE = "The server cannot be reached. Is `synergy app` still running?";
const CLIP_SUFFIXES = /\.(mp4|m4v|mov|mkv|webm|avi|mpg|mpeg|wmv|flv|3gp|ts)$/i;

/** Fetch, with an error message from the server's answer. */
async function request(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    throw error.name === "AbortError" ? error : new Error(UNREACHABLE);
  }
  if (!response.ok) {
    const answer = await response.json().catch(() => ({}));
    throw new Error(answer.error ?? `The server answered with an error (${response.status}).`);
  }
  return response;
}

export async function settings() {
  return (await request("/api/settings")).json();
}

export function isClip(file) {
  return file.type.startsWith("video/") || CLIP_SUFFIXES.test(file.name);
}

/** Refuse a file before it is sent, where its size says enough. */
export function checkFile(file, limits) {
  const megabytes = isClip(file) ? limits.clip_megabytes : limits.photo_megabytes;
  if (file.size > megabytes * 1e6) {
    throw new Error(`${file.name} has ${Math.ceil(file.size / 1e6)} MB. At most ${megabytes} MB are accepted.`);
  }
}

/** Analyse a file and return the server's description of the result. `onProgress` is called with 0 to 1. */
export async function analyse(file, signal, onProgress) {
  const kind = isClip(file) ? "clips" : "photos";
  const path = `/api/${kind}?name=${encodeURIComponent(file.name)}`;
  const response = await request(path, { method: "POST", body: file, signal });
  return kind === "photos" ? response.json() : lastLine(response, onProgress);
}

export async function analyseExample(name, signal) {
  return (await request(`/api/examples/${encodeURIComponent(name)}`, { method: "POST", signal })).json();
}

/** Read lines of JSON until the one with the result. */
async function lastLine(response, onProgress) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read().catch((error) => {
      throw error.name === "AbortError" ? error : new Error(UNREACHABLE);
    });
    if (done) throw new Error(UNREACHABLE);
    text += value;
    const lines = text.split("\n");
    text = lines.pop();
    for (const line of lines.map((each) => JSON.parse(each))) {
      if (line.error !== undefined) throw new Error(line.error);
      if (line.result !== undefined) return line.result;
      onProgress(line.progress);
    }
  }
}

export const path = {
  view: (id) => `/api/results/${id}/view.jpg`,
  layer: (id, layer) => `/api/results/${id}/layers/${encodeURIComponent(layer)}.png`,
  model: (id, number) => `/api/results/${id}/models/${number}.glb`,
  file: (id, name) => `/api/results/${id}/files/${encodeURIComponent(name)}`,
  example: (name) => `/api/examples/${encodeURIComponent(name)}.jpg`,
};

export async function bytes(address) {
  return (await request(address)).arrayBuffer();
}

export async function blob(address) {
  return (await request(address)).blob();
}

/** Let the server forget a result, also while the page is left. */
export function forget(id) {
  fetch(`/api/results/${id}`, { method: "DELETE", keepalive: true }).catch(() => {});
}
