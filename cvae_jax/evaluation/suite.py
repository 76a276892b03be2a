"""The whole evaluation of a trained model on one split: metrics and figures."""

import functools
import time
from collections.abc import Callable, Collection

import jax
import numpy as np

from cvae_jax.data import batches
from cvae_jax.data.datasets import Dataset, Splits
from cvae_jax.data.readers import DATASETS
from cvae_jax.evaluation import (
  GROUPS,
  bayes,
  classifier,
  conditions,
  fidelity,
  generation,
  intervals,
  report,
  scatter,
)
from cvae_jax.evaluation import latents as latent_statistics
from cvae_jax.evaluation.intervals import Interval, interval
from cvae_jax.evaluation.perceptual import Weights
from cvae_jax.evaluation.report import Evaluation
from cvae_jax.inference import bounds, drawings, inputs
from cvae_jax.inference.model import Model
from cvae_jax.models import likelihoods
from cvae_jax.plots import curves, figures
from cvae_jax.runtime import keys, progress
from cvae_jax.runtime.errors import InputError, did_you_mean
from cvae_jax.tasks.vae import active_units, bits_per_dimension

# On a CPU one sample of one image takes 0.4 ms; MNIST's test split would take five hours.
MAX_IWAE_IMAGES_ON_CPU = 1_000
# Floating-point operations for the densities of one bound under a second stage: some four minutes
# on 2 busy cores, a few on an accelerator. An image has at least one density.
OPERATIONS_ON_CPU, OPERATIONS_ON_ACCELERATOR = 5e13, 5e15
MIN_IMAGES_OF_FLOW = 16
GRID_ROWS, GRID_COLUMNS = 4, 10
INTERPOLATED_PAIRS = 5
MAX_TRAVERSED = 24  # latent dimensions, those with the largest KL
MAX_CLASSES = 20  # in one picture
FEW = 100  # images, below which statistics of the latents carry a warning
PIECE = 1_024  # images


# Flags of evaluate.py, by the group that uses them.
USED_BY = {
  'lpips': ('reconstruction',),
  'projection': ('latent',),
  'iwae_samples': ('iwae',),
  'prior': ('likelihood', 'iwae'),
  'guidance': ('generation', 'conditions', 'pictures'),
  'steps': ('likelihood', 'generation', 'conditions', 'pictures', 'iwae'),
}


def chosen(names: Collection[str] | None, flags: Collection[str] = ()) -> tuple[str, ...]:
  """The groups of these names, in the order of GROUPS; None is all.

  Args:
    names: of groups.
    flags: those of USED_BY that were given.

  Raises:
    InputError: there is no such group, none is named, or a flag is of a group that is left out.
  """
  known = ', '.join(GROUPS)
  for name in names or ():
    if name not in GROUPS:
      raise InputError(f'metrics={name!r} is not one of: {known}.{did_you_mean(name, GROUPS)}')
  if names is not None and not names:
    raise InputError(f'metrics names no group, expected some of: {known}.')
  groups = tuple(group for group in GROUPS if names is None or group in names)
  for flag in flags:
    if not set(USED_BY[flag]) & set(groups):
      users = ' and '.join(USED_BY[flag])
      raise InputError(f'--metrics without {users} does not use --{flag}: leave it out.')
  return groups


