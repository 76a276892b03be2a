"""An experiment, as a config file states it: a question, the runs that answer it, and an answer."""

import runpy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cvae_jax.runtime.errors import InputError
from cvae_jax.training.sweep_plan import Axis, text_of

SIGNIFICANT = 0.05


class Finding(NamedTuple):
  """What one setting came to."""

  name: str
  values: Mapping[str, object]  # of the swept fields, but for the seed
  runs: Mapping[int, Mapping[str, float]]  # by seed: numbers of `results` and of `comparison`

  @property
  def numbers(self) -> dict[str, float]:
    """Their means over the seeds."""
    names = dict.fromkeys(name for values in self.runs.values() for name in values)
    return {name: float(np.mean(list(self.column(name).values()))) for name in names}

  def column(self, name: str) -> dict[int, float]:
    """One number of every run that has it, by seed."""
    return {seed: values[name] for seed, values in self.runs.items() if name in values}


def paired(one: Finding, other: Finding, name: str) -> np.ndarray:
  """A number of two settings at the seeds that both have it of, [2, seeds].

  The runs of a seed have their initial weights, batches and noise in common.

  Raises:
    KeyError: there is no such seed.
  """
  columns = one.column(name), other.column(name)
  seeds = sorted(set(columns[0]) & set(columns[1]))
  if not seeds:
    raise KeyError(f'{one.name} and {other.name} have no seed in common')
  return np.array([[column[seed] for seed in seeds] for column in columns])


def differ(pairs: np.ndarray) -> bool:
  """Whether seeds can tell two settings apart: a paired t-test of 5 % on what `paired` gives."""
  from scipy import stats  # late: every training imports this module

  return pairs.shape[1] > 1 and bool(stats.ttest_rel(*pairs).pvalue < SIGNIFICANT)


def the(findings: Sequence[Finding], **values) -> Finding:
  """The one finding of a setting.

  Raises:
    KeyError: there is none, or several.
  """
  found = [
    finding
    for finding in findings
    if all(finding.values.get(field) == value for field, value in values.items())
  ]
  if len(found) != 1 or not found[0].runs:
    told = ', '.join(f'{field}={text_of(value)}' for field, value in values.items())
    raise KeyError(f'not one setting of {told}')
  return found[0]


class Experiment(NamedTuple):
  """What a config file's `get_experiment()` returns."""

  question: str
  axes: tuple[Axis, ...]
  published: str  # what others found, with the source
  answer: Callable[[Sequence[Finding]], str]  # in words, from the numbers alone
  name: Callable[[Mapping[str, object]], str] | None = None  # of a setting, from its values
  scatter: bool = False  # the latents of each setting, in two dimensions
  plane: tuple[str, str] | None = None  # two numbers, to be drawn against each other


def of_file(path: str | None) -> Experiment | None:
  """What `get_experiment()` of a config file returns; None where it has no such function.

  Raises:
    InputError: it fails.
  """
  if path is None or not Path(path).is_file():
    return None
  try:
    make = runpy.run_path(str(path)).get('get_experiment')
    return make() if make else None
  except Exception as error:  # whatever the file raises
    raise InputError(f'Config file {path!r} fails: {type(error).__name__}: {error}') from error
