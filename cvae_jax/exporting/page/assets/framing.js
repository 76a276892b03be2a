// How the images of a data set are framed: drawings are given the same frame. Pure functions.

/**
 * The frame that most of the images share, or null where they share none.
 *
 * `side`: the longer side of the ink's bounding box in pixels; `brush`: the width of the strokes in
 * pixels, 2 · area / circumference; `centre`: the pixel [x, y] at which the centre of mass is put,
 * or null where the bounding box is centred. Of MNIST that is 20, about 2.4 and [14, 14] (LeCun et
 * al. 1998).
 */
export function frameOf(images, [height, width, channels]) {
  if (channels !== 1 || !images.length) return null;
  const found = images.map((image) => measured(image, height, width)).filter(Boolean);
  const of = (name) => found.map((one) => one[name]);
  if (found.length < images.length / 2 || spread(of('side')) > 1) return null;
  const isByMass = Math.max(spread(of('x')), spread(of('y'))) < 0.5;
  const centre = isByMass ? [Math.round(median(of('x'))), Math.round(median(of('y')))] : null;
  return {side: median(of('side')), brush: median(of('brush')), centre};
}

/** The box's longer side, the width of the strokes, the centre of mass; null without ink. */
function measured(image, height, width) {
  const at = (x, y) => (x < 0 || y < 0 || x >= width || y >= height ? 0 : image[y * width + x]);
  let [left, right, top, bottom] = [width, -1, height, -1];
  let [mass, edge] = [0, 0];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      mass += at(x, y);
      edge += Math.hypot(at(x + 1, y) - at(x - 1, y), at(x, y + 1) - at(x, y - 1)) / 2;
      if (at(x, y) < 0.1) continue;
      [left, right] = [Math.min(left, x), Math.max(right, x)];
      [top, bottom] = [Math.min(top, y), Math.max(bottom, y)];
    }
  }
  if (right < 0) return null;
  const [x, y] = massCentre(image, width);
  return {side: Math.max(right - left, bottom - top) + 1, brush: (2 * mass) / edge, x, y};
}

/** The centre of mass in pixels, of which the first is 0. */
export function massCentre(image, width) {
  let [mass, mx, my] = [0, 0, 0];
  image.forEach((value, i) => {
    mass += value;
    mx += value * (i % width);
    my += value * Math.floor(i / width);
  });
  return [mx / mass, my / mass];
}

function median(values) {
  return [...values].sort((a, b) => a - b)[values.length >> 1];
}

/** The standard deviation. */
function spread(values) {
  const mean = values.reduce((a, b) => a + b) / values.length;
  return Math.sqrt(values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / values.length);
}