def evaluate(
  model: Model,
  data: Splits,
  split: str,
  iwae_samples: int,
  max_examples: int | None = None,
  method: str = 'pca',
  lpips_weights: Weights | None = None,
  asked: tuple[str, ...] = GROUPS,
  prior: str | None = None,
  keep: Callable[[Evaluation], None] = lambda evaluation: None,
) -> Evaluation:
  """Measures a model, group by group; IWAE comes last, since it takes longest.

  Args:
    model: a trained model.
    data: the images of its config.
    split: 'train', 'validation' or 'test'.
    iwae_samples: K.
    max_examples: limits the evaluation to the first images of the split; None takes all.
    method: projection of the latent scatter; see `projection.to_plane`.
    lpips_weights: for LPIPS; None leaves it out.
    asked: the groups to measure, from `chosen`.
    prior: of the bounds; see `LatentPrior.density`.
    keep: called with what is there when a group has been measured, and again with its pictures.
  """
  model.prior.choose(None)  # raises if the fitted one is damaged, before minutes of work
  density = model.prior.density(prior)
  whole = getattr(data, split)
  dataset = whole.take(slice(max_examples))
  # With the key of the training's validation, the numbers on that split equal those of its log.
  key = keys.stream(model.config.seed, 'validation')
  counts = len(dataset.labels), len(whole.labels)
  evaluation = Evaluation(model, split, *counts, iwae_samples, asked, list(asked), density=density)
  given = inputs.conditions_of(model, dataset).values
  terms = bounds.elbo(model.task, model.variables, dataset.images, given, key)
  progress.log(_forecast(evaluation, data, terms, dataset))
  measure = {
    'likelihood': lambda: _add_elbo(evaluation, dataset, key, terms),
    'reconstruction': lambda: fidelity.add_metrics(evaluation, data, dataset, lpips_weights),
    'latent': lambda: _add_latents(evaluation, terms, dataset, method),
    'generation': lambda: generation.add_metrics(evaluation, data, dataset),
    'classifier': lambda: _add_classifier(evaluation, dataset, key),
    'conditions': lambda: conditions.add_metrics(evaluation, data, dataset),
    'pictures': lambda: _add_pictures(evaluation, dataset, terms),
    'iwae': lambda: _add_iwae(evaluation, dataset, key, terms.negative_elbo),
  }
  for group in asked:
    num_known = len(evaluation.metrics)
    measure[group]()
    for name, metrics in evaluation.groups_from(num_known).items():
      progress.log(report.lines(name, metrics))
    evaluation.unfinished.remove(group)
    keep(evaluation)
    if evaluation.undrawn:
      evaluation.draw_all()
      keep(evaluation)
  return evaluation


def _forecast(evaluation: Evaluation, data: Splits, terms: bounds.Terms, dataset: Dataset) -> str:
  """What will be measured, and how long the longest parts take, by the time of decoding a batch."""
  model, asked, num_images = evaluation.model, evaluation.asked, evaluation.num_images
  batch = slice(bounds.BATCH_SIZE)
  times = []
  for _ in range(3):  # the first compiles, what the reconstructions need, too
    began = time.perf_counter()
    model.decode(terms.latents[batch], conditions=inputs.conditions_of(model, dataset, batch))
    times.append(time.perf_counter() - began)
  seconds = min(times) / len(terms.latents[batch])
  work = {}  # what is done: how many images are decoded; a bound encodes as well
  if 'reconstruction' in asked and dataset.class_names:
    judged, learned = fidelity.num_decoded(evaluation, data)
    text = f'reconstruction: {judged:,} unseen images and {learned:,} to train a classifier on'
    work[f'{text}, before its training'] = 2 * (judged + learned)
  if 'generation' in asked and dataset.class_names:
    judged, priors = len(generation.unseen(evaluation, data).labels), generation.priors(model)
    learned = generation.num_to_learn_from(evaluation, data) if model.has_classes else 0
    text = f'generation: {judged:,} samples of each of {len(priors)} priors'
    if learned:
      text += f', and {learned:,} to train a classifier on, before its training'
    work[text] = len(priors) * (judged + learned)
  if 'classifier' in asked and model.has_classes:
    num_bounds = len(model.class_names) * num_images
    work[f'classifier: {num_bounds:,} bounds, of every image in every class'] = 2 * num_bounds
  if 'conditions' in asked and model.conditioning.has_table:
    drawn = min(conditions.MAX_SAMPLES, num_images)
    work[f'conditions: {drawn:,} samples, beside their judges'] = drawn
  iwae = in_iwae(num_images, evaluation.iwae_samples, evaluation.density)
  iwae_text = 'iwae: {1:,} samples of each of {0:,} images'.format(*iwae)
  if 'iwae' in asked and not evaluation.density:
    work[iwae_text] = iwae[0] * iwae[1]
  lines = [f'{num_images:,} images of the {evaluation.split} split: {", ".join(asked)}']
  if evaluation.density:
    count, under = in_elbo(num_images, evaluation.density), f'under {evaluation.density.name}'
    lines += [f'  likelihood: {count:,} images {under}'] * ('likelihood' in asked)
    lines += [f'  {iwae_text} {under}'] * ('iwae' in asked)
  lines += (f'  {text}: about {_duration(passes * seconds)}' for text, passes in work.items())
  return '\n'.join(lines)


