// The landmark network, and the mesh of its parameters. Sizes, names and bases come from the network's description.
import { cutCrop, squareCrop } from "./image.js";
import { fetchFile, openModel, run } from "./model.js";

export class Network {
  /** Open a network that `synergy export onnx` wrote. */
  static async open(url) {
    const network = new Network();
    Object.assign(network, await openModel(url, "synergy-model"));
    return network;
  }

  /**
   * Predict faces of an image.
   * @param squares boxes [x0, y0, x1, y1] of the 68 landmarks.
   * @returns {Promise<object[]>} for each face its `landmarks68` in image pixels, `pose_deg`, `rotation`, `crop_affine`,
   *   `crop_size` and `params`, as `synergy predict --format json` names them.
   */
  async predict(image, squares) {
    if (!squares.length) return [];
    const { crop, parameters } = this.description;
    const [size, pixels] = [crop.size, crop.size ** 2 * 3];
    const crops = new Uint8Array(squares.length * pixels);
    const maps = squares.map((square) => squareCrop(square, crop));
    maps.forEach((map, i) => crops.set(cutCrop(image, map, size), i * pixels));
    const outputs = await run(this, crops, [squares.length, size, size, 3]);
    return maps.map((map, i) => {
      const landmarks = row(outputs.landmarks, i);
      const params = row(outputs.params, i);
      const rotation = rotationOf(params.slice(0, parameters.n_pose));
      return {
        landmarks68: toImage(landmarks, map),
        pose_deg: angles(rotation),
        rotation,
        crop_affine: [[map.scale, 0, map.tx], [0, map.scale, map.ty]],
        crop_size: size,
        params: Array.from(params),
      };
    });
  }

  /** Load the morphable model, once. Its vertices are needed by `mesh` only. */
  async loadMesh() {
    if (this.arrays) return;
    const { file, arrays } = this.description.morphable_model;
    const buffer = await (await fetchFile(new URL(file, new URL(this.url, document.baseURI)).href)).arrayBuffer();
    const types = { float32: Float32Array, int32: Int32Array };
    this.arrays = Object.fromEntries(Object.entries(arrays).map(([name, { dtype, shape, offset }]) =>
      [name, new types[dtype](buffer, offset, shape.reduce((a, b) => a * b, 1))]));
  }

  /** Compute the mesh of a face: vertices [x, y, z] in image pixels. The entry `parameters.layout` has the formula. */
  mesh({ params, crop_affine, crop_size }) {
    const { mean, basis, landmarks } = this.arrays;
    const { n_pose } = this.description.parameters;
    const [pose, coefficients] = [params.slice(0, n_pose), params.slice(n_pose)];
    const points = new Float32Array(mean.length);
    for (let i = 0; i < mean.length; i += 3) {
      const vertex = [0, 1, 2].map((axis) => {
        let value = mean[i + axis];
        for (let k = 0; k < coefficients.length; k++) value += basis[(i + axis) * coefficients.length + k] * coefficients[k];
        return value;
      });
      for (let axis = 0; axis < 3; axis++) {
        const [a, b, c, t] = pose.slice(4 * axis, 4 * axis + 4);
        points[i + axis] = a * vertex[0] + b * vertex[1] + c * vertex[2] + t;
      }
    }
    const depth = landmarks.reduce((total, index) => total + points[3 * index + 2], 0) / landmarks.length;
    for (let i = 0; i < points.length; i += 3) {
      points[i + 1] = crop_size - points[i + 1];
      points[i + 2] -= depth;
    }
    return toImage(points, { scale: crop_affine[0][0], tx: crop_affine[0][2], ty: crop_affine[1][2] });
  }
}

/** Values of one row of a tensor whose first axis is the batch. */
function row({ data, dims }, index) {
  const length = data.length / dims[0];
  return data.subarray(index * length, (index + 1) * length);
}

/** Map points x, y, z of a crop to [x, y, z] of the image. */
function toImage(points, { scale, tx, ty }) {
  return Array.from({ length: points.length / 3 }, (_, i) =>
    [(points[3 * i] - tx) / scale, (points[3 * i + 1] - ty) / scale, points[3 * i + 2] / scale]);
}

/** Split the rotation from a pose matrix [s R | t], 3 x 4 numbers. */
function rotationOf(pose) {
  const rows = [0, 4, 8].map((start) => Array.from(pose.slice(start, start + 3)));
  const scale = Math.hypot(...rows[0]);
  return rows.map((values) => values.map((value) => value / scale));
}

/** Angles of a rotation in degrees; the entry `parameters.angles` of the description has the formula. */
function angles(r) {
  const degrees = (radians) => (radians * 180) / Math.PI;
  return {
    pitch: degrees(Math.atan2(r[1][2], r[2][2])),
    yaw: degrees(Math.asin(Math.min(Math.max(-r[0][2], -1), 1))),
    roll: degrees(Math.atan2(r[0][1], r[0][0])),
  };
}
