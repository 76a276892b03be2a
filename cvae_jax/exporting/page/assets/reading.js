// p(c | x) by Bayes over the classes' bounds. Pure functions and one running mean.

/** log Σ exp(v), without overflow. */
export function logSumExp(values) {
  const top = Math.max(...values);
  return top + Math.log(values.reduce((sum, v) => sum + Math.exp(v - top), 0));
}

/** The mean over noises of the bounds of log p(x | c), one per class, and what follows from it. */
export class Reading {
  count = 0;

  constructor(numClasses) {
    this.sums = new Float64Array(numClasses);
  }

  add(elbos) {
    elbos.forEach((v, i) => (this.sums[i] += v));
    this.count++;
  }

  get elbos() {
    return this.sums.map((v) => v / this.count);
  }

  /** p(c | x) of classes that are equally likely before x is seen. */
  get probabilities() {
    const elbos = this.elbos;
    const total = logSumExp(elbos);
    return elbos.map((v) => Math.exp(v - total));
  }

  get label() {
    return this.sums.indexOf(Math.max(...this.sums));
  }

  /** A lower bound of log p(x) in nats: log of the mean over classes of exp(elbo). */
  get nats() {
    return logSumExp(this.elbos) - Math.log(this.sums.length);
  }
}

/** The fraction of `sorted` that is below `value`. */
export function quantile(sorted, value) {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low / sorted.length;
}

/** How many of `sorted` fall into each of `bins` equal intervals of [low, high]. */
export function histogram(sorted, low, high, bins) {
  const counts = new Array(bins).fill(0);
  for (const v of sorted) {
    const bin = Math.floor(((v - low) / (high - low)) * bins);
    if (bin >= 0 && bin < bins) counts[bin]++;
  }
  return counts;
}