def _duration(seconds: float) -> str:
  return f'{seconds:.0f} s' if seconds < 100 else f'{seconds / 60:.0f} min'


def _inputs(model: Model) -> str:
  """What the encoder sees."""
  if DATASETS.trait(model.config.data.name, 'binary', False):
    return 'statically binarized'
  return 'dynamically binarized' if model.config.data.binarize == 'dynamic' else 'not binarized'


def _targets(model: Model) -> str:
  """What the likelihood is of."""
  seen = _inputs(model)
  if model.config.data.binarize == 'dynamic':
    return f'{seen}, one draw'
  if seen != 'not binarized':
    return seen
  if model.config.likelihood == 'bernoulli':
    return 'grey values, so a cross-entropy and no likelihood'
  if likelihoods.is_probability(model.config):
    return 'probabilities of 256 levels'
  low, high = model.task.likelihood.pixel_range
  return f'a density of pixels in [{low:g}, {high:g}], no probability'


def _prior_of_bounds(evaluation: Evaluation) -> str:
  model, density = evaluation.model, evaluation.density
  name = density.name if density else f'its {model.prior.describe("model")}'
  has_conditions = model.reads_conditions or density
  return f'p(z{" | c" if has_conditions else ""}) is {name}'


def _in_bits(model: Model, nats: Interval) -> Interval:
  return Interval(*bits_per_dimension(np.array(nats), model.image_shape))


def _knows_classes(model: Model, dataset: Dataset) -> np.ndarray:
  """Whether each image has all the classes that the model would have to infer, bool [N]."""
  values = inputs.conditions_of(model, dataset).table
  inferred = [column.is_inferred for column in model.task.network.columns]
  return ~np.isnan(values[:, inferred]).any(axis=1) if any(inferred) else np.ones(len(values), bool)


def _evenly(count: int, num_images: int) -> np.ndarray:
  """Numbers of `count` images, evenly spaced, since a dataset may be sorted."""
  return np.arange(count) * num_images // count


def _spaced(count: int, num_images: int) -> str:
  return '' if count == num_images else f' of {num_images:,}, evenly spaced'


def _add_elbo(evaluation: Evaluation, dataset: Dataset, key, own: bounds.Terms) -> None:
  """Adds the ELBO; with a second stage of as many images as `in_elbo` says.

  Args:
    evaluation: where to.
    dataset: its images.
    key: of the bounds.
    own: the bounds with the prior that the model was trained with, of all images.
  """
  model, density = evaluation.model, evaluation.density
  add, _ = evaluation.group('likelihood')
  terms, num_images = own, evaluation.num_images
  count = in_elbo(num_images, density)
  rows = _evenly(count, num_images)
  if density:
    with progress.shown(f'−ELBO of {count:,} images, {density.name}') as advance:
      images, given = dataset.images[rows], inputs.conditions_of(model, dataset, rows).values
      terms = bounds.elbo(model.task, model.variables, images, given, key, density, advance, rows)
  protocol = (
    f'{count:,} images{_spaced(count, num_images)}, {_targets(model)}; one posterior sample, '
    f'β = 1, {_prior_of_bounds(evaluation)}; sum over pixels and latents, mean over images'
  )
  if num_missing := np.sum(~_knows_classes(model, dataset)[rows]):
    protocol += (
      f'; {num_missing:,} images without a class have the bound expected under q(c | x), with its '
      'KL to equally likely classes (Kingma et al. 2014, M2)'
    )
  elbo = interval(terms.negative_elbo)
  add('negative_elbo', elbo, protocol, 'nats')
  add('reconstruction', interval(terms.reconstruction), protocol, 'nats')
  add('kl', interval(terms.kl.sum(axis=1)), protocol, 'nats')
  if num_missing:
    add('class_kl', interval(terms.class_kl), f'KL(q(c | x) ‖ p(c)); {protocol}', 'nats')
  if likelihoods.is_probability(model.config):
    add('bits_per_dim', _in_bits(model, elbo), f'−ELBO; {protocol}', 'bits')
  if 1 < count < num_images:
    estimate = intervals.difference_estimate(own.negative_elbo, terms.negative_elbo, rows)
    add('negative_elbo_of_all', estimate, _of_all(model, num_images, count), 'nats')


