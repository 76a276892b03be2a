// The drawing canvas: pointer events become strokes; undo, clear, and images to draw on.

import {GRID, smooth} from 'strokes';
import {element, fitted, framed, paint, pictureCanvas} from 'paint';

const NEAR = GRID / 110; // points closer than this are left out: a link stays short

// `base` is an image of floats under the strokes, `example` its number among the examples.
const EMPTY = {base: null, example: null, strokes: []};

export class Pad {
  /** `brush`: a fraction of the width. `set` returns what `onChange()`, called on changes, does. */
  constructor(canvas, shape, isInk, brush, onChange) {
    Object.assign(this, {canvas, shape, isInk, brush, onChange});
    this.colour = '#ffffff';
    this.now = EMPTY;
    this.past = [];
    this.isDemo = false; // a first stroke replaces what the page has drawn itself
    this.stroke = null;
    this.draw = framed(() => this.paint());
    canvas.addEventListener('pointerdown', (event) => this.begin(event));
    canvas.addEventListener('pointermove', (event) => this.move(event));
    for (const name of ['pointerup', 'pointercancel']) {
      canvas.addEventListener(name, (event) => this.end(event));
    }
    new ResizeObserver(this.draw).observe(canvas);
  }

  get isEmpty() {
    return !this.now.base && !this.now.strokes.length && !this.stroke;
  }

  get canUndo() {
    return this.past.length > 0 || !(this.isEmpty || this.isDemo);
  }

  get strokes() {
    return this.stroke ? [...this.now.strokes, this.stroke] : this.now.strokes;
  }

  /** Takes {base, example, strokes} as the drawing; `undo` returns to the one before. */
  set(drawing, isDemo = false) {
    if (!isDemo && !this.isDemo && !this.isEmpty) this.past.push(this.now);
    this.now = {...EMPTY, ...drawing};
    this.stroke = null;
    this.isDemo = isDemo && !this.isEmpty;
    return this.changed();
  }

  undo() {
    if (this.stroke || !this.canUndo) return;
    this.now = this.past.pop() ?? EMPTY;
    this.isDemo = false;
    this.changed();
  }

  clear() {
    if (!this.isEmpty) this.set(EMPTY);
  }

  changed() {
    this.draw();
    return this.onChange();
  }

  begin(event) {
    if (this.stroke || event.button > 0) return;
    event.preventDefault();
    this.canvas.setPointerCapture(event.pointerId);
    this.pointer = event.pointerId;
    if (this.isDemo) this.now = EMPTY;
    this.isDemo = false;
    this.stroke = {points: this.at(event), colour: this.colour};
    this.changed();
  }

  move(event) {
    if (!this.stroke || event.pointerId !== this.pointer) return;
    const events = event.getCoalescedEvents?.() ?? [];
    const isLonger = (events.length ? events : [event]).map((e) => this.extend(this.at(e)));
    if (isLonger.includes(true)) this.changed();
  }

  end(event) {
    if (!this.stroke || event.pointerId !== this.pointer) return;
    this.past.push(this.now);
    this.now = {...this.now, strokes: this.strokes};
    this.stroke = null;
    this.changed();
  }

  extend([x, y]) {
    const {points} = this.stroke;
    if (Math.hypot(x - points.at(-2), y - points.at(-1)) < NEAR) return false;
    points.push(x, y);
    return true;
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    const on = (v, size) => Math.round(Math.min(1, Math.max(0, v / size)) * GRID);
    return [on(event.clientX - box.left, box.width), on(event.clientY - box.top, box.height)];
  }

  paint() {
    const {context, width, height} = fitted(this.canvas);
    if (!width) return;
    const {finished, now} = this;
    const isCurrent = finished?.of === now && finished.picture.width === this.canvas.width;
    if (!isCurrent) this.finished = {of: now, picture: this.paintFinished(width, height)};
    context.drawImage(this.finished.picture, 0, 0, width, height);
    if (this.stroke) this.paintStroke(context, width, this.stroke);
  }

  /** All but the stroke under the hand, painted once: it may be many strokes. */
  paintFinished(width, height) {
    const picture = element('canvas', {width: this.canvas.width, height: this.canvas.height});
    const context = picture.getContext('2d');
    context.scale(picture.width / width, picture.height / height);
    if (this.now.base) {
      const base = pictureCanvas(this.shape, this.isInk);
      paint(base, this.now.base, this.shape, this.isInk);
      context.imageSmoothingQuality = 'high';
      context.drawImage(base, 0, 0, width, height);
    }
    for (const stroke of this.now.strokes) this.paintStroke(context, width, stroke);
    return picture;
  }

  paintStroke(context, width, {points, colour}) {
    const height = (width * this.shape[0]) / this.shape[1];
    const line = smooth(points).map((v, i) => (v / GRID) * (i % 2 ? height : width));
    context.fillStyle = context.strokeStyle = this.isInk
      ? '#000'
      : this.shape[2] === 1
        ? '#fff'
        : colour;
    context.lineCap = context.lineJoin = 'round';
    context.lineWidth = this.brush * width;
    context.beginPath();
    if (points.length === 2) {
      context.arc(line[0], line[1], context.lineWidth / 2, 0, 7);
      return context.fill();
    }
    context.moveTo(line[0], line[1]);
    for (let i = 2; i < line.length; i += 2) context.lineTo(line[i], line[i + 1]);
    context.stroke();
  }
}
