// A drawing as a list of strokes, and what a model sees of it. Pure functions: no DOM.
//
// A stroke is {points: [x0, y0, x1, y1, ...], colour: '#rrggbb'}; coordinates are integers, 0 to
// GRID over the width and the height of the canvas, so that a link restores them exactly.

import {massCentre} from 'framing';

export const GRID = 4095;

const USUAL_BRUSH = 2.4 / 28; // as a fraction of the canvas's width
const USUAL_SIZE = 0.7; // of a drawing, as a fraction of the canvas

/** The brush's width, a fraction of the canvas's, with which drawings come out as `frame` says. */
export function brushOf(frame) {
  return frame ? (USUAL_SIZE * frame.brush) / frame.side : USUAL_BRUSH;
}

/** The stroke as a smooth polyline: quadratic curves through the midpoints of its points. */
export function smooth(points, pieces = 5) {
  const line = [points[0], points[1]];
  const last = points.length - 2;
  for (let i = 2; i < last; i += 2) {
    const [cx, cy] = [points[i], points[i + 1]];
    const [x0, y0] = line.slice(-2);
    const [x1, y1] = [(cx + points[i + 2]) / 2, (cy + points[i + 3]) / 2];
    for (let k = 1; k <= pieces; k++) {
      const t = k / pieces;
      const u = 1 - t;
      line.push(u * u * x0 + 2 * u * t * cx + t * t * x1, u * u * y0 + 2 * u * t * cy + t * t * y1);
    }
  }
  line.push(points[last], points[last + 1]);
  return line;
}

/** Lays a polyline in pixels over `image` [H, W, C], with a round brush of a soft edge. */
export function lay(image, [height, width, channels], line, brush, colour) {
  const reach = brush / 2 + 0.5;
  const cover = new Float32Array(height * width);
  for (let i = 0; i < line.length; i += 2) {
    const [x0, y0] = [line[i], line[i + 1]];
    const [x1, y1] = i + 2 < line.length ? [line[i + 2], line[i + 3]] : [x0, y0];
    const [dx, dy] = [x1 - x0, y1 - y0];
    const length = dx * dx + dy * dy;
    const [left, right] = span(Math.min(x0, x1) - reach, Math.max(x0, x1) + reach, width);
    const [top, bottom] = span(Math.min(y0, y1) - reach, Math.max(y0, y1) + reach, height);
    for (let row = top; row < bottom; row++) {
      for (let column = left; column < right; column++) {
        const [px, py] = [column + 0.5 - x0, row + 0.5 - y0];
        const t = length ? Math.min(1, Math.max(0, (px * dx + py * dy) / length)) : 0;
        const value = Math.min(1, reach - Math.hypot(px - t * dx, py - t * dy));
        const at = row * width + column;
        if (value > cover[at]) cover[at] = value;
      }
    }
  }
  cover.forEach((alpha, at) => {
    if (!alpha) return;
    for (let c = 0; c < channels; c++) {
      const i = at * channels + c;
      image[i] += alpha * (colour[c] - image[i]);
    }
  });
}

/** The pixels [first, end) that an interval covers, within [0, size). */
function span(low, high, size) {
  return [Math.max(0, Math.floor(low)), Math.min(size, Math.ceil(high))];
}

/** '#rrggbb' as the values of its channels in [0, 1]; a single channel is ink at full strength. */
export function channelsOf(colour, channels) {
  if (channels === 1) return [1];
  return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16) / 255);
}

/**
 * What the model sees: the strokes laid over `base`, an image of floats, or over an empty one.
 * Without a base, the drawing is given the frame of the model's data, if they have one.
 */
export function render(strokes, base, shape, frame) {
  const [height, width, channels] = shape;
  const image = base ? base.slice() : new Float32Array(height * width * channels);
  const lines = strokes.map(({points}) =>
    smooth(points).map((v, at) => (v / GRID) * (at % 2 ? height : width)),
  );
  const brush = brushOf(frame) * width;
  if (frame && !base && lines.length) return framed(lines, brush, shape, frame);
  lines.forEach((line, i) => {
    lay(image, shape, line, Math.max(brush, 1.2), channelsOf(strokes[i].colour, channels));
  });
  return image;
}

/**
 * The drawing's bounding box, ink included, made as long as `side` with its aspect kept, and moved
 * by whole pixels until its centre of mass is at `centre`; without `centre`, the box is centred.
 * The brush is scaled with the drawing, within a third of the width that the data have.
 */
function framed(lines, drawn, [height, width], {side, brush: usual, centre}) {
  const points = lines.flat();
  const [xs, ys] = [0, 1].map((axis) => points.filter((_, i) => i % 2 === axis));
  const [left, top] = [Math.min(...xs), Math.min(...ys)];
  const [wide, high] = [Math.max(...xs) - left, Math.max(...ys) - top];
  const size = Math.max(wide, high);
  const scaled = (drawn * side) / (size + drawn);
  const brush = Math.min((4 / 3) * usual, Math.max(0.75 * usual, scaled));
  const scale = (side - brush) / Math.max(size, 0.1 * width); // a dot stays small
  const [x0, y0] = [(width - wide * scale) / 2, (height - high * scale) / 2];
  const image = new Float32Array(height * width);
  for (const line of lines) {
    const pixels = line.map((v, i) => (i % 2 ? y0 + (v - top) * scale : x0 + (v - left) * scale));
    lay(image, [height, width, 1], pixels, brush, [1]);
  }
  if (!centre) return image;
  const [x, y] = massCentre(image, width);
  return shifted(image, width, Math.round(centre[0] - x), Math.round(centre[1] - y));
}

/** The image moved right by dx and down by dy pixels; what leaves it is lost. */
function shifted(image, width, dx, dy) {
  return image.map((_, i) => {
    const x = (i % width) - dx;
    const y = Math.floor(i / width) - dy;
    return x < 0 || x >= width ? 0 : (image[y * width + x] ?? 0);
  });
}