def _of_all(model: Model, num_images: int, count: int) -> str:
  """The protocol of a bound of all images, from `count` of them."""
  own = f' with its {model.prior.describe("model")}' if model.prior.flow else ''
  gain = f'less what this bound takes from it on the {count:,} (difference estimator)'
  return f'of all {num_images:,} images: their −ELBO{own}, {gain}'


def _num_densities(density: bounds.Density) -> int:
  """How many latents a bound under a second stage computes the density of."""
  on_cpu = jax.default_backend() == 'cpu'
  available = OPERATIONS_ON_CPU if on_cpu else OPERATIONS_ON_ACCELERATOR
  return max(MIN_IMAGES_OF_FLOW, int(available / density.operations))


def in_elbo(num_images: int, density: bounds.Density | None) -> int:
  """How many of the evaluated images have an ELBO under this prior."""
  return min(num_images, _num_densities(density)) if density else num_images


def in_iwae(num_images: int, num_samples: int, density: bounds.Density | None) -> tuple[int, int]:
  """How many of the evaluated images have an IWAE bound, and of how many samples each.

  Under a second stage there are about as many images as samples.
  """
  if density is None:
    on_cpu = jax.default_backend() == 'cpu'
    return min(num_images, MAX_IWAE_IMAGES_ON_CPU) if on_cpu else num_images, num_samples
  available = _num_densities(density)
  count = min(num_images, max(MIN_IMAGES_OF_FLOW, round(available**0.5)))
  samples = max(1, min(num_samples, available // count))
  return min(num_images, max(count, available // samples)), samples


def _add_iwae(evaluation: Evaluation, dataset: Dataset, key, negative_elbo: np.ndarray) -> None:
  model, (add, miss) = evaluation.model, evaluation.group('likelihood')
  known = np.flatnonzero(_knows_classes(model, dataset))
  all_images, density = len(known), evaluation.density
  if not all_images:
    miss('iwae', reason='it is of known classes, which no image has')
    return
  count, num_samples = in_iwae(all_images, evaluation.iwae_samples, density)
  places = _evenly(count, all_images)
  rows = known[places]
  name = f'−log p(x{" | c" if model.conditional else ""}), IWAE with {num_samples:,} samples'
  with progress.shown(f'{name} of {count:,} images') as advance:
    images, given = dataset.images[rows], inputs.conditions_of(model, dataset, rows).values
    what = model.task, model.variables, images, given, key, num_samples, advance, rows, density
    iwae = bounds.iwae(*what)
  spaced = _spaced(count, all_images)
  if all_images < evaluation.num_images:
    spaced += ', of those whose class is known'
  fewer = f' (of {evaluation.iwae_samples:,})' if num_samples < evaluation.iwae_samples else ''
  protocol = (
    f'K = {num_samples:,}{fewer}, {count:,} images{spaced}, {_targets(model)}; '
    f'{_prior_of_bounds(evaluation)}'
  )
  bound = interval(-iwae)
  add('iwae', bound, protocol, 'nats')
  if likelihoods.is_probability(model.config):
    add('iwae_bits_per_dim', _in_bits(model, bound), protocol, 'bits')
  if 1 < count < all_images:
    estimate = intervals.difference_estimate(negative_elbo[known], -iwae, places)
    add('iwae_of_all', estimate, _of_all(model, all_images, count), 'nats')


def _kl_per_dimension(terms: bounds.Terms) -> tuple[np.ndarray, str, str]:
  """The KL of each dimension, [latent], with a name and a title for it."""
  if terms.kl.shape[1] == terms.mean.shape[1]:
    return terms.kl.mean(axis=0), 'kl_per_dimension', 'KL per dimension'
  # The prior gives no KL per dimension.
  kl = latent_statistics.kl_to_aggregate(terms.mean, terms.logvar)
  title = 'KL per dimension to a Gaussian with the moments of q(z)'
  return kl, 'kl_to_aggregate_per_dimension', title


def _add_latents(
  evaluation: Evaluation, terms: bounds.Terms, dataset: Dataset, method: str
) -> None:
  model, (add, miss) = evaluation.model, evaluation.group('latent')
  count = f'{evaluation.num_images:,} images'
  seen = f'{count}, {_inputs(model)}'
  is_standard = model.prior.is_standard('model')
  kl, kl_name, title = _kl_per_dimension(terms)
  active = active_units(terms.mean)
  mean, covariance = latent_statistics.aggregate(terms.mean, terms.logvar)
  evaluation.arrays |= {kl_name: kl, 'active': active}
  evaluation.arrays |= {'aggregate_mean': mean, 'aggregate_covariance': covariance}
  protocol = f'variance of E[z | x] over images > 0.01; {seen}'
  few = f'{count} are few for statistics of the latents' if evaluation.num_images < FEW else ''
  add('active_units', active.sum(), protocol, f'of {len(kl)}', warning=few)
  rows = slice(latent_statistics.MAX_IMAGES)
  posteriors = terms.mean[rows], terms.logvar[rows], terms.latents[rows]
  information = latent_statistics.mutual_information(*posteriors)
  num_rows = len(posteriors[0])
  cap = f'at most ln {num_rows:,} = {np.log(num_rows):.2f}'
  near = f'near its cap, ln {num_rows:,}: only a lower bound, more images may give more'
  near = few or (near if information > 0.9 * np.log(num_rows) else '')
  add('mutual_information', information, f'I_q(x; z), {cap}; {seen}', 'nats', warning=near)
  if is_standard or not model.reads_conditions:
    protocol = 'KL(q(z) ‖ p(z)) = KL − I_q(x; z), too large where that is near its cap'
    excess = few or (near and 'mutual_information is near its cap: this is only an upper bound')
    marginal_kl = terms.kl[rows].sum(axis=1).mean() - information
    add('marginal_kl', marginal_kl, protocol, 'nats', warning=excess)
  else:
    miss('marginal_kl', reason='the prior is learned, and differs between classes')
  of_prior = ("; the prior's is 0", "; the prior's are 1") if is_standard else ('', '')
  add('aggregate_mean_norm', np.linalg.norm(mean), f'of q(z){of_prior[0]}')
  variances = np.linalg.eigvalsh(covariance)
  protocol = f'eigenvalue of the covariance of q(z){of_prior[1]}'
  add('aggregate_smallest_variance', variances[0], protocol, warning=few)
  add('aggregate_largest_variance', variances[-1], protocol, warning=few)
  draw = evaluation.draw
  draw('latents', lambda: ('Latents', scatter.draw_means(terms.mean, dataset, method)))
  draw(kl_name, lambda: (title, figures.kl_per_dimension(kl, active, title)))
  title_of_posterior = f'Aggregate posterior of {count}'
  draw(
    'aggregate_posterior',
    lambda: (title_of_posterior, figures.aggregate_posterior(terms.latents, kl, is_standard)),
  )


def _add_classifier(evaluation: Evaluation, dataset: Dataset, key) -> None:
  model, (add, miss) = evaluation.model, evaluation.group('as a classifier')
  names = 'accuracy', 'calibration_error'
  if not model.has_classes:
    without = 'no column of the model is a category' if model.conditional else ''
    miss(*names, reason=without or 'the model is unconditional')
    return
  if not model.reads_conditions:
    miss(*names, reason='the first stage is unconditional: its bounds are those of no class')
    return
  has_class = dataset.labels >= 0
  count = f'{evaluation.num_images:,} images'
  if not has_class.all():
    dataset = dataset.take(np.flatnonzero(has_class))
    count = f'{len(dataset.labels):,} of {count}, those with a class'
  if not len(dataset.labels):
    miss(*names, reason=f'no image of the {evaluation.split} split has a class')
    return
  number, own = model.conditioning.class_number, inputs.conditions_of(model, dataset)
  inputs_of_network = model.task.network.columns
  if inputs_of_network and inputs_of_network[number].is_inferred:
    hidden = own.replaced(number, np.nan)
    pieces = [
      model.inferred(dataset.images[rows].astype(np.float32) / 255, hidden[rows]).labels
      for rows in batches.pieces(len(own), PIECE)
    ]
    inferred = classifier.standing(np.concatenate(pieces), dataset.labels)
    protocol = f"q(c | x), the head on the encoder's features, not binarized; {count}"
    warning = inferred.warning if inferred.is_blind else ''
    add('inferred_accuracy', inferred.accuracy, protocol, warning=warning)
  candidates = [own.replaced(number, label).values for label in range(len(model.class_names))]
  with progress.shown('bounds of every class') as advance:
    log_probabilities = bounds.log_probabilities(
      model.task, model.variables, dataset.images, candidates, key, advance
    )
  others = ', other conditions as they are' if len(own.columns) > 1 else ''
  protocol = (
    'p(c | x) by Bayes from the ELBO of every class, one posterior sample, classes equally likely'
    f'{others}; {count}'
  )
  standing = classifier.standing(log_probabilities.argmax(axis=1), dataset.labels)
  warning = standing.warning if standing.is_blind else ''
  add('accuracy', standing.accuracy, protocol, warning=warning)
  bins = bayes.reliability(log_probabilities, dataset.labels)
  error, few = bins.calibration_error, ''
  if len(own) < bayes.STEADY_FROM:
    few = f'{len(own):,} images in {bayes.NUM_BINS} bins: too large by chance'
  add('calibration_error', error, f'{bayes.NUM_BINS} bins; {protocol}', warning=few)
  evaluation.draw('reliability', lambda: ('Calibration', figures.reliability(*bins, error)))


def _add_pictures(evaluation: Evaluation, dataset: Dataset, terms: bounds.Terms) -> None:
  model = evaluation.model
  count = min(GRID_ROWS * GRID_COLUMNS, len(dataset.labels))
  shown = range(min(len(model.class_names), MAX_CLASSES)) if model.has_classes else None
  per_class = GRID_COLUMNS if model.has_classes else 64
  pairs = min(INTERPOLATED_PAIRS, count // 2)

  def first(number):
    return inputs.from_dataset(model, dataset, range(number))

  def add(name, draw):
    def make():
      images, row_names, column_names, title, *_ = draw()
      names = model.class_names
      images = model.shown(images)
      return title, figures.image_grid(images, row_names, column_names, title, class_names=names)

    evaluation.draw(name, make)

  add('reconstructions', lambda: drawings.reconstructions(model, first(count)))
  for prior in generation.priors(model):
    name = 'samples' if prior == model.prior.choose(None) else f'samples_{prior}_prior'
    draw = functools.partial(drawings.samples, model, shown, num_images=per_class, prior=prior)
    add(name, draw)
  if model.has_classes and len(model.class_names) <= MAX_CLASSES:
    add('styles', lambda: drawings.styles(model, 8))
  if pairs:
    add('interpolations', lambda: drawings.interpolate_images(model, first(2 * pairs)))
  largest = np.sort(np.argsort(-_kl_per_dimension(terms)[0])[:MAX_TRAVERSED])
  add('traversals', lambda: drawings.traverse(model, dimensions=largest))

  def training():
    figure = curves.training_curves(model.folder / 'metrics.csv')
    return figure and ('Training', figure)

  evaluation.draw('training_curves', training)
