// The face detector. Its constants come from its description, whose entry `decoding.rule` explains them.
import { openModel, run } from "./model.js";
import { resize, toPlanes } from "./image.js";

export class Detector {
  /** Open a detector that `synergy.deploy.detector.write_detector` wrote. */
  static async open(url) {
    const detector = new Detector();
    Object.assign(detector, await openModel(url, "synergy-detector"));
    detector.rules = detector.description.decoding;
    return detector;
  }

  /**
   * Find the faces of an image.
   * @returns {Promise<{box: number[], score: number}[]>} boxes x0, y0, x1, y1 in image pixels, best first.
   */
  async find(image) {
    const { smallest_face, min_face, max_side, min_side, large, coarse } = this.rules;
    const side = Math.max(image.width, image.height);
    const scale = Math.max(Math.min(smallest_face / min_face, max_side / side), min_side / side);
    let found = await this.search(image, scale, 0);
    const isLarge = (face) => longerSide(face.box) * scale > large;
    let others = [];
    if (!found.length || found.some(isLarge)) {
      others = await this.search(image, coarse.side / side, coarse.border);
      if (found.length) others = others.filter((face) => longerSide(face.box) * scale > coarse.min * large);
      if (others.length) found = found.filter((face) => !isLarge(face));
    }
    const byScore = (a, b) => b.score - a.score;
    return this.suppress([...others.sort(byScore), ...found.sort(byScore)]).sort(byScore);
  }

  /** Run the network once at a scale, without suppression. */
  async search(image, scale, border) {
    const { stride, multiple, threshold } = this.rules;
    const width = Math.max(1, Math.round(image.width * scale));
    const height = Math.max(1, Math.round(image.height * scale));
    const pad = Math.round(border * Math.max(width, height));
    const input = toPlanes(resize(image, width, height), pad, multiple);
    const outputs = await run(this, input.data, [1, 3, input.height, input.width]);
    const [scores, logSize, offset] = this.description.outputs.map((output) => outputs[output.name].data);
    const [columns, cells] = [input.width / stride, scores.length];
    const faces = [];
    for (let i = 0; i < cells; i++) {
      if (!(scores[i] > threshold)) continue;
      const x = ((i % columns) + offset[cells + i] + 0.5) * stride - pad;
      const y = (Math.floor(i / columns) + offset[i] + 0.5) * stride - pad;
      const [halfHeight, halfWidth] = [(Math.exp(logSize[i]) * stride) / 2, (Math.exp(logSize[cells + i]) * stride) / 2];
      const [perX, perY] = [width / image.width, height / image.height];
      const box = [(x - halfWidth) / perX, (y - halfHeight) / perY, (x + halfWidth) / perX, (y + halfHeight) / perY];
      faces.push({ box: box.map((value) => value - 0.5), score: scores[i] });
    }
    return faces;
  }

  /** Keep one box per face; the first ones come first. */
  suppress(faces) {
    const { union_overlap, contained } = this.rules.suppress;
    const kept = [];
    for (const face of faces) {
      const isSame = kept.some(({ box }) => {
        const width = Math.min(box[2], face.box[2]) - Math.max(box[0], face.box[0]);
        const height = Math.min(box[3], face.box[3]) - Math.max(box[1], face.box[1]);
        const shared = Math.max(width, 0) * Math.max(height, 0);
        const [a, b] = [area(box), area(face.box)];
        return shared > union_overlap * (a + b - shared) || shared > contained * Math.min(a, b);
      });
      if (!isSame) kept.push(face);
    }
    return kept;
  }

  /** Map a box of the detector to the square of the 68 landmarks. */
  landmarkSquare(box) {
    const { shift, side } = this.rules.landmark_square;
    const longer = longerSide(box);
    const [x, y] = [(box[0] + box[2]) / 2 + shift[0] * longer, (box[1] + box[3]) / 2 + shift[1] * longer];
    const half = (side * longer) / 2;
    return [x - half, y - half, x + half, y + half];
  }
}

const longerSide = (box) => Math.max(box[2] - box[0], box[3] - box[1]);
const area = (box) => (box[2] - box[0]) * (box[3] - box[1]);
