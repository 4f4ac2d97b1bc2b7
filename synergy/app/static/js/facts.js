// The pose of one face in words and numbers, and the choice between faces.

import { byId, make } from "./dom.js";

const ANGLES = {
  yaw: ["Yaw", "positive turns the nose to the left of the picture"],
  pitch: ["Pitch", "positive looks up"],
  roll: ["Roll", "positive tilts the head clockwise"],
};

/** Show one button per face; `onFace` is called with the index of the chosen one. */
export function showTabs(labels, chosen, onFace) {
  const tabs = byId("faces");
  tabs.hidden = labels.length < 2;
  const buttons = labels.map((label, i) => {
    const button = make("button", { type: "button", role: "tab", textContent: label, "aria-controls": "facts" });
    button.setAttribute("aria-selected", String(i === chosen));
    button.tabIndex = i === chosen ? 0 : -1;
    button.addEventListener("click", () => onFace(i));
    return button;
  });
  tabs.onkeydown = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    onFace((chosen + step + labels.length) % labels.length);
    tabs.querySelector("[aria-selected=true]").focus();
  };
  tabs.replaceChildren(...buttons);
}

/** Show pose and confidence of a face. */
export function showFacts(face) {
  const gauges = make("dl", { className: "gauges" });
  for (const [name, [label, meaning]] of Object.entries(ANGLES)) {
    gauges.append(gauge(label, meaning, face.pose_deg[name]));
  }
  const scores = make("dl", { className: "scores" });
  const addScore = (label, value) => {
    if (value === null || value === undefined) return;
    scores.append(make("dt", { textContent: label }), make("dd", { textContent: `${Math.round(100 * value)} %` }));
  };
  addScore("Confidence of the detector", face.score);
  addScore("Probability that it is a face", face.confidence);
  const words = make("p", { className: "words", textContent: face.description });
  // While a clip plays, this function is called for each frame. The explanation, which the user may open, stays.
  const facts = byId("facts");
  if (facts.childElementCount === 0) facts.append(makeExplanation());
  while (facts.childElementCount > 1) facts.firstElementChild.remove();
  facts.prepend(words, gauges, scores);
}

function makeExplanation() {
  return make(
    "details",
    {},
    make("summary", { textContent: "How to read the angles" }),
    make("p", {
      textContent: `${Object.values(ANGLES).map(([label, meaning]) => `${label}: ${meaning}`).join("; ")}. ` +
        "Left and right are those of the person who looks at the picture. Near profile, different angles can describe " +
        "the same rotation; the sentence above does not have this problem.",
    }),
  );
}

function gauge(label, meaning, degrees) {
  const part = Math.min(Math.abs(degrees), 90) / 180;
  const bar = make("span");
  bar.style.width = `${100 * part}%`;
  bar.style.left = `${100 * (degrees < 0 ? 0.5 - part : 0.5)}%`;
  const track = make("div", { className: "track", "aria-hidden": "true" }, bar);
  const value = make("dd", { textContent: `${degrees > 0 ? "+" : degrees < 0 ? "−" : ""}${Math.abs(degrees).toFixed(1)}°` });
  return make("div", { className: "gauge" }, make("dt", { textContent: label, title: meaning }), value, track);
}
