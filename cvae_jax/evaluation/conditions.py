"""Whether samples have the conditions that they were asked for, column by column."""

import re
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from cvae_jax.config import Column
from cvae_jax.data.datasets import Dataset, Splits
from cvae_jax.data.measures import MEASURES
from cvae_jax.evaluation import GROUPS, classifier, column_judge, generation, intervals
from cvae_jax.evaluation.generation import OF_REAL
from cvae_jax.evaluation.intervals import Interval
from cvae_jax.evaluation.report import Evaluation
from cvae_jax.plots import figures
from cvae_jax.runtime import progress

GROUP = 'conditions'
MAX_SAMPLES = 10_000
LOW = 0.8  # AUROC or R² of a judge, below which what it says carries a warning
METRICS = {  # by kind of column, with their meanings
  'category': {'accuracy': 'fraction that shows the name asked for'},
  'flag': {
    'accuracy': 'fraction that shows yes or no as asked for',
    'auroc': 'how often, of one asked for yes and one for no, the first looks more like yes',
  },
  'number': {
    'r2': 'R² = 1 − Σ(asked − seen)² / Σ(asked − mean asked)²',
    'mean_absolute_error': 'mean of |asked − seen|',
  },
}


class Pairs(NamedTuple):
  """What images were to show of a column, and what is seen in them; neither is NaN.

  Values are numbers of names, flags, or numbers in their unit; what is seen of a flag is its
  log-odds.
  """

  asked: Float[np.ndarray, ' images']  # of real images what they are known to show
  seen: Float[np.ndarray, ' images']
  num_unseen: int = 0  # images that were to show something, but cannot be measured

  @classmethod
  def of(cls, asked: np.ndarray, seen: np.ndarray) -> 'Pairs':
    """Pairs of the images whose two values are known."""
    is_asked, is_seen = ~np.isnan(asked), ~np.isnan(seen)
    both = is_asked & is_seen
    return cls(asked[both], seen[both], int(np.sum(is_asked & ~is_seen)))


class Judgement(NamedTuple):
  """One column of samples as a judge sees it."""

  samples: Pairs
  real: Pairs | None  # what the judge is worth; None where the column is measured
  by: str  # the judge, in words


def add_metrics(evaluation: Evaluation, data: Splits, dataset: Dataset) -> None:
  """Adds how near samples come to the conditions that they were asked for.

  Samples have the conditions of the first images of a dataset, whole rows, and come from the
  default prior. Columns that are measured on images are measured on samples. The class is judged by
  the reference classifier, and all else by a network that is trained on the training images. What
  a judge is worth on the real images of the dataset stands beside what it says.
  """
  model, (_, miss) = evaluation.model, evaluation.group(GROUP)
  if not model.conditioning.has_table:
    if evaluation.asked != GROUPS:
      miss('accuracy', reason='the model has no table of conditions')
    return
  asked = generation.conditions_to_draw(model, dataset.take(slice(MAX_SAMPLES)))
  prior = model.prior.choose(None)
  source = f'{len(asked):,} samples, z ~ {model.prior.describe(prior)}'
  with progress.shown(f'drawing {source}, of the conditions of real images') as advance:
    images = generation.draw(model, asked, prior, 0, advance)
  judgements = _judge(evaluation, data, dataset, asked.table, images)
  for column, judgement in zip(model.columns, judgements, strict=True):
    drawn = f'{source}, decoder means as bytes, of the conditions of real images'
    add_column(evaluation, column, judgement, drawn)


def _judge(
  evaluation: Evaluation,
  data: Splits,
  dataset: Dataset,
  asked: Float[np.ndarray, 'samples columns'],
  images: np.ndarray,
) -> list[Judgement]:
  """Samples with the conditions `asked`, [N, H, W, C], in each column of the model."""
  model = evaluation.model
  columns, class_number = model.columns, model.conditioning.class_number
  others = [
    number
    for number, column in enumerate(columns)
    if number != class_number and not column.measured
  ]
  read = read_of_real = {}
  if others:
    judge = column_judge.reference(model.config.data, data.train, others)
    read, read_of_real = judge.read(images), judge.read(dataset.images)
  judgements = []
  for number, column in enumerate(columns):
    to_show = column.in_units(asked[:, number].astype(np.float64))
    known = dataset.columns[number].in_units(dataset.table.values[:, number].astype(np.float64))
    if column.measured:
      seen, seen_of_real, by = MEASURES[column.name](images), None, 'measured on each'
    elif number == class_number:
      judge = classifier.reference(model.config.data, data.train, data.validation)
      seen, seen_of_real = (judge.predict(each) for each in (images, dataset.images))
      by = f'seen by the reference classifier, {judge.origin}'
    else:
      seen, seen_of_real = read[column.name], read_of_real[column.name]
      by = 'seen by a network that was trained on the training images'
    real = None if seen_of_real is None else Pairs.of(known, seen_of_real)
    judgements.append(Judgement(Pairs.of(to_show, seen), real, by))
  return judgements


