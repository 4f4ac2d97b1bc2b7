// Where pictures come from: the file picker, drag and drop, the clipboard and the examples.

import { path } from "./api.js";
import { byId, capitalised, make, showAlert } from "./dom.js";

/** Call `onFile` with each file that the user gives, and `onExample` with the name of each chosen example. */
export function startIntake(settings, onFile, onExample) {
  const seconds = settings.clip_seconds;
  byId("limits").textContent =
    `Photos up to ${settings.megapixels} megapixels, clips up to ${seconds} seconds.`;
  byId("privacy").textContent = settings.is_local
    ? "Everything stays on this computer."
    : `The server keeps results in memory for at most ${settings.result_minutes} minutes. ` +
      "A clip lies in a temporary folder while it is analysed.";

  for (const id of ["file", "capture"]) {
    byId(id).addEventListener("change", () => {
      const [file] = byId(id).files;
      if (file !== undefined) onFile(file);
      byId(id).value = "";
    });
  }
  byId("choose").addEventListener("click", () => byId("file").click());
  listenToDrops(onFile);
  document.addEventListener("paste", (event) => {
    const [file] = event.clipboardData?.files ?? [];
    if (file !== undefined) {
      event.preventDefault();
      onFile(file);
    } else if (document.querySelector("dialog[open]") === null) {
      showAlert("The clipboard holds no picture.");
    }
  });
  byId("examples").replaceChildren(...settings.examples.map((name) => make("li", {}, exampleButton(name, onExample))));
}

function exampleButton(name, onExample) {
  const picture = make("img", { src: path.example(name), alt: "", width: 200, height: 150 });
  const button = make("button", { type: "button" }, picture, capitalised(name));
  button.dataset.example = name;
  button.addEventListener("click", () => onExample(name));
  return button;
}

function listenToDrops(onFile) {
  let depth = 0; // dragenter and dragleave are sent for every element under the pointer
  const over = (change) => {
    depth = Math.max(0, depth + change);
    document.body.classList.toggle("over", depth > 0);
  };
  document.addEventListener("dragenter", () => over(1));
  document.addEventListener("dragleave", () => over(-1));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    over(-depth);
    const [file] = event.dataTransfer.files;
    if (file !== undefined) onFile(file);
    else showAlert("Only files can be dropped here. To use a picture of a web page, copy and paste it.");
  });
}
