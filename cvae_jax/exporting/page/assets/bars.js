// The reading of a drawing: p(c | x) as bars, the bound in nats, and how usual it is.

import {histogram, quantile} from 'reading';
import {colourOf, element} from 'paint';

const MOST = 12; // with more classes, the likeliest ten are shown

export class Bars {
  /**
   * `usual`: sorted −nats of test images, or null. `invitation` is the title without a drawing.
   * `time` says when the bars were last set.
   */
  constructor(root, names, usual, invitation) {
    Object.assign(this, {root, names, usual, invitation});
    for (const name of ['reads', 'verdict', 'bars', 'nats', 'rarity', 'meaning'])
      this[name] = root.querySelector(`.${name}`);
    this.title = this.reads.parentNode;
    const slots = names.length > MOST ? 10 : names.length;
    this.bars.classList.toggle(
      'wide',
      names.some((name) => name.length > 2) || names.length > MOST,
    );
    this.rows = Array.from({length: slots}, (_, i) => {
      const [name, fill, value] = ['name', 'fill', 'value'].map((c) =>
        element('span', {className: c}),
      );
      const track = element('span', {className: 'track'}, [fill]);
      const spoken = element('span', {className: 'unseen'});
      const row = element('li', {}, [name, track, value, spoken]);
      for (const node of [name, value]) node.setAttribute('aria-hidden', 'true');
      name.textContent = names[i];
      fill.style.background = colourOf(i);
      return {row, name, fill, value, spoken};
    });
    this.bars.append(...this.rows.map(({row}) => row));
    this.bars.hidden = names.length < 2;
    if (usual) this.drawUsual(root.querySelector('.usual'));
    this.empty();
  }

  empty() {
    this.title.hidden = false;
    this.reads.textContent = this.invitation;
    this.root.setAttribute('aria-busy', 'false');
    this.verdict.textContent = '';
    this.nats.textContent = '–';
    this.rarity.textContent = '';
    for (const {row, value, spoken} of this.rows) {
      row.className = '';
      row.style.setProperty('--p', 0);
      value.textContent = spoken.textContent = '';
    }
    if (this.needle) this.needle.hidden = true;
    this.quantile = null;
    this.time = -Infinity;
  }

  /**
   * `reading` is a Reading; `isFinal` says that no more noise is to come, `isFar` that the drawing
   * lies where the model knows nothing.
   */
  show(reading, isFinal, isFar) {
    const {probabilities, label, nats} = reading;
    const order = [...this.names.keys()];
    if (this.names.length > MOST) order.sort((a, b) => probabilities[b] - probabilities[a]);
    this.rows.forEach(({row, name, fill, value, spoken}, slot) => {
      const i = order[slot];
      name.textContent = name.title = this.names[i];
      row.className = i === label ? 'likeliest' : '';
      row.style.setProperty('--p', probabilities[i]);
      fill.style.background = colourOf(i);
      value.textContent = percent(probabilities[i]);
      spoken.textContent = `${this.names[i]}: ${value.textContent}`;
    });
    this.title.hidden = this.names.length < 2;
    this.reads.textContent = 'The model reads';
    if (this.names.length > 1) {
      this.verdict.textContent = `${this.names[label]}, ${percent(probabilities[label])}`;
    }
    this.nats.textContent = `${nats.toFixed(1).replace('-', '−')} nats`;
    if (this.usual) this.showRarity(-nats);
    const isUsual = !this.usual || this.quantile < 0.5;
    if (isFar && isUsual) this.rarity.textContent = 'This looks like nothing the model knows.';
    else if (!this.usual) this.rarity.textContent = '';
    this.root.setAttribute('aria-busy', String(!isFinal));
    this.time = performance.now();
  }

  showRarity(cost) {
    this.quantile = quantile(this.usual, cost);
    const {quantile: q} = this;
    this.rarity.textContent =
      q >= 1
        ? 'less usual than every test image'
        : q <= 0
          ? 'more usual than every test image'
          : q > 0.5
            ? `less usual than ${percent(q)} of the test images`
            : `more usual than ${percent(1 - q)} of the test images`;
    const [low, high] = this.range;
    this.needle.hidden = false;
    this.needle.style.left = `${100 * Math.min(1, Math.max(0, (cost - low) / (high - low)))}%`;
  }

  /** The distribution of the test images' bounds, as a small area chart with a needle. */
  drawUsual(figure) {
    const {usual} = this;
    const at = (q) => usual[Math.min(usual.length - 1, Math.floor(q * usual.length))];
    const margin = (at(0.99) - at(0.01)) / 8;
    this.range = [at(0.002) - margin, at(0.99) + margin];
    const counts = histogram(usual, ...this.range, 48);
    const top = Math.max(...counts);
    const points = counts.map((count, i) => `${i + 0.5},${(30 - (28 * count) / top).toFixed(2)}`);
    const area = `<path d="M0,30L${points.join('L')}L48,30Z"/>`;
    figure.innerHTML = `<svg viewBox="0 0 48 30" preserveAspectRatio="none">${area}</svg>`;
    figure.setAttribute('role', 'img');
    figure.setAttribute('aria-label', 'Histogram of log p(x) of the test images, highest at the left');
    this.meaning.textContent = '“Usual” means a high log p(x). Simple images have one, too.';
    this.needle = element('i');
    figure.append(this.needle);
    figure.hidden = false;
  }
}

export function percent(p) {
  if (p > 0.9995) return '100 %';
  return p < 0.0005 ? '0 %' : `${(100 * p).toFixed(p < 0.1 || p > 0.99 ? 1 : 0)} %`;
}
