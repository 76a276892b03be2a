"""The terms of the loss on their way to the log: a window of steps, its averages, its accidents."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from clu import metrics

from cvae_jax.runtime.errors import NonFiniteError
from cvae_jax.training.step import TERMS, is_usable

# The terms of consecutive steps of one epoch that no line of the log holds yet, [n] each; {} is
# the empty window.
Window = dict[str, np.ndarray]


TrainMetrics = metrics.Collection.create(
  **{name: metrics.Average.from_output(name) for name in TERMS}
)


def leaving_out(values: dict[str, float], config) -> dict[str, float]:
  """The terms and validations that the objective has: a denoising autoencoder has no bound."""
  none = ('kl', 'beta', 'negative_elbo') if config.objective == 'dae' else ()
  return {name: value for name, value in values.items() if name not in none}


def concatenate(pieces: list[Window]) -> Window:
  """One window of several, in order."""
  return {name: np.concatenate([piece[name] for piece in pieces]) for name in TERMS}


def usable_steps(window: Window, config) -> np.ndarray:
  """Which steps of a window changed the weights, bool [n]; see `step.is_usable`."""
  return is_usable(window, config.max_gradient_norm, np)


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
  first = now - len(window['loss'])
  ends = [end for end in range(first + 1, now + 1) if end % log_every_steps == 0]
  if flush and ends[-1:] != [now]:
    ends.append(now)
  lines, begin = [], first
  for end in ends:
    rows = slice(begin - first, end - first)
    begin = end
    if not usable[rows].any():
      continue
    part = {name: values[rows][usable[rows]] for name, values in window.items()}
    averages = TrainMetrics.single_from_model_output(
      **{name: jnp.asarray(values) for name, values in part.items()}
    ).compute()
    lines.append((end, {name: float(value) for name, value in averages.items()}))
  rest = {name: values[begin - first :] for name, values in window.items()} if begin < now else {}
  return lines, rest


def check_usable(
  window: Window, usable: np.ndarray, now: int, skipped: int, last_good: Path | None, config
) -> int:
  """Stops a run at a step that is not usable or, where such are skipped, at one too many in a row.

  Args:
    window: the terms of the last n steps before `now`.
    usable: [m] whether the last m of them are.
    now: steps taken.
    skipped: how many in a row were not, right before those m.
    last_good: the newest checkpoint, if there is one.
    config: what is allowed.

  Returns:
    How many in a row are not at the end.

  Raises:
    NonFiniteError: naming the step and its terms.
  """
  allowed = config.max_skipped_steps if config.on_nonfinite == 'skip' else 0
  for position, is_good in enumerate(usable, start=len(window['loss']) - len(usable)):
    skipped = 0 if is_good else skipped + 1
    if skipped > allowed:
      terms = leaving_out({name: series[position] for name, series in window.items()}, config)
      step = now - len(window['loss']) + position + 1
      raise _error(step, terms, last_good, f', the {skipped}. in a row' if allowed else '')
  return skipped


def check_finite(values: dict[str, float], now: int, last_good: Path | None) -> None:
  """Raises NonFiniteError where a number that belongs to step `now` is not finite."""
  if not np.isfinite(list(values.values())).all():
    raise _error(now, values, last_good)


def _error(
  step: int, terms: dict[str, float], last_good: Path | None, and_then: str = ''
) -> NonFiniteError:
  shown = ', '.join(f'{name} {value:.4g}' for name, value in terms.items())
  what = 'a gradient longer than max_gradient_norm'
  if not np.isfinite(list(terms.values())).all():
    what = 'a number that is not finite'
  advice = (
    'Try a lower --config.learning_rate, a smaller --config.clip_norm, a longer '
    '--config.beta_warmup_epochs, --config.precision=float32, or --config.on_nonfinite=skip'
  )
  if last_good is None:
    advice += ', in a new --workdir.'
  else:
    advice += f'; --resume_from={last_good} with a new --workdir goes on from the last good state.'
  return NonFiniteError(f'Step {step} gave {what}{and_then} ({shown}). {advice}')
