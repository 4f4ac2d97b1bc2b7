// Sliders for the expressions of a face, in groups.

import { byId, capitalised, make } from "./dom.js";

// ARKit's names begin with the part of the face.
const GROUPS = { mouth: "Mouth", jaw: "Jaw", eye: "Eyes", brow: "Brows", cheek: "Cheeks and nose", nose: "Cheeks and nose" };

/** Show one slider per expression. `onChange` is called with its index and its weight in 0..1. */
export function showSliders(names, weights, onChange) {
  const groups = new Map();
  const inputs = names.map((name, index) => {
    const prefix = Object.keys(GROUPS).find((each) => name.startsWith(each));
    const group = GROUPS[prefix] ?? "Expressions";
    if (!groups.has(group)) groups.set(group, []);
    const input = slider(name, prefix, weights[index], (value) => onChange(index, value));
    groups.get(group).push(input.parentElement);
    return input;
  });
  const order = [...new Set([...Object.values(GROUPS), "Expressions"])];
  const isWide = matchMedia("(min-width: 60rem)").matches;
  const details = order.filter((group) => groups.has(group)).map((group, i) =>
    make("details", { open: isWide && i === 0 }, make("summary", { textContent: group }), ...groups.get(group)));
  byId("sliders").replaceChildren(...details);
  const setAll = (values) => inputs.forEach((input, i) => {
    input.value = values[i];
    input.dispatchEvent(new Event("input"));
  });
  byId("expression-photo").onclick = () => setAll(weights);
  byId("expression-neutral").onclick = () => setAll(names.map(() => 0));
}

function slider(name, prefix, value, onChange) {
  const input = make("input", { type: "range", min: "0", max: "1", step: "0.01", value: String(value) });
  input.dataset.expression = name;
  const output = make("output", { textContent: percent(value) });
  input.addEventListener("input", () => {
    output.textContent = percent(input.value);
    onChange(Number(input.value));
  });
  input.id = `expression-${name}`;
  // Without its `for`, a label would belong to the first of both elements, the output.
  const label = { className: "slider", htmlFor: input.id };
  make("label", label, make("span", { textContent: inWords(name, prefix) }), output, input);
  return input;
}

function percent(value) {
  return `${Math.round(100 * value)} %`;
}

/** "mouthSmileLeft" becomes "Smile left": the part of the face is the title of the group. */
function inWords(name, prefix) {
  const rest = prefix === "cheek" || prefix === "nose" ? name : name.slice(prefix?.length ?? 0);
  return capitalised(rest.replace(/_/g, " ").replace(/([A-Z])/g, " $1").trim().toLowerCase());
}
