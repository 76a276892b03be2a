// Work that follows a moving hand: one piece at a time, always the newest.

import {Stale} from 'client';

/**
 * Returns a function f(argument). Calls while `work` runs replace each other; the newest is begun
 * when the running one ends. `work` receives the argument and a function that tells whether a newer
 * one waits.
 * The promise that f returns resolves when nothing is left to do.
 */
export function latest(work, onError) {
  let waiting = null;
  let running = null;
  const run = async () => {
    while (waiting) {
      const [argument] = waiting;
      waiting = null;
      try {
        await work(argument, () => waiting !== null);
      } catch (error) {
        if (!(error instanceof Stale)) onError(error);
      }
    }
    running = null;
  };
  return (argument) => {
    waiting = [argument];
    running ??= run();
    return running;
  };
}
