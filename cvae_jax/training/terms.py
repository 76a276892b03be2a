"""The terms of the loss on their way to the log: a window of steps, its averages, its accidents."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from clu import metrics

from cvae_jax.errors import NonFiniteError
from cvae_jax.training.step import TERMS

# The terms of consecutive steps of one epoch that no line of the log holds yet, [n] each; {} is
# the empty window.
Window = dict[str, np.ndarray]


TrainMetrics = metrics.Collection.create(
  **{name: metrics.Average.from_output(name) for name in TERMS}
)


def concatenate(pieces: list[Window]) -> Window:
  """One window of several, in order."""
  return {name: np.concatenate([piece[name] for piece in pieces]) for name in TERMS}


def average(
  window: Window, now: int, log_every_steps: int, flush: bool
) -> tuple[list[tuple[int, dict[str, float]]], Window]:
  """Averages a window up to each step at which a line of the log is due.

  Args:
    window: the terms of the last n steps before `now`, n > 0.
    now: steps taken.
    log_every_steps: a line is due at multiples of this.
    flush: whether a line is due at `now` in any case.

  Returns:
    A list of (step, averages since the line before), and the rest of the window.
  """
  first = now - len(window['loss'])
  ends = [end for end in range(first + 1, now + 1) if end % log_every_steps == 0]
  if flush and ends[-1:] != [now]:
    ends.append(now)
  lines, begin = [], first
  for end in ends:
    part = {name: values[begin - first : end - first] for name, values in window.items()}
    averages = TrainMetrics.single_from_model_output(
      **{name: jnp.asarray(values) for name, values in part.items()}
    ).compute()
    lines.append((end, {name: float(value) for name, value in averages.items()}))
    begin = end
  rest = {name: values[begin - first :] for name, values in window.items()} if begin < now else {}
  return lines, rest


def check_finite(values: Window, now: int, last_good: Path | None) -> None:
  """Raises NonFiniteError naming the first step at which a value is no finite number.

  Args:
    values: [n] of each, for the n steps up to `now`.
    now: steps taken.
    last_good: the newest checkpoint, if there is one.
  """
  table = np.array(list(values.values()))
  finite = np.isfinite(table).all(axis=0)
  if finite.all():
    return
  first = int(np.argmin(finite))
  shown = ', '.join(f'{name} {series[first]:.4g}' for name, series in values.items())
  advice = (
    'Try a lower --config.learning_rate, a smaller --config.clip_norm, a longer '
    '--config.beta_warmup_epochs, or --config.precision=float32'
  )
  if last_good is None:
    advice += ', in a new --workdir.'
  else:
    advice += f'; --resume_from={last_good} with a new --workdir goes on from the last good state.'
  raise NonFiniteError(
    f'Step {now - len(finite) + first + 1} gave a number that is not finite ({shown}). {advice}'
  )
