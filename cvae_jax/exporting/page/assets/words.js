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
  const example = info.map?.source === 'samples' ? 'sample' : 'test image';
  const shown = isMany ? ` as ${all} classes` : ', as the model draws it';
  const map = [
    `Each dot is one of ${points} ${info.map?.source}, placed by style.`,
    'Move over it to see what is there. Drag your point, or use the arrow keys.',
    isMany ? `Press a ${isDigits(names) ? 'digit' : 'class'} above to see its dots alone.` : '',
  ];
  return {
    headline: isDigits(names)
      ? `Draw a digit. See it as ${all}.`
      : isMany
        ? `One style, ${all} classes.`
        : 'Draw, and see what the model makes of it.',
    lead: `${lead} It runs inside this file: nothing leaves your computer.`,
    example,
    hint: isDigits(names) ? 'Draw a digit here' : 'Draw here',
    demoHint: 'Your turn: draw here',
    invitation: isDigits(names)
      ? 'Draw a digit to see what the model reads'
      : 'Draw to see what the model makes of it',
    damaged: 'The link is damaged: this is the page’s own example.',
    map: map.join(' '),
    sliders: `In standard deviations.${
      info.latents ? ' Nats say how much each tells about an image; the largest come first.' : ''
    }`,
    // Of the reader's own drawing, and of an example.
    captions: isDigits(names)
      ? captions('Your handwriting', ` as ${all} digits`)
      : captions('Your drawing', shown),
    exampleCaptions: isDigits(names)
      ? captions('A handwriting', ` as ${all} digits`)
      : captions(`A ${example}`, shown),
  };
}

/** What the tiles show, by the source of their style. */
function captions(drawing, asAll) {
  return {
    drawing: drawing + asAll,
    moved: `${drawing}, moved`,
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
