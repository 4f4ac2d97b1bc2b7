// ONNX models with their descriptions, in onnxruntime-web.
import * as ort from "./vendor/ort.wasm.min.mjs";

// One thread: more need the headers Cross-Origin-Opener-Policy and Cross-Origin-Embedder-Policy of the host.
ort.env.wasm.numThreads = 1;

const ARRAYS = { uint8: Uint8Array, float32: Float32Array };

/**
 * Fetch a file.
 * @throws {Error} with one readable line.
 */
export async function fetchFile(url) {
  let response;
  try {
    response = await fetch(url);
  } catch {
    throw new Error(`${url} cannot be loaded: no connection to the server`);
  }
  if (!response.ok) throw new Error(`${url} cannot be loaded (${response.status}): run build.py, see examples/README.md`);
  return response;
}

/**
 * Open a model and check that its description belongs to it.
 * @param url of the .onnx file. Its description is the file with ".json" after its name.
 * @param format what the description must name as its format.
 */
export async function openModel(url, format) {
  const [model, text] = await Promise.all([
    fetchFile(url).then((response) => response.arrayBuffer()),
    fetchFile(`${url}.json`).then((response) => response.text()),
  ]);
  let description;
  try {
    description = JSON.parse(text);
  } catch {
    throw new Error(`${url}.json is not JSON`);
  }
  if (description.format !== format || description.version !== 1) {
    throw new Error(`${url}.json is not the description of a ${format} that this page can read`);
  }
  if (crypto.subtle && (await sha256(model)) !== description.sha256) {
    throw new Error(`${url} is not the file that its description describes, or it is cut short`);
  }
  if (!ARRAYS[description.input.dtype]) throw new Error(`${url} takes ${description.input.dtype}, which is not supported`);
  try {
    return { description, url, session: await ort.InferenceSession.create(model, { executionProviders: ["wasm"] }) };
  } catch (error) {
    throw new Error(`${url} cannot be opened by onnxruntime-web (${String(error.message ?? error).split("\n")[0]})`);
  }
}

/** Run a model on one input array; return its outputs by name. */
export function run({ session, description: { input } }, data, shape) {
  return session.run({ [input.name]: new ort.Tensor(input.dtype, data, shape) });
}

async function sha256(buffer) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", buffer));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
