// Pixels onto canvases, and the colours of classes.

/** The colour of a class, for a style sheet. */
export function colourOf(label) {
  return label < 10
    ? `var(--class-${label})`
    : `hsl(${(label * 137.5) % 360} 50% ${45 + (label % 3) * 10}%)`;
}

/** The same for a canvas, which knows no variables. */
export function solidColourOf(label) {
  const style = getComputedStyle(document.documentElement);
  return colourOf(label).replace(/var\((.*)\)/, (_, name) => style.getPropertyValue(name));
}

export function element(tag, properties = {}, children = []) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in node && name !== 'list') node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/** A canvas of an image's size in pixels; CSS scales it. */
export function pictureCanvas([height, width], isInk) {
  const picture = element('canvas', {width, height, className: isInk ? 'picture ink' : 'picture'});
  picture.setAttribute('aria-hidden', 'true');
  return picture;
}

/** Whether the page is dark, by the system or by the reader's choice. */
export function isDark() {
  return getComputedStyle(document.documentElement).colorScheme === 'dark';
}

/**
 * Writes an image of floats in [0, 1] into a canvas of its size. Ink is a grey, `grey` of 255,
 * whose opacity is the value; in the dark, the style sheet inverts black ink on a canvas of class
 * `ink`. Other images are opaque.
 */
export function paint(canvas, image, [height, width, channels], isInk, grey = 0) {
  const context = canvas.getContext('2d');
  const pixels = context.createImageData(width, height);
  for (let i = 0; i < height * width; i++) {
    for (let c = 0; c < 3; c++) {
      pixels.data[4 * i + c] = isInk ? grey : image[channels * i + (c % channels)] * 255;
    }
    pixels.data[4 * i + 3] = isInk ? image[i] * 255 : 255;
  }
  context.putImageData(pixels, 0, 0);
}

/** Sizes a canvas to its box in device pixels; returns a context that draws in CSS pixels. */
export function fitted(canvas) {
  const {width, height} = canvas.getBoundingClientRect();
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext('2d');
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return {context, width, height};
}

/** Calls `draw` at most once per frame. */
export function framed(draw) {
  let isDue = false;
  return () => {
    if (isDue) return;
    isDue = true;
    requestAnimationFrame(() => {
      isDue = false;
      draw();
    });
  };
}
