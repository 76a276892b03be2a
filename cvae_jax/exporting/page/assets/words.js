// The page's words, and a digit that it draws itself: they depend on what the model knows.

const NUMBERS = 'zero one two three four five six seven eight nine ten eleven twelve'.split(' ');

export function isDigits(names) {
  return names.length > 1 && names.every((name) => /^\d$/.test(name));
}

/**
 * Whether images are writing: shown as ink on paper in either theme. It is where classes are single
 * characters, or where most of the examples is empty.
 */
export function isWriting({examples, imageShape}, names) {
  if (imageShape[2] !== 1) return false;
  if (names.length > 1 && names.every((name) => [...name].length === 1)) return true;
  const pixels = examples.flatMap(({image}) => Array.from(image));
  return pixels.filter((v) => v < 12).length > 0.7 * pixels.length;
}

export function words(info, names) {
  const isMany = names.length > 1;
  const all = `all ${NUMBERS[names.length] ?? names.length}`;
  const points = info.map ? (info.map.points.length / 2).toLocaleString('en') : '';
  const lead = isDigits(names)
    ? 'A small neural network reads your digit and writes every other one in your hand.'
    : isMany
      ? `A small neural network reads your drawing and shows it as ${all} classes, in one style.`
      : `A small neural network encodes your drawing in ${info.latentDim} numbers and redraws it.`;
  const map = [
    `Each dot is one of ${points} ${info.map?.source}, placed by style.`,
    'Move over it to see what is there. Drag your point, or use the arrow keys.',
    isMany ? 'A tile above picks out its class.' : '',
  ];
  return {
    headline: isDigits(names)
      ? `Draw a digit. See it as ${all}.`
      : isMany
        ? `One style, ${all} classes.`
        : 'Draw, and see what the model makes of it.',
    lead: `${lead} It runs inside this file: nothing leaves your computer.`,
    example: info.map?.source === 'samples' ? 'sample' : 'test image',
    hint: isDigits(names) ? 'Draw a digit here' : 'Draw here',
    demoHint: 'Your turn: draw over it',
    map: map.join(' '),
    sliders: `From −3 to 3 standard deviations${info.latents ? '; the most telling first' : ''}.`,
    captions: isDigits(names)
      ? captions('Your handwriting', ` as ${all} digits`)
      : captions('Your drawing', isMany ? ` as ${all} classes` : ', as the model draws it'),
  };
}

/** What the tiles show, by the source of their style. */
function captions(yours, asAll) {
  return {
    drawing: yours + asAll,
    moved: `${yours}, moved`,
    average: 'The average style',
    sample: 'A new style',
    between: 'Between A and B',
    pointer: 'Under the pointer',
  };
}

/** A slanted 3, as a stroke on a grid of 0 to `grid`. */
export function demoStroke(grid) {
  const three = [
    [0.36, 0.25],
    [0.42, 0.19],
    [0.52, 0.15],
    [0.63, 0.17],
    [0.69, 0.24],
    [0.67, 0.34],
    [0.59, 0.42],
    [0.49, 0.46],
    [0.46, 0.47],
    [0.54, 0.48],
    [0.62, 0.53],
    [0.64, 0.63],
    [0.58, 0.75],
    [0.46, 0.83],
    [0.35, 0.83],
    [0.27, 0.77],
  ];
  return three.flat().map((v) => Math.round(v * grid));
}
