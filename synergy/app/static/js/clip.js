// An annotated clip, with the head pose of a person over the time.

import { blob, path } from "./api.js";
import { byId, showAlert } from "./dom.js";
import { showFacts } from "./facts.js";
import { setTime } from "./model.js";

// Where a row of the series has the angles, and the pose in words.
const COLUMN = { yaw: 2, pitch: 1, roll: 3 };
const WORDS = 4;

let shown = null;
let person = 0; // ids begin with 1
let start = 0;
let gap = 0; // longest time in seconds from one frame to the next in which a person stays in sight

export function startClip() {
  const video = byId("video");
  let waits = false; // for the next frame of the screen, at which several events may not each begin a loop
  const follow = () => {
    if (shown === null) return;
    showMoment(video.currentTime);
    draw();
    if (video.paused || waits) return;
    waits = true;
    requestAnimationFrame(() => {
      waits = false;
      follow();
    });
  };
  for (const event of ["play", "seeked", "timeupdate", "loadedmetadata"]) video.addEventListener(event, follow);
  byId("chart").addEventListener("click", (event) => {
    const { left, width } = byId("chart").getBoundingClientRect();
    video.currentTime = ((event.clientX - left) / width) * duration();
  });
  new ResizeObserver(draw).observe(byId("chart"));
  addEventListener("themechange", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}

/** Show a clip; null shows none. */
export async function showClip(result) {
  shown = result;
  const video = byId("video");
  byId("clip").hidden = result === null;
  byId("timeline").hidden = result === null || result.people.length === 0;
  URL.revokeObjectURL(video.src);
  video.removeAttribute("src");
  person = 0;
  if (result === null) return;
  const intervals = result.series.slice(1).map(([seconds], i) => seconds - result.series[i][0]).sort((a, b) => a - b);
  gap = Math.max(0.25, 1.5 * (intervals[Math.floor(intervals.length / 2)] ?? 0));
  video.style.setProperty("--ratio", result.width / result.height);
  try {
    const content = await blob(path.file(result.id, "overlay.mp4"));
    if (shown === result) video.src = URL.createObjectURL(content);
  } catch (error) {
    showAlert(error.message);
  }
}

/** Choose the person whose angles are drawn. */
export function showPerson(id) {
  person = id;
  start = shown.series.find(([, faces]) => faces.some((face) => face[0] === id))?.[0] ?? 0;
  const angles = rows().map(([, face]) => face[COLUMN.yaw]);
  const range = angles.length > 0 ? `Yaw from ${Math.min(...angles)} to ${Math.max(...angles)} degrees` : "No pose";
  byId("chart").setAttribute("aria-label", `Head pose of person ${id} over the time. ${range}. Press to jump to a time.`);
  showMoment(byId("video").currentTime);
  draw();
}

/** Show the face and the pose of the chosen person at a time in seconds. */
function showMoment(seconds) {
  setTime(Math.max(0, seconds - start));
  const last = rows().findLast(([time]) => time <= seconds + 1e-3) ?? rows()[0];
  if (last === undefined) return;
  const [time, face] = last;
  const isSeen = Math.abs(seconds - time) < gap;
  const angles = Object.entries(COLUMN).map(([name, column]) => [name, face[column]]);
  showFacts({ description: isSeen ? face[WORDS] : "Out of sight.", pose_deg: Object.fromEntries(angles) });
}

/** Return time and face of each frame in which the chosen person is seen. */
function rows() {
  return shown.series.flatMap(([seconds, faces]) =>
    faces.filter((face) => face[0] === person).map((face) => [seconds, face]));
}

function duration() {
  return byId("video").duration || shown.series.at(-1)?.[0] || 1;
}

function draw() {
  const canvas = byId("chart");
  if (shown === null || person === 0 || canvas.clientWidth === 0) return;
  const scale = Math.min(devicePixelRatio, 2);
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  canvas.width = width * scale;
  canvas.height = height * scale;
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  // A canvas does not know the variables of the style sheet; the elements of the legend have their colours.
  const colour = (name) => getComputedStyle(document.querySelector(`.legend .${name}`)).color;
  const chosen = rows();
  const limit = Math.max(20, ...chosen.flatMap(([, face]) => Object.values(COLUMN).map((column) => Math.abs(face[column]))));
  const y = (degrees) => height / 2 - (degrees / limit) * (height / 2 - 8);
  const x = (seconds) => (seconds / duration()) * width;
  context.strokeStyle = colour("scale");
  context.strokeRect(0, y(0), width, 0);
  context.lineWidth = 2;
  context.lineJoin = "round";
  for (const [name, column] of Object.entries(COLUMN)) {
    context.strokeStyle = colour(name);
    context.beginPath();
    let last = -1;
    for (const [seconds, face] of chosen) {
      const method = last < 0 || seconds - last > gap ? "moveTo" : "lineTo";
      context[method](x(seconds), y(face[column]));
      last = seconds;
    }
    context.stroke();
  }
  context.fillStyle = colour("scale");
  context.font = "12px system-ui, sans-serif";
  context.fillText(`+${Math.round(limit)}°`, 2, 12);
  context.fillText(`−${Math.round(limit)}°`, 2, height - 3);
  context.fillStyle = getComputedStyle(canvas).color;
  context.fillRect(x(byId("video").currentTime) - 0.75, 0, 1.5, height);
}
