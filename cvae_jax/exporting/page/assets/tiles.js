// The row of tiles: one image per class, in the same style.

import {colourOf, element, isDark, paint, pictureCanvas} from 'paint';
import {rove} from 'rove';

export class Tiles {
  /** `onPick(label)` is called when a tile is chosen, with null when it is chosen again. */
  constructor(list, names, shape, isInk, onPick) {
    Object.assign(this, {list, names, shape, isInk, onPick, images: [], picked: null});
    this.pictures = names.map(() => pictureCanvas(shape, isInk));
    this.buttons = names.map((name, label) => {
      const dot = element('span', {className: 'dot'});
      dot.style.background = colourOf(label);
      const button = element('button', {type: 'button', title: name}, [
        this.pictures[label],
        element('span', {className: 'name'}, names.length > 1 ? [dot, name] : []),
      ]);
      button.setAttribute('aria-pressed', 'false');
      button.setAttribute('aria-label', name ? `${name}: its dots alone on the map` : 'The image');
      button.addEventListener('click', () => this.pick(this.picked === label ? null : label));
      return button;
    });
    list.append(...this.buttons.map((button) => element('li', {}, [button])));
    rove(list);
  }

  pick(label) {
    this.picked = label;
    this.buttons.forEach((button, i) => button.setAttribute('aria-pressed', String(i === label)));
    this.onPick(label);
  }

  show(images) {
    this.images = images;
    images.forEach((image, i) => paint(this.pictures[i], image, this.shape, this.isInk));
  }

  /** Marks the class that the drawing is read as; null: none. */
  mark(label) {
    this.buttons.forEach((button, i) => {
      button.classList.toggle('likeliest', i === label);
      button.setAttribute('aria-current', String(i === label));
    });
  }

  /** The row as one picture, the drawing at its left; `size` is the side of a tile in pixels. */
  compose(drawing, size = 168) {
    const style = getComputedStyle(document.documentElement);
    const gap = size / 12;
    const perLine = Math.min(this.images.length, 10);
    const lines = Math.ceil(this.images.length / perLine);
    const left = drawing ? size + 3 * gap : gap;
    const [width, height] = [left + perLine * (size + gap), gap + lines * (size + 3 * gap)];
    const canvas = element('canvas', {width, height});
    const context = canvas.getContext('2d');
    context.fillStyle = style.getPropertyValue('--card');
    context.fillRect(0, 0, width, height);
    context.fillStyle = style.getPropertyValue('--muted');
    context.imageSmoothingQuality = 'high';
    context.textAlign = 'center';
    context.font = `${gap * 1.5}px sans-serif`;
    const place = (image, x, y, text) => {
      const picture = pictureCanvas(this.shape, this.isInk);
      paint(picture, image, this.shape, this.isInk, isDark() ? 255 : 0);
      context.drawImage(picture, x, y, size, size);
      context.fillText(text, x + size / 2, y + size + gap * 1.6, size);
    };
    if (drawing) place(drawing, gap, gap, 'drawn');
    this.images.forEach((image, i) => {
      const [column, line] = [i % perLine, Math.floor(i / perLine)];
      place(image, left + column * (size + gap), gap + line * (size + 3 * gap), this.names[i]);
    });
    return canvas;
  }
}
