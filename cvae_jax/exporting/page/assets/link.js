// The state of the page as a short text for the address bar, and back.
//
// s  strokes, 3 bytes a point (two coordinates of 12 bits); e  number of the example under them
// z  latent, 2 bytes a number; l  class it belongs to; r  other conditions; t  temperature

const RANGE = 8; // a latent is kept within so many standard deviations of the prior's mean

const NOTHING = {strokes: [], example: null, latent: null, label: null, row: null, temperature: 1};

export function toText(bytes) {
  const text = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''));
  return text.replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '');
}

export function toBytes(text) {
  const binary = atob(text.replaceAll('-', '+').replaceAll('_', '/'));
  return Uint8Array.from(binary, (character) => character.charCodeAt(0));
}

/** Strokes as bytes: the number of points (2), the colour (3), the points (3 each); and so on. */
export function packStrokes(strokes) {
  return strokes.flatMap(({points, colour}) => {
    const count = points.length / 2;
    const bytes = [
      count >> 8,
      count & 255,
      ...[1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16)),
    ];
    for (let i = 0; i < points.length; i += 2) {
      const [x, y] = [points[i], points[i + 1]];
      bytes.push(x >> 4, ((x & 15) << 4) | (y >> 8), y & 255);
    }
    return bytes;
  });
}

export function unpackStrokes(bytes) {
  const strokes = [];
  for (let at = 0; at < bytes.length;) {
    const count = (bytes[at] << 8) | bytes[at + 1];
    const colour = `#${[2, 3, 4].map((i) => bytes[at + i].toString(16).padStart(2, '0')).join('')}`;
    at += 5;
    if (!count || at + 3 * count > bytes.length) throw new Error('damaged strokes');
    const points = [];
    for (let i = 0; i < count; i++, at += 3) {
      points.push(
        (bytes[at] << 4) | (bytes[at + 1] >> 4),
        ((bytes[at + 1] & 15) << 8) | bytes[at + 2],
      );
    }
    strokes.push({points, colour});
  }
  return strokes;
}

export function packLatent(latent, {priorMean, std}) {
  return Array.from(latent).flatMap((v, k) => {
    const z = Math.max(-1, Math.min(1, (v - priorMean[k]) / std[k] / RANGE));
    const whole = Math.round((z + 1) * 32767.5);
    return [whole >> 8, whole & 255];
  });
}

export function unpackLatent(bytes, {priorMean, std}) {
  if (bytes.length !== 2 * std.length) throw new Error('damaged latent');
  return Float32Array.from(std, (scale, k) => {
    const whole = (bytes[2 * k] << 8) | bytes[2 * k + 1];
    return priorMean[k] + (whole / 32767.5 - 1) * RANGE * scale;
  });
}

/** The text of a state {strokes, example, latent, label, row, temperature}; null is left out. */
export function write({strokes, example, latent, label, row, temperature}, info) {
  const fields = new URLSearchParams();
  if (strokes.length) fields.set('s', toText(packStrokes(strokes)));
  if (example !== null) fields.set('e', example);
  if (latent) fields.set('z', toText(packLatent(latent, info)));
  if (latent && label !== null) fields.set('l', label);
  if (row)
    fields.set('r', Array.from(row, (v) => (Number.isNaN(v) ? '' : +v.toPrecision(5))).join('_'));
  if (temperature !== 1) fields.set('t', temperature);
  return fields.toString();
}

/** The state in a text; as at the beginning, and with `isDamaged`, where any of it is damaged. */
export function read(text, info) {
  const fields = new URLSearchParams(text.replace(/^#/, ''));
  try {
    return {...NOTHING, ...parsed(fields, info)};
  } catch {
    return {...NOTHING, isDamaged: true};
  }
}

function parsed(fields, info) {
  const {classColumn, columns, examples} = info;
  const readers = {
    s: (text) => ({strokes: unpackStrokes(toBytes(text))}),
    e: (text) => ({example: number(text, (v) => v in examples)}),
    z: (text) => ({latent: unpackLatent(toBytes(text), info)}),
    l: (text) => {
      const names = classColumn === null ? [''] : columns[classColumn].names;
      return {label: number(text, (v) => v in names)};
    },
    r: (text) => ({row: unpackRow(text.split('_'), columns)}),
    t: (text) => ({temperature: number(text, (v) => v >= 0 && v <= 1.5)}),
  };
  const known = [...fields].filter(([name]) => name in readers);
  if (!known.length && fields.size) throw new Error('no state');
  return Object.assign({}, ...known.map(([name, text]) => readers[name](text)));
}

function unpackRow(texts, columns) {
  if (texts.length !== columns.length) throw new Error('damaged conditions');
  return texts.map((text, i) =>
    text === '' && columns[i].mayBeUnknown ? NaN : number(text, Number.isFinite),
  );
}

function number(text, isValid) {
  const value = text === '' ? NaN : Number(text);
  if (!isValid(value)) throw new Error('damaged number');
  return value;
}
