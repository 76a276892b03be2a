// Pixels onto canvases, and the colours of classes.

// Ten colours that stay apart for the common kinds of colour blindness, on white and on black (Petroff
// 2021, "Accessible color sequences for data visualization").
const COLOURS = [
  '#3f90da', '#ffa90e', '#bd1f01', '#94a4a2', '#832db6', '#a96b59', '#e76300', '#b9ac70', '#717581',
  '#92dadd',
]

export function colourOf(label) {
  return label < COLOURS.length ? COLOURS[label] : `hsl(${(label * 137.5) % 360} 55% ${45 + (label % 3) * 10}%)`
}

export function element(tag, properties = {}, children = []) {
  const node = document.createElement(tag)
  for (const [name, value] of Object.entries(properties)) {
    if (name in node && name !== 'list') node[name] = value
    else node.setAttribute(name, value)
  }
  node.append(...children)
  return node
}

/** A canvas of an image's size in pixels; CSS scales it. */
export function pictureCanvas([height, width], isInk) {
  const picture = element('canvas', { width, height, className: isInk ? 'picture ink' : 'picture' })
  picture.setAttribute('aria-hidden', 'true')
  return picture
}

/** Whether the page is dark, by the system or by the reader's choice. */
export function isDark() {
  return getComputedStyle(document.documentElement).colorScheme === 'dark'
}

/**
 * Writes an image of floats in [0, 1] into a canvas of its size. Ink is a grey, `grey` of 255, whose
 * opacity is the value: black ink on a canvas of class `ink` is inverted in the dark by the style sheet.
 * Other images are opaque.
 */
export function paint(canvas, image, [height, width, channels], isInk, grey = 0) {
  const context = canvas.getContext('2d')
  const pixels = context.createImageData(width, height)
  for (let i = 0; i < height * width; i++) {
    for (let c = 0; c < 3; c++) {
      pixels.data[4 * i + c] = isInk ? grey : image[channels * i + (c % channels)] * 255
    }
    pixels.data[4 * i + 3] = isInk ? image[i] * 255 : 255
  }
  context.putImageData(pixels, 0, 0)
}

/** Sizes a canvas to its box in device pixels; returns a context that draws in CSS pixels. */
export function fitted(canvas) {
  const { width, height } = canvas.getBoundingClientRect()
  const ratio = window.devicePixelRatio || 1
  canvas.width = Math.round(width * ratio)
  canvas.height = Math.round(height * ratio)
  const context = canvas.getContext('2d')
  context.setTransform(ratio, 0, 0, ratio, 0, 0)
  return { context, width, height }
}

/** Calls `draw` at most once per frame. */
export function framed(draw) {
  let isDue = false
  return () => {
    if (isDue) return
    isDue = true
    requestAnimationFrame(() => {
      isDue = false
      draw()
    })
  }
}
