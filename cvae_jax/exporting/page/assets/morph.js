// From a stored style A to a stored style B, along a straight line in latent space, there and back.

const FRAMES = 24; // decoded between A and B; what lies between two frames is their mixture
const SECONDS = 3; // from A to B

export class Morph {
  /**
   * `decodeAt(t)` resolves to {latent, images}, the style at t in [0, 1]; `show(t, latent, images)`
   * shows one. `onState(isPlaying)` is called when the animation starts or stops.
   */
  constructor({decodeAt, show, onState}) {
    Object.assign(this, {decodeAt, show, onState, frames: [], t: 0, playing: null});
  }

  /** Forgets decoded frames: A, B or the conditions have changed. */
  reset() {
    this.stop();
    this.frames = [];
  }

  frame(i) {
    return (this.frames[i] ??= this.decodeAt(i / FRAMES));
  }

  /** Shows the style at t. */
  async seek(t) {
    const ticket = (this.ticket = {});
    const low = Math.min(Math.floor(t * FRAMES), FRAMES - 1);
    const [a, b] = [await this.frame(low), await this.frame(low + 1)];
    if (ticket !== this.ticket) return;
    const part = t * FRAMES - low;
    const mix = (from, to) => from.map((v, j) => v + part * (to[j] - v));
    this.t = t;
    this.show(
      t,
      mix(a.latent, b.latent),
      a.images.map((image, i) => mix(image, b.images[i])),
    );
  }

  async play() {
    if (this.playing) return;
    const run = (this.playing = {});
    this.onState(true);
    let phase = Math.acos(1 - 2 * this.t) / Math.PI; // 0 at A, 1 at B, 2 at A again
    let before = performance.now();
    while (this.playing === run) {
      const now = await new Promise(requestAnimationFrame);
      if (this.playing !== run) break;
      // Never past a frame: a slow first round, in which frames are decoded, shows them all.
      phase = (phase + Math.min((now - before) / 1000 / SECONDS, 1 / FRAMES)) % 2;
      before = now;
      await this.seek((1 - Math.cos(Math.PI * phase)) / 2);
    }
  }

  /** Ends the animation, and drops what is still being decoded for it. */
  stop() {
    this.ticket = null;
    if (!this.playing) return;
    this.playing = null;
    this.onState(false);
  }
}
