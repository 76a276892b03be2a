"""An experiment, as a config file states it: a question, its runs, and how they answer it."""

import runpy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from cvae_jax.runtime.errors import InputError
from cvae_jax.training.sweep_plan import Axis, text_of

SIGNIFICANT = 0.05


class Finding(NamedTuple):
  """The result of one setting."""

  name: str
  values: Mapping[str, object]  # of the swept fields other than the seed
  runs: Mapping[int, Mapping[str, float]]  # by seed: numbers of `sweep_report` and `comparison`

  @property
  def numbers(self) -> dict[str, float]:
    """Means over the seeds."""
    names = dict.fromkeys(name for values in self.runs.values() for name in values)
    return {name: float(np.mean(list(self.column(name).values()))) for name in names}

  def column(self, name: str) -> dict[int, float]:
    """One number, by seed, of all runs that have it."""
    return {seed: values[name] for seed, values in self.runs.items() if name in values}


def paired(one: Finding, other: Finding, name: str) -> Float[np.ndarray, '2 seeds']:
  """A number of two settings at the seeds that both have.

  Runs with the same seed share their initial weights, batches and noise.

  Raises:
    KeyError: there is no such seed.
  """
  columns = one.column(name), other.column(name)
  seeds = sorted(set(columns[0]) & set(columns[1]))
  if not seeds:
    raise KeyError(f'{one.name} and {other.name} have no seed in common')
  return np.array([[column[seed] for seed in seeds] for column in columns])


def differ(pairs: Float[np.ndarray, '2 seeds']) -> bool:
  """Whether two settings differ, by a paired t-test at the level of 5 %."""
  from scipy import stats  # late: every training imports this module

  return pairs.shape[1] > 1 and bool(stats.ttest_rel(*pairs).pvalue < SIGNIFICANT)


def the(findings: Sequence[Finding], **values) -> Finding:
  """The finding of the setting with these values.

  Raises:
    KeyError: there is none, or more than one.
  """
  found = [finding for finding in findings if values.items() <= finding.values.items()]
  if len(found) != 1 or not found[0].runs:
    text = ', '.join(f'{field}={text_of(value)}' for field, value in values.items())
    raise KeyError(f'not one setting of {text}')
  return found[0]


class Experiment(NamedTuple):
  """What a config file's `get_experiment()` returns."""

  question: str
  axes: tuple[Axis, ...]
  published: str  # what others found, with the source
  answer: Callable[[Sequence[Finding]], str]  # derives the answer, a text, from the numbers
  name: Callable[[Mapping[str, object]], str] | None = None  # names a setting, from its values
  scatter: bool = False  # whether to draw the latents of each setting
  plane: tuple[str, str] | None = None  # names of two numbers to draw against each other


def of_file(path: str | None) -> Experiment | None:
  """What `get_experiment()` of a config file returns; None if there is no such function.

  Args:
    path: of the file; what follows a colon is the argument of its `get_config`.

  Raises:
    InputError: the file fails.
  """
  path = (path or '').partition(':')[0]
  if not Path(path).is_file():
    return None
  try:
    make = runpy.run_path(str(path)).get('get_experiment')
    made = make() if make else None
  except Exception as error:  # whatever the file raises
    raise InputError(f'Config file {path!r} fails: {type(error).__name__}: {error}') from error
  if not isinstance(made, Experiment | None):
    raise InputError(
      f'get_experiment() of {path!r} returns a {type(made).__name__}, expected an Experiment.'
    )
  return made
