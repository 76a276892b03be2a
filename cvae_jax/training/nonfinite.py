"""Steps whose loss or gradient is not finite: skipped, up to a limit, or the end of the run."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cvae_jax.runtime import paths
from cvae_jax.runtime.errors import NonFiniteError
from cvae_jax.training.logging.reporter import terms_text
from cvae_jax.training.logging.windows import Window


def check_steps(
  window: Window, usable: np.ndarray, now: int, skipped: int, last_good: Path | None, config
) -> int:
  """Stops a run at a step that is not usable or, where such are skipped, at one too many in a row.

  Args:
    window: the terms of the last n steps before `now`.
    usable: [m] whether the last m of them are; see `step.is_usable`.
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
  count = len(window['loss'])
  for position, is_good in enumerate(usable, start=count - len(usable)):
    skipped = 0 if is_good else skipped + 1
    if skipped > allowed:
      terms = {name: series[position] for name, series in window.items()}
      in_a_row = f', the {skipped}. in a row' if allowed else ''
      raise _error(now - count + position + 1, terms, last_good, config, in_a_row)
  return skipped


def check_values(values: Mapping[str, float], now: int, last_good: Path | None, config) -> None:
  """Raises NonFiniteError where a number that belongs to step `now` is not finite."""
  if not np.isfinite(list(values.values())).all():
    raise _error(now, values, last_good, config)


def _error(
  step: int, terms: Mapping[str, float], last_good: Path | None, config, in_a_row: str = ''
) -> NonFiniteError:
  what = 'a gradient longer than max_gradient_norm'
  if not np.isfinite(list(terms.values())).all():
    what = 'a number that is not finite'
  remedies = ['a lower --config.learning_rate']
  remedies.append(f'a {"smaller" if config.clip_norm else "positive"} --config.clip_norm')
  if 'kl' in terms and config.beta_schedule in ('linear', 'cosine'):
    remedies.append('a longer --config.beta_warmup_epochs')
  if config.precision != 'float32':
    remedies.append('--config.precision=float32')
  if config.on_nonfinite != 'skip':
    remedies.append('--config.on_nonfinite=skip')
  advice = f'Try {", ".join(remedies[:-1])} or {remedies[-1]}'
  if last_good is None:
    advice += ', in a new --workdir.'
  else:
    again = f'--resume_from={paths.quoted(last_good)}'
    advice += f'; {again} with a new --workdir continues from the last good state.'
  return NonFiniteError(f'Step {step} gave {what}{in_a_row} ({terms_text(terms)}). {advice}')
