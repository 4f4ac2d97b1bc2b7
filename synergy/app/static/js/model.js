// The card with the face in 3D: surface, wireframe, view and expression.

import { bytes, path } from "./api.js";
import { showSliders } from "./expression.js";
import { byId, isPressed, press } from "./dom.js";

let viewer = null;
let latest = 0;
let time = 0; // of the animation, in seconds

export function startModel() {
  choose("surface", (surface) => viewer?.setSurface(surface));
  choose("view", (view) => viewer?.setView(view));
  byId("wire").addEventListener("click", () => {
    press(byId("wire"), !isPressed(byId("wire")));
    viewer?.setWire(isPressed(byId("wire")));
  });
}

/** Make a group of buttons of which one is pressed. */
function choose(name, onChange) {
  const buttons = [...document.querySelectorAll(`[data-${name}]`)];
  for (const button of buttons) {
    button.addEventListener("click", () => {
      for (const each of buttons) press(each, each === button);
      onChange(button.dataset[name]);
    });
  }
}

/** Show a face of a result. A newer call wins. With `isAnimated`, the weights come from the animation. */
export async function showModel(result, number, isAnimated) {
  const call = ++latest;
  const text = byId("stage-text");
  text.hidden = false;
  text.textContent = "Loading the face";
  document.body.dataset.model = "loading";
  byId("expression").hidden = isAnimated;
  try {
    const { Viewer } = await import("./viewer.js"); // three.js is loaded when it is first needed
    const buffer = await bytes(path.model(result.id, number));
    if (call !== latest) return;
    viewer ??= new Viewer(byId("canvas"));
    const names = await viewer.load(buffer);
    if (call !== latest) return;
    for (const button of document.querySelectorAll("[data-view]")) press(button, button.dataset.view === "photo");
    if (isAnimated) viewer.setTime(time);
    else showSliders(names, viewer.photoWeights, (index, value) => viewer.setWeight(index, value));
    byId("expression").hidden = isAnimated || names.length === 0;
    text.hidden = true;
    document.body.dataset.model = "ready";
  } catch (error) {
    if (call !== latest) return;
    text.textContent = error.message;
    document.body.dataset.model = "error";
  }
}

/** Show the animation at a time in seconds. */
export function setTime(seconds) {
  time = seconds;
  viewer?.setTime(time);
}
