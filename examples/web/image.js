// Resizing and cropping of images as the Python package does it. An image is an ImageData, or any object with `width`,
// `height` and `data` in RGBA order. Pixel centres lie at integers.

/**
 * Resize an image by averaging over areas (if it becomes smaller) or bilinearly (if it becomes larger).
 * @returns {{width: number, height: number, data: Float32Array}} RGB in 0..255, rounded to integers.
 */
export function resize(image, width, height) {
  const isSmaller = width < image.width || height < image.height;
  const weights = isSmaller ? areaWeights : linearWeights;
  const columns = weights(image.width, width);
  const rows = weights(image.height, height);
  const narrow = new Float32Array(image.height * width * 3);
  for (let y = 0, out = 0; y < image.height; y++) {
    const row = y * image.width * 4;
    for (let x = 0; x < width; x++, out += 3) {
      for (const [index, weight] of columns[x]) {
        const from = row + index * 4;
        narrow[out] += weight * image.data[from];
        narrow[out + 1] += weight * image.data[from + 1];
        narrow[out + 2] += weight * image.data[from + 2];
      }
    }
  }
  const data = new Float32Array(height * width * 3);
  for (let y = 0; y < height; y++) {
    for (const [index, weight] of rows[y]) {
      for (let i = 0; i < width * 3; i++) data[y * width * 3 + i] += weight * narrow[index * width * 3 + i];
    }
  }
  return { width, height, data: data.map(Math.round) };
}

/** For each of `size` output pixels: the input pixels that it covers, as [index, weight]. */
function areaWeights(inputSize, size) {
  const factor = inputSize / size;
  return Array.from({ length: size }, (_, i) => {
    const [start, end] = [i * factor, Math.min((i + 1) * factor, inputSize)];
    const covered = [];
    for (let index = Math.floor(start); index < end; index++) {
      const length = Math.min(index + 1, end) - Math.max(index, start);
      if (length > 1e-6) covered.push([index, length / factor]);
    }
    return covered;
  });
}

/** For each of `size` output pixels: the two input pixels next to its centre, as [index, weight]. */
function linearWeights(inputSize, size) {
  return Array.from({ length: size }, (_, i) => {
    const position = Math.min(Math.max(((i + 0.5) * inputSize) / size - 0.5, 0), inputSize - 1);
    const index = Math.floor(position);
    const next = Math.min(index + 1, inputSize - 1);
    return [[index, 1 - position + index], [next, position - index]];
  });
}

/**
 * Arrange a resized image as the input of a detector.
 * @param image what `resize` returns.
 * @param border width in pixels of a border that repeats the image's edge.
 * @param multiple the sides are filled with 0, at the right and below, up to multiples of this number.
 * @returns {{width: number, height: number, data: Float32Array}} planes of red, green and blue.
 */
export function toPlanes(image, border, multiple) {
  const [innerWidth, innerHeight] = [image.width + 2 * border, image.height + 2 * border];
  const width = Math.ceil(innerWidth / multiple) * multiple;
  const height = Math.ceil(innerHeight / multiple) * multiple;
  const data = new Float32Array(3 * width * height);
  for (let y = 0; y < innerHeight; y++) {
    const row = Math.min(Math.max(y - border, 0), image.height - 1) * image.width;
    for (let x = 0; x < innerWidth; x++) {
      const from = (row + Math.min(Math.max(x - border, 0), image.width - 1)) * 3;
      for (let c = 0; c < 3; c++) data[(c * height + y) * width + x] = image.data[from + c];
    }
  }
  return { width, height, data };
}

/**
 * Return the map from image pixels to the pixels of a square crop, x' = scale x + tx and y' = scale y + ty.
 * @param box [x0, y0, x1, y1] of the 68 landmarks.
 * @param rule the entry `crop` of the network's description: `size` and `margin`.
 */
export function squareCrop([x0, y0, x1, y1], { size, margin }) {
  const scale = size / (margin * Math.max(x1 - x0, y1 - y0));
  const middle = (size - 1) / 2;
  return { scale, tx: middle - (scale * (x0 + x1)) / 2, ty: middle - (scale * (y0 + y1)) / 2 };
}

/**
 * Cut a crop out of an image by bilinear interpolation. Pixels outside the image are 0. If the crop reduces the image
 * 2-fold or more, blocks of floor(1 / scale) pixels are averaged first.
 * @param map what `squareCrop` returns.
 * @returns {Uint8Array} size * size RGB pixels.
 */
export function cutCrop(image, map, size) {
  const factor = Math.floor(1 / map.scale);
  if (factor >= 2) [image, map] = averageBlocks(image, map, size, factor);
  const { width, height, data } = image;
  const crop = new Uint8Array(size * size * 3);
  const sum = new Float64Array(3);
  for (let row = 0, out = 0; row < size; row++) {
    const y = (row - map.ty) / map.scale;
    const y0 = Math.floor(y);
    for (let column = 0; column < size; column++, out += 3) {
      const x = (column - map.tx) / map.scale;
      const x0 = Math.floor(x);
      for (let i = 0; i < 4; i++) {
        const [px, py] = [x0 + (i & 1), y0 + (i >> 1)];
        if (px < 0 || py < 0 || px >= width || py >= height) continue;
        const weight = (1 - Math.abs(x - px)) * (1 - Math.abs(y - py));
        const from = (py * width + px) * 4;
        sum[0] += weight * data[from];
        sum[1] += weight * data[from + 1];
        sum[2] += weight * data[from + 2];
      }
      for (let c = 0; c < 3; c++) crop[out + c] = Math.round(sum[c]);
      sum.fill(0);
    }
  }
  return crop;
}

/** Average the region of a crop over blocks of factor x factor pixels; return the small image and the map from it. */
function averageBlocks(image, map, size, factor) {
  const limit = (value, low, high) => Math.min(Math.max(value, low), high);
  const x0 = limit(Math.floor((-1 - map.tx) / map.scale), 0, image.width - 1);
  const y0 = limit(Math.floor((-1 - map.ty) / map.scale), 0, image.height - 1);
  const x1 = limit(Math.ceil((size - map.tx) / map.scale) + 1, x0 + 1, image.width);
  const y1 = limit(Math.ceil((size - map.ty) / map.scale) + 1, y0 + 1, image.height);
  const [width, height] = [Math.ceil((x1 - x0) / factor), Math.ceil((y1 - y0) / factor)];
  const data = new Float32Array(width * height * 4);
  for (let y = 0; y < height * factor; y++) {
    const row = Math.min(y0 + y, y1 - 1) * image.width;
    for (let x = 0; x < width * factor; x++) {
      const from = (row + Math.min(x0 + x, x1 - 1)) * 4;
      const to = (Math.floor(y / factor) * width + Math.floor(x / factor)) * 4;
      for (let c = 0; c < 3; c++) data[to + c] += image.data[from + c] / factor ** 2;
    }
  }
  // The centre of the small pixel u lies at x0 + factor * u + (factor - 1) / 2 in the image.
  const middle = (factor - 1) / 2;
  const moved = {
    scale: map.scale * factor,
    tx: map.tx + map.scale * (x0 + middle),
    ty: map.ty + map.scale * (y0 + middle),
  };
  return [{ width, height, data }, moved];
}
