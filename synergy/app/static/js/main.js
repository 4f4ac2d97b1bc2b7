// The page: from an upload to its result. `document.body.dataset.state` is loading, start, work or result.

import { analyse, analyseExample, checkFile, forget, isClip, settings } from "./api.js";
import { startCamera } from "./camera.js";
import { showClip, showPerson, startClip } from "./clip.js";
import { announce, byId, showAlert } from "./dom.js";
import { showFacts, showTabs } from "./facts.js";
import { showFiles } from "./files.js";
import { startIntake } from "./intake.js";
import { showModel, startModel } from "./model.js";
import { markFace, showPicture } from "./picture.js";

const HINT = "It works best with faces that are larger than about 40 pixels and not covered.";

let limits = null;
let result = null;
let controller = null;

function setState(state) {
  for (const id of ["start", "work", "result"]) byId(id).hidden = id !== state;
  byId("again").hidden = state !== "result";
  document.body.dataset.state = state;
}

/** Run an analysis, and show its result or its error. */
async function run(label, task) {
  const before = result === null ? "start" : "result";
  controller?.abort();
  const current = new AbortController();
  controller = current;
  showAlert("");
  byId("work-text").textContent = label;
  byId("work-bar").removeAttribute("value");
  setState("work");
  announce(label);
  byId("cancel").focus({ preventScroll: true });
  try {
    const found = await task(current.signal);
    if (controller !== current) {
      forget(found.id);
      return;
    }
    if (result !== null) forget(result.id);
    show(found);
  } catch (error) {
    if (controller !== current) return;
    setState(before);
    if (error.name === "AbortError") announce("Cancelled");
    else showAlert(error.message);
    byId("main").focus({ preventScroll: true });
  }
}

function runFile(file) {
  run(`${isClip(file) ? "Sending" : "Analysing"} ${file.name}`, (signal) => {
    checkFile(file, limits);
    return analyse(file, signal, (fraction) => {
      byId("work-text").textContent = `Analysing ${file.name}`;
      byId("work-bar").value = fraction;
    });
  });
}

function show(found) {
  result = found;
  setState("result");
  const isPhoto = result.kind === "photo";
  const count = isPhoto ? result.faces.length : result.people.length;
  const noun = isPhoto ? ["face", "faces"] : ["person", "people"];
  const title = count === 0 ? "No face was found" : `${count} ${noun[count === 1 ? 0 : 1]} in ${result.name}`;
  byId("result-title").textContent = title;
  byId("note").textContent = result.note || (count === 0 ? HINT : "");
  byId("note").hidden = byId("note").textContent === "";
  byId("picture").hidden = byId("layers").hidden = !isPhoto;
  byId("facts").hidden = count === 0;
  byId("model").hidden = !result.has_mesh;
  document.querySelector(".columns").classList.toggle("single", count === 0);
  showFiles(result);
  showClip(isPhoto ? null : result);
  if (isPhoto) showPicture(result, choose);
  if (count > 0) choose(0);
  else byId("faces").hidden = true;
  byId("result-title").focus({ preventScroll: true });
  scrollTo({ top: 0 });
  announce(count > 0 && isPhoto ? `${title}. ${result.faces[0].description}` : title);
}

/** Show one of the faces, or one of the people of a clip. */
function choose(index) {
  const isPhoto = result.kind === "photo";
  const labels = isPhoto ? result.faces.map((_, i) => `Face ${i + 1}`) : result.people.map((id) => `Person ${id}`);
  showTabs(labels, index, choose);
  if (isPhoto) {
    markFace(index);
    showFacts(result.faces[index]);
  } else {
    showPerson(result.people[index]);
  }
  if (result.has_mesh) showModel(result, isPhoto ? index : result.people[index], !isPhoto);
}

function restart() {
  if (result !== null) forget(result.id);
  result = null;
  showClip(null);
  showAlert("");
  setState("start");
  byId("choose").focus();
}

async function start() {
  try {
    limits = await settings();
  } catch (error) {
    showAlert(error.message);
    return;
  }
  startIntake(limits, runFile, (name) => run(`Analysing the example "${name}"`, (signal) => analyseExample(name, signal)));
  startCamera(runFile);
  startModel();
  startClip();
  byId("alert-close").addEventListener("click", () => showAlert(""));
  byId("again").addEventListener("click", restart);
  byId("cancel").addEventListener("click", () => controller.abort());
  addEventListener("pagehide", (event) => { if (!event.persisted && result !== null) forget(result.id); });
  setState("start");
}

start();
