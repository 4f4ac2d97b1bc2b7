// Downloads of everything that can be made from a result.

import { blob, path } from "./api.js";
import { byId, make, showAlert } from "./dom.js";

const GROUPS = {
  "Everything": /^everything/,
  "Numbers": /\.(json|jsonl|csv|pts|npz)$/,
  "Pictures and video": /\.(jpg|png|mp4)$/,
  "Meshes": /./,
};

export function showFiles(result) {
  const left = new Set(result.files);
  const parts = [];
  for (const [title, pattern] of Object.entries(GROUPS)) {
    const names = [...left].filter((name) => pattern.test(name));
    for (const name of names) left.delete(name);
    if (names.length === 0) continue;
    const links = names.map((name) => make("li", {}, link(result, name)));
    parts.push(make("div", {}, make("h3", { textContent: title }), make("ul", {}, ...links)));
  }
  byId("files").replaceChildren(...parts);
}

function link(result, name) {
  const stem = result.name.replace(/\.[^.]*$/, "");
  const anchor = make("a", { href: path.file(result.id, name), download: `${stem}_${name}`, textContent: name });
  anchor.dataset.file = name;
  // The file is fetched here, so that an error is shown as a message and not saved as a file.
  anchor.addEventListener("click", async (event) => {
    event.preventDefault();
    if (anchor.ariaBusy === "true") return;
    anchor.ariaBusy = "true";
    try {
      save(await blob(anchor.href), anchor.download);
    } catch (error) {
      showAlert(error.message);
    } finally {
      anchor.ariaBusy = "false";
    }
  });
  return anchor;
}

function save(content, name) {
  const address = URL.createObjectURL(content);
  make("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60000);
}
