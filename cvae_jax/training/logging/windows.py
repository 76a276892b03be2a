"""The terms of consecutive steps, and their averages between two lines of the log."""

import jax.numpy as jnp
import numpy as np
from clu import metrics

# The terms of consecutive steps of one epoch that no line of the log holds yet, [n] each; {} is
# the empty window.
Window = dict[str, np.ndarray]


def concatenate(windows: list[Window], names: tuple[str, ...]) -> Window:
  """One window of the terms `names` of several windows, in order."""
  return {name: np.concatenate([window[name] for window in windows]) for name in names}


def average(
  window: Window, usable: np.ndarray, now: int, log_every_steps: int, flush: bool
) -> tuple[list[tuple[int, dict[str, float]]], Window]:
  """Averages a window up to each step at which a line of the log is due.

  Args:
    window: the terms of the last n steps before `now`, n > 0.
    usable: [n] which of these steps count. Without any of them there is no line.
    now: steps taken.
    log_every_steps: a line is due at multiples of this.
    flush: whether a line is due at `now` in any case.

  Returns:
    A list of (step, averages since the line before), and the rest of the window.
  """
  first = now - len(usable)
  ends = [end for end in range(first + 1, now + 1) if end % log_every_steps == 0]
  if flush and ends[-1:] != [now]:
    ends.append(now)
  lines, begin = [], first
  for end in ends:
    rows = slice(begin - first, end - first)
    begin = end
    if usable[rows].any():
      lines.append((end, {name: _mean(x[rows][usable[rows]]) for name, x in window.items()}))
  rest = {name: values[begin - first :] for name, values in window.items()} if begin < now else {}
  return lines, rest


def _mean(values: np.ndarray) -> float:
  return float(metrics.Average.from_model_output(jnp.asarray(values)).compute())
