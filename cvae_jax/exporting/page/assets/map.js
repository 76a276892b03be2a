// The latent map: encoded test images on two principal directions, and the current style.

import {fitted, framed, isDark, paint, pictureCanvas, solidColourOf} from 'paint';

const GRIP = 24; // pixels around the mark in which a pointer takes it
const THUMB = 30; // side of the pictures beside mark and pointer, in pixels

export class LatentMap {
  /**
   * `onHover(latent)`: the point under the pointer, null when it leaves. `onMove(latent)`: the mark
   * was moved; coordinates outside the plane are kept.
   */
  constructor(canvas, map, shape, isInk, {onHover, onMove}) {
    Object.assign(this, {canvas, map, shape, isInk, onHover, onMove});
    this.latent = null;
    this.pointer = null; // [a, b] under the pointer
    this.isDragging = false;
    this.highlight = null;
    this.pictures = {mark: pictureCanvas(shape, isInk), pointer: pictureCanvas(shape, isInk)};
    this.images = {mark: null, pointer: null};
    this.bounds = robustBounds(map.points);
    this.draw = framed(() => this.paint());
    canvas.addEventListener('pointerdown', (event) => this.down(event));
    canvas.addEventListener('pointermove', (event) => this.hover(event));
    canvas.addEventListener('pointerup', (event) => this.up(event));
    canvas.addEventListener('pointercancel', (event) => this.up(event));
    canvas.addEventListener('pointerleave', () => this.isDragging || this.leave());
    canvas.addEventListener('keydown', (event) => this.key(event));
    new ResizeObserver(() => this.redraw()).observe(canvas);
  }

  /** Draws the points anew: the size, the theme or the highlighted class has changed. */
  redraw() {
    this.points = null;
    this.draw();
  }

  setHighlight(label) {
    this.highlight = label;
    this.redraw();
  }

  setLatent(latent) {
    this.latent = latent;
    this.draw();
  }

  /** The image beside the mark or the pointer. */
  setPicture(which, image) {
    this.images[which] = image;
    this.draw();
  }

  // Coordinates: a latent z, its place [a, b] in the plane, and pixels [x, y] on the canvas.

  plane(latent) {
    const {mean, directions} = this.map;
    return directions.map((d) => d.reduce((sum, v, i) => sum + v * (latent[i] - mean[i]), 0));
  }

  /** The latent at [a, b], without the coordinates outside the plane. */
  at([a, b]) {
    const {mean, directions} = this.map;
    return mean.map((v, i) => v + a * directions[0][i] + b * directions[1][i]);
  }

  moved(latent, [a, b]) {
    const {directions} = this.map;
    const [a0, b0] = this.plane(latent);
    return latent.map((v, i) => v + (a - a0) * directions[0][i] + (b - b0) * directions[1][i]);
  }

  view({width, height}) {
    const [left, right, bottom, top] = this.bounds;
    const fit = [width / (right - left), height / (top - bottom)];
    const [sa, sb] = fit.map((scale) => Math.min(scale, 1.5 * Math.min(...fit)));
    const [ma, mb] = [(left + right) / 2, (bottom + top) / 2];
    return {
      toPixels: ([a, b]) => [width / 2 + (a - ma) * sa, height / 2 - (b - mb) * sb],
      toPlane: ([x, y]) => [ma + (x - width / 2) / sa, mb - (y - height / 2) / sb],
    };
  }

  locate(event) {
    const box = this.canvas.getBoundingClientRect();
    const pixels = [event.clientX - box.left, event.clientY - box.top];
    return {pixels, view: this.view(box)};
  }

  isOnMark({pixels, view}) {
    if (!this.latent) return false;
    const [x, y] = view.toPixels(this.plane(this.latent));
    return Math.hypot(x - pixels[0], y - pixels[1]) < GRIP;
  }

