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
  const all = `all ${NUMBERS[names.length] ?? names.length}`;
  const images = info.map?.source ?? 'test images';
  const count = info.map ? (info.map.points.length / 2).toLocaleString('en') : '';
  const map =
    `Each dot is one of ${count} ${images}, placed by style. Move over it to see what is written ` +
    `there. Drag your point, or use the arrow keys.${names.length > 1 ? ' A tile above picks out its class.' : ''}`;
  const ranks = `${info.latents ? 'Those that tell the most come first. ' : ''}Each runs over ±3 standard deviations.`;
  const common = {map, sliders: ranks, hint: 'Draw here', demoHint: 'Your turn: draw over it'};
  const local = 'It runs inside this file: nothing leaves your computer.';
  if (isDigits(names)) {
    return {
      ...common,
      headline: `Draw a digit. See it as ${all}.`,
      lead: `A small neural network reads your digit and writes every other one in your hand. ${local}`,
      hint: 'Draw a digit here',
      captions: captions('Your handwriting', ` as ${all} digits`),
    };
  }
  if (names.length > 1) {
    return {
      ...common,
      headline: `One style, ${all} classes.`,
      lead: `A small neural network reads your drawing and shows it as ${all} classes, in the same style. ${local}`,
      captions: captions('Your drawing', ` as ${all} classes`),
    };
  }
  return {
    ...common,
    headline: 'Draw, and see what the model makes of it.',
    lead: `A small neural network encodes your drawing in ${info.latentDim} numbers and draws it anew. ${local}`,
    captions: captions('Your drawing', ', as the model draws it'),
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