def add_column(evaluation: Evaluation, column: Column, judgement: Judgement, drawn: str) -> None:
  """Adds the metrics of samples in one column, and those of real images that tell of the judge.

  Args:
    evaluation: to add to.
    column: of the table.
    judgement: of samples.
    drawn: how the samples were drawn.
  """
  (samples, real, by), (_, miss) = judgement, evaluation.group(GROUP)
  warning, is_blind = ('', False) if real is None else standing(column, real)
  reason = warning if is_blind else ''
  if not reason and not len(samples.asked):
    reason = 'no sample that was to show something can be measured'
  if reason:
    miss(*(f'{column.name}_{metric}' for metric in METRICS[column.kind]), reason=reason)
  else:
    num_asked = len(samples.asked) + samples.num_unseen
    lost = f'{samples.num_unseen:,} of {num_asked:,} samples cannot be measured and are left out'
    warnings = filter(None, (warning, lost if samples.num_unseen else ''))
    _add(evaluation, column, samples, '', f'{by}; {drawn}', '; '.join(warnings))
    if column.kind == 'number':
      _draw(evaluation, column, samples)
  if real is not None and len(real.asked):
    protocol = f'{by}; {len(real.asked):,} real images, to show what the judge is worth'
    _add(evaluation, column, real, OF_REAL, protocol, warning)


def measured(column: Column, pairs: Pairs) -> dict[str, Interval]:
  """The METRICS of a column, of at least one pair."""
  asked, seen = pairs.asked, pairs.seen
  if column.kind == 'category':
    return {'accuracy': intervals.proportion(seen == asked)}
  if column.kind == 'flag':
    is_yes = asked == 1
    accuracy = intervals.proportion((seen > 0) == is_yes)
    return {'accuracy': accuracy, 'auroc': intervals.auroc(seen, is_yes)}
  errors = intervals.interval(np.abs(asked - seen))
  return {'r2': intervals.r_squared(asked, seen), 'mean_absolute_error': errors}


def standing(column: Column, real: Pairs) -> tuple[str, bool]:
  """A warning of a judge, from what it sees in real images, and whether it is blind.

  It is if it is not certainly better than chance, or than always saying the same.
  """
  count = len(real.asked)
  if not count:
    return f'no real image has a known {column.name}, to try a judge on', True
  if column.kind == 'category':
    found = classifier.standing(real.seen.astype(int), real.asked.astype(int))
    return found.warning, found.is_blind
  name, chance = ('auroc', 0.5) if column.kind == 'flag' else ('r2', 0.0)
  mean, low, _ = measured(column, real)[name]
  shown = f'the judge has an {"AUROC" if name == "auroc" else "R²"} of {mean:.2f} on {count:,} '
  if not np.isfinite(mean):
    return f'{count:,} real images have one {column.name}: a judge cannot be tried on them', True
  if not low > chance:
    return f'{shown}real images, not certainly better than chance', True
  return (f'{shown}real images' if mean < LOW else ''), False


def _add(
  evaluation: Evaluation, column: Column, pairs: Pairs, suffix: str, protocol: str, warning: str
) -> None:
  for metric, value in measured(column, pairs).items():
    unit = column.unit if metric == 'mean_absolute_error' else ''
    meaning = METRICS[column.kind][metric]
    undefined = f'all {len(pairs.asked):,} were to show the same'
    name = f'{column.name}_{metric}{suffix}'
    evaluation.add(GROUP, name, value, f'{meaning}; {protocol}', unit, undefined, warning)


def _draw(evaluation: Evaluation, column: Column, samples: Pairs) -> None:
  title = f'{column.name}: asked against measured'
  r_squared = measured(column, samples)['r2'].mean
  evaluation.draw(
    f'asked_{len(evaluation.undrawn) + 1}_{_plain(column.name)}',
    lambda: (
      title,
      figures.asked_against_measured(*samples[:2], column.name, column.unit, r_squared),
    ),
  )


def _plain(name: str) -> str:
  """A name as part of that of a file."""
  return re.sub(r'[^0-9A-Za-z]+', '_', name)[:40]
