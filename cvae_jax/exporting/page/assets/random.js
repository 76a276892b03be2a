// Random numbers that a seed fixes, so that the same drawing always gets the same reading.

/** A function that returns uniform numbers in [0, 1) (mulberry32). */
export function uniforms(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** `length` numbers of N(0, 1) (Box & Muller 1958). */
export function normals(uniform, length) {
  return Float32Array.from({length}, () => {
    const radius = Math.sqrt(-2 * Math.log(1 - uniform()));
    return radius * Math.cos(2 * Math.PI * uniform());
  });
}

/** `count` vectors of N(0, I) in antithetic pairs: ε, −ε, ε′, −ε′, ... */
export function antithetic(seed, length, count) {
  const uniform = uniforms(seed);
  const noises = [];
  while (noises.length < count) {
    const noise = normals(uniform, length);
    noises.push(
      noise,
      noise.map((v) => -v),
    );
  }
  return noises.slice(0, count);
}
