// One slider per latent, those that tell most of an image first.

import {element} from 'paint';

const FIRST = 8; // sliders that are shown at once
const REACH = 3; // standard deviations to either side; more where a latent is beyond

export class Sliders {
  constructor(root, more, {latents, priorMean, std, latentDim}, onInput) {
    const order = [...Array(latentDim).keys()];
    if (latents) order.sort((a, b) => latents[b].kl - latents[a].kl);
    this.inputs = [];
    order.forEach((k, rank) => {
      const input = element('input', {
        type: 'range',
        min: -REACH,
        max: REACH,
        step: 0.01,
        value: 0,
        id: `latent-${k}`,
      });
      const value = element('output', {htmlFor: `latent-${k}`, textContent: '0.0'});
      const kl = latents ? `${latents[k].kl.toFixed(1)} nats` : '';
      const name = element('label', {htmlFor: input.id}, [`z${subscript(k + 1)}`]);
      if (kl) name.append(element('small', {textContent: kl}));
      input.setAttribute('aria-label', `z${k + 1}${kl && `, ${kl}`}`);
      input.addEventListener('input', () =>
        onInput(k, priorMean[k] + input.valueAsNumber * std[k]),
      );
      const row = element('div', {className: 'slider'}, [name, input, value]);
      row.hidden = rank >= FIRST;
      root.append(row);
      this.inputs[k] = {input, value, row};
    });
    Object.assign(this, {priorMean, std});
    more.hidden = latentDim <= FIRST;
    more.textContent = `Show all ${latentDim}`;
    more.addEventListener('click', () => {
      const isOpen = more.getAttribute('aria-expanded') === 'true';
      order.slice(FIRST).forEach((k) => (this.inputs[k].row.hidden = isOpen));
      more.setAttribute('aria-expanded', String(!isOpen));
      more.textContent = isOpen ? `Show all ${latentDim}` : `Show the first ${FIRST}`;
    });
  }

  show(latent) {
    this.inputs.forEach(({input, value}, k) => {
      const z = (latent[k] - this.priorMean[k]) / this.std[k];
      const isHeld = input === document.activeElement;
      const reach = Math.max(REACH, Math.ceil(Math.abs(z)), isHeld ? Number(input.max) : 0);
      Object.assign(input, {min: -reach, max: reach});
      // The slider under the hand stays where the hand is.
      if (Math.abs(input.valueAsNumber - z) > 0.006) input.value = z;
      value.textContent = (Math.round(10 * z) / 10 + 0).toFixed(1).replace('-', '−');
      input.setAttribute('aria-valuetext', `${value.textContent} standard deviations`);
    });
  }
}

function subscript(number) {
  return String(number).replace(/\d/g, (digit) => '₀₁₂₃₄₅₆₇₈₉'[digit]);
}
