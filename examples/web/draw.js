// Drawing of predictions on a canvas.

// Colours of the head's axes: x (to the subject's left), y (up) and z (out of the face).
const AXES = ["#ff463c", "#3cdc3c", "#4678ff"];
const NOSE_TIP = 30;

/**
 * Draw the landmarks with their contours, and the axes of the head.
 * @param contours the entry `landmarks.contours` of the network's description.
 */
export function drawFace(context, face, contours) {
  const points = face.landmarks68;
  const size = extent(points);
  context.lineWidth = Math.max(1, size / 120);
  context.lineCap = context.lineJoin = "round";
  context.strokeStyle = "#40e0a0";
  for (const indices of Object.values(contours)) {
    context.beginPath();
    for (const index of indices) context.lineTo(points[index][0], points[index][1]);
    context.stroke();
  }
  context.fillStyle = "#fff";
  for (const [x, y] of points) {
    context.beginPath();
    context.arc(x, y, Math.max(1, size / 110), 0, 2 * Math.PI);
    context.fill();
  }
  const [x, y] = points[NOSE_TIP];
  context.lineWidth = Math.max(2, size / 50);
  // The axes are drawn from the farthest to the nearest. Columns of the rotation are the axes, with y up.
  const order = [0, 1, 2].sort((a, b) => face.rotation[2][a] - face.rotation[2][b]);
  for (const axis of order) {
    context.strokeStyle = AXES[axis];
    context.beginPath();
    context.moveTo(x, y);
    context.lineTo(x + face.rotation[0][axis] * size * 0.5, y - face.rotation[1][axis] * size * 0.5);
    context.stroke();
  }
}

/** Draw the edges of the triangles that face the camera. */
export function drawMesh(context, vertices, triangles) {
  context.lineWidth = Math.max(0.5, extent(vertices) / 900);
  context.strokeStyle = "rgb(120 200 255 / 30%)";
  context.beginPath();
  for (let i = 0; i < triangles.length; i += 3) {
    const [a, b, c] = [vertices[triangles[i]], vertices[triangles[i + 1]], vertices[triangles[i + 2]]];
    // Triangles are anticlockwise seen from outside where y is up. In the image y is down.
    if ((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]) >= 0) continue;
    context.moveTo(a[0], a[1]);
    context.lineTo(b[0], b[1]);
    context.lineTo(c[0], c[1]);
    context.closePath();
  }
  context.stroke();
}

/** Return the longer side of the box of points. */
function extent(points) {
  const range = (axis) => {
    let [low, high] = [Infinity, -Infinity];
    for (const point of points) [low, high] = [Math.min(low, point[axis]), Math.max(high, point[axis])];
    return high - low;
  };
  return Math.max(range(0), range(1));
}
