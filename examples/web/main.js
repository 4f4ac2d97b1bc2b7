// The page: takes a photo or camera frames, predicts the faces, draws them and shows the numbers.
import { Detector } from "./detector.js";
import { drawFace, drawMesh } from "./draw.js";
import { Network } from "./network.js";

// Larger photos are reduced to this longer side in pixels. Phones refuse larger canvases.
const MAX_SIDE = 4096;
const element = (id) => document.getElementById(id);
const canvas = element("canvas");
const context = canvas.getContext("2d", { willReadFrequently: true });

let detector;
let network;
let stream = null; // the camera's, while it runs
let last = null; // the last photo and its faces, to draw them again
let queue = Promise.resolve();

/** Show a state (loading, ready, busy, error) and one line of text. */
function show(state, text) {
  element("status").textContent = text;
  document.body.dataset.state = state;
}

/** Run one task after the other; show what fails as one line. */
function enqueue(task) {
  queue = queue.then(task).catch((error) => {
    stopCamera();
    show("error", error.message);
  });
  return queue;
}

/** Predict the faces of what was drawn on the canvas. */
async function predict() {
  const image = context.getImageData(0, 0, canvas.width, canvas.height);
  const start = performance.now();
  const found = await detector.find(image);
  const middle = performance.now();
  const predicted = await network.predict(image, found.map(({ box }) => detector.landmarkSquare(box)));
  const ms = { detector: middle - start, network: performance.now() - middle };
  return { faces: predicted.map((face, i) => ({ ...found[i], ...face })), ms };
}

/** Draw the faces over the canvas. */
async function drawFaces(faces) {
  if (element("mesh").checked && faces.length) {
    await network.loadMesh();
    for (const face of faces) drawMesh(context, network.mesh(face), network.arrays.triangles);
  }
  for (const face of faces) drawFace(context, face, network.description.landmarks.contours);
}

/** Fill the table, the JSON and the status line. */
function showNumbers({ faces, ms }, extra) {
  element("faces").replaceChildren(...faces.map((face, i) => {
    const row = document.createElement("tr");
    const { pitch, yaw, roll } = face.pose_deg;
    const cells = [i + 1, face.score.toFixed(2), ...[pitch, yaw, roll].map((angle) => `${angle.toFixed(1)}°`)];
    row.append(...cells.map((text) => Object.assign(document.createElement("td"), { textContent: text })));
    return row;
  }));
  element("results").hidden = false;
  const count = faces.length === 0 ? "No face found" : faces.length === 1 ? "1 face" : `${faces.length} faces`;
  const times = `detector ${ms.detector.toFixed(0)} ms, crops and network ${ms.network.toFixed(0)} ms`;
  show("ready", `${count}: ${times}${extra}`);
}

async function openPhoto(file) {
  stopCamera();
  show("busy", `Reading ${file.name} …`);
  let photo;
  try {
    photo = await createImageBitmap(file, { colorSpaceConversion: "none" });
  } catch {
    throw new Error(`${file.name} cannot be read as an image by this browser`);
  }
  last = { photo, result: null };
  drawBackground(photo, photo.width, photo.height, false);
  show("busy", "Predicting …");
  last.result = await predict();
  element("json").textContent = JSON.stringify({ image: file.name, ...last.result }, null, 1);
  await drawFaces(last.result.faces);
  showNumbers(last.result, "");
}

/** Draw a photo or a frame on the canvas, reduced if it is very large. */
function drawBackground(source, width, height, isMirrored) {
  const scale = Math.min(1, MAX_SIDE / Math.max(width, height));
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  canvas.classList.toggle("mirrored", isMirrored);
  canvas.hidden = false;
  element("hint").hidden = true;
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
}

async function startCamera() {
  if (!navigator.mediaDevices) throw new Error("The camera needs https, or http://localhost");
  const video = document.createElement("video");
  Object.assign(video, { playsInline: true, muted: true });
  show("busy", "Waiting for the camera …");
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user", width: 640, height: 480 } });
  } catch (error) {
    const reasons = { NotAllowedError: "it was not allowed", NotFoundError: "there is none" };
    throw new Error(`The camera cannot be used: ${reasons[error.name] ?? error.message}`);
  }
  last = null;
  video.srcObject = stream;
  await video.play();
  element("camera").textContent = "Stop the camera";
  element("camera").setAttribute("aria-pressed", "true");
  nextFrame(video, stream, performance.now());
}

/** Predict a frame, then the next one, until the camera stops. */
function nextFrame(video, own, before) {
  enqueue(async () => {
    if (stream !== own) return;
    drawBackground(video, video.videoWidth, video.videoHeight, true);
    const result = await predict();
    if (stream !== own) return;
    await drawFaces(result.faces);
    const now = performance.now();
    element("json").textContent = JSON.stringify({ image: "camera", ...result }, null, 1);
    showNumbers(result, `, ${(1000 / (now - before)).toFixed(0)} frames per second`);
    requestAnimationFrame(() => nextFrame(video, own, now));
  });
}

function stopCamera() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  element("camera").textContent = "Start the camera";
  element("camera").setAttribute("aria-pressed", "false");
}

function connect() {
  const stage = element("stage");
  const open = (file) => file && enqueue(() => openPhoto(file));
  element("file").addEventListener("change", ({ target }) => {
    open(target.files[0]);
    target.value = ""; // so that the same file can be chosen again
  });
  document.addEventListener("dragover", (event) => event.preventDefault());
  stage.addEventListener("dragover", () => stage.classList.add("over"));
  stage.addEventListener("dragleave", () => stage.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    stage.classList.remove("over");
    open(event.dataTransfer.files[0]);
  });
  element("camera").addEventListener("click", () => {
    if (!stream) return enqueue(startCamera);
    stopCamera();
    return enqueue(() => show("ready", "The camera is off"));
  });
  element("mesh").addEventListener("change", () => enqueue(async () => {
    if (!last?.result) return;
    const text = element("status").textContent;
    show("busy", "Drawing …");
    drawBackground(last.photo, last.photo.width, last.photo.height, false);
    await drawFaces(last.result.faces);
    show("ready", text);
  }));
  for (const id of ["file", "camera", "mesh"]) element(id).disabled = false;
}

enqueue(async () => {
  [detector, network] = await Promise.all([
    Detector.open("models/centerface.onnx"),
    Network.open("models/face.onnx"),
  ]);
  connect();
  show("ready", "Choose a photo, drop one below, or start the camera.");
});