  down(event) {
    if (event.button > 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.isDragging = this.isOnMark(this.locate(event));
    if (this.isDragging) this.leave();
    this.hover(event);
  }

  hover(event) {
    const place = this.locate(event);
    const point = place.view.toPlane(place.pixels);
    if (this.isDragging) {
      this.move(point);
    } else {
      this.canvas.style.cursor = this.isOnMark(place) ? 'grab' : 'crosshair';
      this.pointer = point;
      this.onHover(this.at(point));
      this.draw();
    }
  }

  up(event) {
    this.isDragging = false;
    if (event.pointerType !== 'mouse' || event.type === 'pointercancel') this.leave();
  }

  leave() {
    if (!this.pointer) return;
    this.pointer = null;
    this.images.pointer = null;
    this.onHover(null);
    this.draw();
  }

  move(point) {
    this.latent = this.moved(this.latent, point);
    this.onMove(this.latent);
    this.draw();
  }

  key(event) {
    const step = event.shiftKey ? 0.5 : 0.1;
    const by = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1]}[
      event.key
    ];
    if (!by || !this.latent) return;
    event.preventDefault();
    const [a, b] = this.plane(this.latent);
    this.leave();
    this.move([a + step * by[0], b + step * by[1]]);
  }

  paintPoints({width, height}) {
    const points = document.createElement('canvas');
    const ratio = window.devicePixelRatio || 1;
    points.width = width * ratio;
    points.height = height * ratio;
    const context = points.getContext('2d');
    context.scale(ratio, ratio);
    const {toPixels} = this.view({width, height});
    const {points: places, labels} = this.map;
    const paths = new Map();
    for (let i = 0; i < labels.length; i++) {
      const path = paths.get(labels[i]) ?? paths.set(labels[i], new Path2D()).get(labels[i]);
      const [x, y] = toPixels([places[2 * i], places[2 * i + 1]]);
      path.moveTo(x + 2, y);
      path.arc(x, y, 2, 0, 7);
    }
    const isChosen = (label) => label === this.highlight;
    const order = [...paths.keys()].sort((a, b) => isChosen(a) - isChosen(b));
    for (const label of order) {
      context.globalAlpha = this.highlight === null ? 0.6 : isChosen(label) ? 0.9 : 0.1;
      context.fillStyle = solidColourOf(label);
      context.fill(paths.get(label));
    }
    return points;
  }

  paint() {
    const size = fitted(this.canvas);
    const {context, width, height} = size;
    if (!width) return;
    this.points ??= this.paintPoints(size);
    context.drawImage(this.points, 0, 0, width, height);
    const style = getComputedStyle(this.canvas);
    const {toPixels} = this.view(size);
    const [ink, paper] = [style.color, style.backgroundColor];
    if (this.pointer) {
      const [x, y] = toPixels(this.pointer);
      ring(context, x, y, 7, ink, paper);
      if (this.images.pointer) this.badge(context, 'pointer', x, y, size, ink, paper);
    }
    if (this.latent) {
      const [x, y] = toPixels(this.plane(this.latent));
      const inside = [clamp(x, 10, width - 10), clamp(y, 10, height - 10)];
      ring(context, ...inside, 9, style.getPropertyValue('--accent'), paper, 4);
      if (this.images.mark) {
        this.badge(context, 'mark', ...inside, size, style.getPropertyValue('--accent'), paper);
      }
    }
  }

  /** A small picture beside [x, y], within the canvas. */
  badge(context, which, x, y, {width, height}, border, paper) {
    const side = THUMB + 8;
    const left = x + 14 + side > width ? x - 14 - side : x + 14;
    const top = clamp(y - side / 2, 2, height - side - 2);
    context.beginPath();
    context.roundRect(left, top, side, side, 6);
    context.fillStyle = paper;
    context.strokeStyle = border;
    context.lineWidth = 1.5;
    context.fill();
    context.stroke();
    const picture = this.pictures[which];
    paint(picture, this.images[which], this.shape, this.isInk, isDark() ? 255 : 0);
    context.drawImage(picture, left + 4, top + 4, THUMB, THUMB);
  }
}

function ring(context, x, y, radius, colour, halo, line = 2) {
  context.beginPath();
  context.arc(x, y, radius, 0, 7);
  context.strokeStyle = halo;
  context.lineWidth = line + 3;
  context.stroke();
  context.strokeStyle = colour;
  context.lineWidth = line;
  context.stroke();
}

function clamp(v, low, high) {
  return Math.min(high, Math.max(low, v));
}

/** [left, right, bottom, top] of all but the outermost points, with a margin. */
function robustBounds(points) {
  return [0, 1].flatMap((axis) => {
    const values = points.filter((_, i) => i % 2 === axis).sort();
    const at = (q) => values[Math.round(q * (values.length - 1))];
    const [low, high] = [at(0.003), at(0.997)];
    const margin = 0.06 * (high - low);
    return [low - margin, high + margin];
  });
}
