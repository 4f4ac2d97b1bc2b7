// The photo with its layers, and a frame around each face.

import { path } from "./api.js";
import { byId, capitalised, isPressed, make, press, showAlert } from "./dom.js";

const FIRST_LAYERS = ["contours", "points"];
const LABELS = { pncc: "PNCC", zoom: "Zoom to the face" };
// Part of the picture's smaller side that a face takes when the picture is zoomed to it.
const ZOOMED = 0.55;

let shown = null;
let chosen = 0;

/** Show a photo. `onFace` is called with the index of a face whose frame was pressed. */
export function showPicture(result, onFace) {
  shown = result;
  const stage = make("div");
  byId("picture").replaceChildren(stage);
  byId("picture").style.setProperty("--ratio", result.width / result.height);
  const photo = make("img", { src: path.view(result.id), alt: `The photo ${result.name}` });
  stage.append(photo);
  const buttons = [];
  if (result.faces.length > 0) {
    for (const [name, description] of Object.entries(result.layers)) {
      const layer = make("img", { alt: "", className: "off" });
      layer.dataset.layer = name;
      stage.append(layer);
      // A layer is drawn by the server when it is first shown.
      const show = (on) => {
        if (on && !layer.src) {
          layer.src = path.layer(result.id, name);
          button.ariaBusy = "true";
        }
        layer.classList.toggle("off", !on);
      };
      const first = FIRST_LAYERS.includes(name);
      const button = toggle(name, first, show);
      layer.addEventListener("load", () => { button.ariaBusy = "false"; });
      layer.addEventListener("error", () => {
        button.ariaBusy = "false";
        showAlert("A layer cannot be loaded. Analyse the picture again.");
      });
      show(first);
      button.title = description;
      buttons.unshift(button); // the lowest layer comes last
    }
    if (result.faces.length > 1) stage.append(...result.faces.map((face, i) => frame(result, face, i, onFace)));
    buttons.push(toggle("zoom", false, zoom));
    buttons.unshift(toggle("photo", true, (on) => photo.classList.toggle("off", !on)));
  }
  byId("layers").replaceChildren(...buttons);
}

/** Mark the frame of the chosen face. */
export function markFace(index) {
  chosen = index;
  zoom(isPressed(document.querySelector("[data-toggle=zoom]")));
  byId("picture").querySelectorAll("button").forEach((button, i) => press(button, i === index));
}

/** Show the chosen face large, or the whole picture. */
function zoom(on) {
  const [x0, y0, x1, y1] = shown.faces[chosen].box;
  const factor = on ? Math.max(1, (ZOOMED * Math.min(shown.width, shown.height)) / Math.max(x1 - x0, y1 - y0)) : 1;
  // The face comes to the middle, as far as the picture still fills its frame.
  const move = (low, high, whole) => Math.min(0, Math.max(1 - factor, 0.5 - (factor * (low + high)) / 2 / whole));
  const [x, y] = [move(x0, x1, shown.width), move(y0, y1, shown.height)];
  byId("picture").firstChild.style.transform = `translate(${100 * x}%, ${100 * y}%) scale(${factor})`;
}

function toggle(name, pressed, onChange) {
  const button = make("button", { type: "button", textContent: LABELS[name] ?? capitalised(name) });
  button.dataset.toggle = name;
  press(button, pressed);
  button.addEventListener("click", () => {
    press(button, !isPressed(button));
    onChange(isPressed(button));
  });
  return button;
}

function frame(result, face, index, onFace) {
  const [x0, y0, x1, y1] = face.box;
  const button = make("button", { type: "button", "aria-label": `Face ${index + 1}` }, make("span", { textContent: index + 1 }));
  const percent = (value, whole) => `${(100 * Math.min(Math.max(value, 0), whole)) / whole}%`;
  button.style.left = percent(x0, result.width);
  button.style.top = percent(y0, result.height);
  button.style.right = percent(result.width - x1, result.width);
  button.style.bottom = percent(result.height - y1, result.height);
  button.addEventListener("click", () => onFace(index));
  return button;
}
