// The address bar: it follows the page, and the page follows it.

import {read, write} from 'link';

const PAUSE = 400; // milliseconds between two writes

export class Address {
  /** `state()` gives what `link.write` takes; `onVisit(state)` gets that of an opened link. */
  constructor(info, state, onVisit) {
    Object.assign(this, {info, state, timer: null, own: location.hash});
    window.addEventListener('hashchange', () => {
      if (location.hash !== this.own) onVisit(this.linked);
    });
  }

  /** The state in the address. */
  get linked() {
    return read(location.hash, this.info);
  }

  follow() {
    this.timer ??= setTimeout(() => this.write(), PAUSE);
  }

  write() {
    clearTimeout(this.timer);
    this.timer = null;
    const text = write(this.state(), this.info);
    if (text === location.hash.slice(1)) return;
    this.own = text && `#${text}`;
    history.replaceState(null, '', this.own || location.href.split('#')[0]);
  }

  /** Copies the link; false where the browser does not let it. */
  async copy() {
    this.write();
    try {
      await navigator.clipboard.writeText(location.href);
      return true;
    } catch {
      return false;
    }
  }
}
