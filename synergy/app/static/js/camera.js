// Take a picture, or record a few seconds, with the camera.

import { byId, showAlert } from "./dom.js";

const CLIP_MILLISECONDS = 5000;
const PROBLEMS = {
  NotAllowedError: "The camera may not be used. Allow it in the browser's settings of this page.",
  NotFoundError: "No camera was found.",
  NotReadableError: "Another program uses the camera.",
  OverconstrainedError: "No camera was found.",
};

let stream = null;
let recorder = null;
let facing = "user";

/** Call `onFile` with each picture or clip that the user takes. */
export function startCamera(onFile) {
  const dialog = byId("camera-dialog");
  byId("camera").addEventListener("click", async () => {
    // Browsers give cameras to https and localhost only. A phone can still use its own camera program.
    if (navigator.mediaDevices?.getUserMedia === undefined) {
      byId("capture").click();
      return;
    }
    dialog.showModal();
    await open();
  });
  byId("camera-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", stop);
  byId("camera-switch").addEventListener("click", async () => {
    facing = facing === "user" ? "environment" : "user";
    stop();
    await open();
  });
  byId("camera-take").addEventListener("click", async () => {
    const file = await takePicture();
    dialog.close();
    onFile(file);
  });
  byId("camera-record").addEventListener("click", () => {
    if (recorder === null) record((file) => { dialog.close(); onFile(file); });
    else recorder.stop();
  });
}

async function open() {
  const video = byId("camera-video");
  enable(false);
  byId("camera-text").textContent = "Waiting for the camera";
  try {
    const size = { width: { ideal: 1280 }, height: { ideal: 960 } };
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: facing, ...size } });
  } catch (error) {
    byId("camera-dialog").close();
    showAlert(PROBLEMS[error.name] ?? `The camera cannot be used (${error.message}).`);
    return;
  }
  if (!byId("camera-dialog").open) {
    stop();
    return;
  }
  video.srcObject = stream;
  video.classList.toggle("mirrored", facing === "user");
  await video.play().catch(() => {});
  const devices = await navigator.mediaDevices.enumerateDevices();
  byId("camera-switch").hidden = devices.filter((device) => device.kind === "videoinput").length < 2;
  byId("camera-record").hidden = typeof MediaRecorder === "undefined";
  byId("camera-text").textContent = "";
  enable(true);
}

function enable(enabled) {
  for (const id of ["camera-take", "camera-record"]) byId(id).disabled = !enabled;
}

function stop() {
  if (recorder !== null) {
    recorder.onstop = null;
    recorder.stop();
    recorder = null;
    byId("camera-record").textContent = "Record a clip";
  }
  for (const track of stream?.getTracks() ?? []) track.stop();
  stream = null;
  byId("camera-video").srcObject = null;
}

async function takePicture() {
  const video = byId("camera-video");
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  const picture = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.95));
  return new File([picture], "camera.jpg", { type: "image/jpeg" });
}

function record(onFile) {
  const parts = [];
  recorder = new MediaRecorder(stream);
  const type = recorder.mimeType.split(";")[0] || "video/webm";
  recorder.ondataavailable = (event) => parts.push(event.data);
  recorder.onstop = () => {
    recorder = null;
    byId("camera-record").textContent = "Record a clip";
    onFile(new File(parts, `camera.${type.endsWith("mp4") ? "mp4" : "webm"}`, { type }));
  };
  recorder.start();
  byId("camera-record").textContent = "Stop";
  byId("camera-take").disabled = true;
  byId("camera-text").textContent = `Recording for up to ${CLIP_MILLISECONDS / 1000} seconds`;
  const current = recorder;
  setTimeout(() => { if (recorder === current) current.stop(); }, CLIP_MILLISECONDS);
}
