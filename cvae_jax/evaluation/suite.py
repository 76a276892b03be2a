"""The whole evaluation of a trained model on one split: metrics and figures."""

from collections.abc import Callable

import jax
import numpy as np

from cvae_jax.data import batches
from cvae_jax.data.datasets import Dataset, Splits
from cvae_jax.data.readers import DATASETS
from cvae_jax.evaluation import bayes, generation, intervals, perceptual, reconstruction, scatter
from cvae_jax.evaluation import latents as latent_statistics
from cvae_jax.evaluation.intervals import Interval, interval, proportion
from cvae_jax.evaluation.perceptual import Weights
from cvae_jax.evaluation.reconstruction import RECONSTRUCTION_METRICS
from cvae_jax.evaluation.report import Evaluation
from cvae_jax.inference import bounds, drawings, inputs
from cvae_jax.inference.model import Model
from cvae_jax.models import likelihoods
from cvae_jax.plots import curves, figures
from cvae_jax.runtime import keys, progress
from cvae_jax.tasks.vae import active_units, bits_per_dimension

# On a CPU one sample of one image takes 0.4 ms; MNIST's test split would take five hours.
MAX_IWAE_IMAGES_ON_CPU = 1_000
GRID_ROWS, GRID_COLUMNS = 4, 10
INTERPOLATED_PAIRS = 5
MAX_TRAVERSED = 24  # latent dimensions, those with the largest KL
MAX_CLASSES = 20  # in one picture
PIECE = 1_024  # images


def evaluate(
  model: Model,
  data: Splits,
  split: str,
  iwae_samples: int,
  max_examples: int | None = None,
  method: str = 'pca',
  lpips_weights: Weights | None = None,
  before_iwae: Callable[[Evaluation], None] = lambda evaluation: None,
) -> Evaluation:
  """Measures everything; IWAE comes last, since it takes longest.

  Args:
    model: a trained model.
    data: the images of its config.
    split: 'train', 'validation' or 'test'.
    iwae_samples: K.
    max_examples: limits the evaluation to the first images of the split; None takes all.
    method: projection of the latent scatter; see `projection.to_plane`.
    lpips_weights: for LPIPS; None leaves it out.
    before_iwae: called with the unfinished evaluation before IWAE begins.
  """
  model.prior.choose(None)  # raises if the fitted one is damaged, before minutes of work
  whole = getattr(data, split)
  dataset = whole._replace(images=whole.images[:max_examples], labels=whole.labels[:max_examples])
  # With the key of the training's validation, the numbers on that split equal those of its log.
  key = keys.stream(model.config.seed, 'validation')
  evaluation = Evaluation(model, split, len(dataset.labels), len(whole.labels), iwae_samples)
  terms = bounds.elbo(model, dataset.images, dataset.labels, key)
  _add_elbo(evaluation, terms)
  _add_reconstruction(evaluation, dataset, lpips_weights)
  kl = _add_latents(evaluation, terms, dataset, method)
  num_samples = min(generation.NUM_SAMPLES, max_examples or generation.NUM_SAMPLES)
  generation.add_metrics(evaluation, data, dataset, num_samples)
  _add_bayes(evaluation, dataset, key)
  _add_pictures(evaluation, dataset, kl)
  evaluation.miss('likelihood', 'iwae', reason='the evaluation was ended before')
  before_iwae(evaluation)
  evaluation.metrics.pop()
  _add_iwae(evaluation, dataset, key, terms.negative_elbo)
  return evaluation


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


def _prior_of_bounds(model: Model) -> str:
  return f'p(z{" | c" if model.conditional else ""}) is its {model.prior.describe("model")}'


def _in_bits(model: Model, nats: Interval) -> Interval:
  return Interval(*bits_per_dimension(np.array(nats), model.image_shape))


def _add_elbo(evaluation: Evaluation, terms: bounds.Terms) -> None:
  model, (add, _) = evaluation.model, evaluation.group('likelihood')
  protocol = (
    f'{evaluation.num_images:,} images, {_targets(model)}; one posterior sample, β = 1, '
    f'{_prior_of_bounds(model)}; sum over pixels and latents, mean over images'
  )
  elbo = interval(terms.negative_elbo)
  add('negative_elbo', elbo, protocol, 'nats')
  add('reconstruction', interval(terms.reconstruction), protocol, 'nats')
  add('kl', interval(terms.kl.sum(axis=1)), protocol, 'nats')
  if likelihoods.is_probability(model.config):
    add('bits_per_dim', _in_bits(model, elbo), f'−ELBO; {protocol}', 'bits')


def _add_iwae(evaluation: Evaluation, dataset: Dataset, key, negative_elbo: np.ndarray) -> None:
  model, (add, _) = evaluation.model, evaluation.group('likelihood')
  all_images, num_samples = evaluation.num_images, evaluation.iwae_samples
  on_cpu = jax.default_backend() == 'cpu'
  count = min(all_images, MAX_IWAE_IMAGES_ON_CPU) if on_cpu else all_images
  # Evenly spaced, since a dataset may be sorted.
  rows = np.arange(count) * all_images // count
  name = f'−log p(x{" | c" if model.conditional else ""}), IWAE with {num_samples:,} samples'
  with progress.shown(f'{name} of {count:,} images') as advance:
    images, labels = dataset.images[rows], dataset.labels[rows]
    iwae = bounds.iwae(model, images, labels, key, num_samples, advance, rows)
  spaced = '' if count == all_images else f' of {all_images:,}, evenly spaced'
  protocol = (
    f'K = {num_samples:,}, {count:,} images{spaced}, {_targets(model)}; {_prior_of_bounds(model)}'
  )
  bound = interval(-iwae)
  add('iwae', bound, protocol, 'nats')
  if likelihoods.is_probability(model.config):
    add('iwae_bits_per_dim', _in_bits(model, bound), protocol, 'bits')
  if 1 < count < all_images:
    estimate = intervals.difference_estimate(negative_elbo, -iwae, rows)
    gain = f'less what IWAE takes from it on the {count:,} (difference estimator)'
    add('iwae_of_all', estimate, f'of all {all_images:,} images: their −ELBO, {gain}', 'nats')


def _add_reconstruction(evaluation: Evaluation, dataset: Dataset, weights: Weights | None) -> None:
  model, (add, miss) = evaluation.model, evaluation.group('reconstruction')
  raw = ', not binarized' if model.config.data.binarize == 'dynamic' else ''
  protocol = (
    f'E[x | z] at the posterior mean of {evaluation.num_images:,} images as they are{raw}; pixels '
    'in [0, 1]; mean over images'
  )
  pieces = []
  for rows in batches.pieces(len(dataset.labels), PIECE):
    images = dataset.images[rows].astype(np.float32) / 255
    reconstructions = model.reconstruct(images, dataset.labels[rows] if model.conditional else None)
    pieces.append(reconstruction.scores(images, reconstructions))
    if weights is not None:
      pieces[-1]['lpips'] = perceptual.lpips(weights, images, reconstructions)
  scores = {name: interval(np.concatenate([piece[name] for piece in pieces])) for name in pieces[0]}
  for name in RECONSTRUCTION_METRICS:
    add(name, scores[name], protocol, RECONSTRUCTION_METRICS.trait(name, 'unit', ''))
  if weights is None:
    how = '--lpips=download fetches them (244 MB), --lpips=DIR names a folder that has them'
    miss('lpips', reason=f'its weights are not here; {how}')
  else:
    size = max(perceptual.MIN_IMAGE_SIZE, min(dataset.images.shape[1:3]))
    add('lpips', scores['lpips'], f'AlexNet, version 0.1, images of {size} pixels; {protocol}')


def _add_latents(
  evaluation: Evaluation, terms: bounds.Terms, dataset: Dataset, method: str
) -> np.ndarray:
  """Returns the KL of each dimension, [latent]."""
  model, (add, miss) = evaluation.model, evaluation.group('latent')
  count = f'{evaluation.num_images:,} images'
  seen = f'{count}, {_inputs(model)}'
  is_standard = model.prior.is_standard('model')
  kl, kl_name, title = terms.kl.mean(axis=0), 'kl_per_dimension', 'KL per dimension'
  if terms.kl.shape[1] != terms.mean.shape[1]:  # the prior gives no KL per dimension
    kl = latent_statistics.kl_to_aggregate(terms.mean, terms.logvar)
    kl_name = 'kl_to_aggregate_per_dimension'
    title += ' to a Gaussian with the moments of q(z)'
  active = active_units(terms.mean)
  mean, covariance = latent_statistics.aggregate(terms.mean, terms.logvar)
  evaluation.arrays |= {kl_name: kl, 'active': active}
  evaluation.arrays |= {'aggregate_mean': mean, 'aggregate_covariance': covariance}
  protocol = f'variance of E[z | x] over images > 0.01; {seen}'
  add('active_units', active.sum(), protocol, f'of {len(kl)}')
  rows = slice(latent_statistics.MAX_IMAGES)
  posteriors = terms.mean[rows], terms.logvar[rows], terms.latents[rows]
  information = latent_statistics.mutual_information(*posteriors)
  num_rows = len(posteriors[0])
  cap = f'at most ln {num_rows:,} = {np.log(num_rows):.2f}'
  add('mutual_information', information, f'I_q(x; z), {cap}; {seen}', 'nats')
  if is_standard or not model.conditional:
    protocol = 'KL(q(z) ‖ p(z)) = KL − I_q(x; z), too large where that is near its cap'
    add('marginal_kl', terms.kl[rows].sum(axis=1).mean() - information, protocol, 'nats')
  else:
    miss('marginal_kl', reason='the prior is learned, and differs between classes')
  of_prior = ("; the prior's is 0", "; the prior's are 1") if is_standard else ('', '')
  add('aggregate_mean_norm', np.linalg.norm(mean), f'of q(z){of_prior[0]}')
  variances = np.linalg.eigvalsh(covariance)
  protocol = f'eigenvalue of the covariance of q(z){of_prior[1]}'
  add('aggregate_smallest_variance', variances[0], protocol)
  add('aggregate_largest_variance', variances[-1], protocol)
  figure = scatter.draw_means(terms.mean, dataset, method)
  evaluation.draw('latents', 'Latents', figure)
  evaluation.draw(kl_name, title, figures.kl_per_dimension(kl, active, title))
  figure = figures.aggregate_posterior(terms.latents, kl, is_standard)
  evaluation.draw('aggregate_posterior', f'Aggregate posterior of {count}', figure)
  return kl


def _add_bayes(evaluation: Evaluation, dataset: Dataset, key) -> None:
  model, (add, miss) = evaluation.model, evaluation.group('as a classifier')
  if not model.conditional:
    miss('accuracy', 'calibration_error', reason='the model is unconditional')
    return
  with progress.shown('bounds of every class') as advance:
    log_probabilities = bounds.class_log_probabilities(model, dataset.images, key, advance)
  protocol = (
    'p(c | x) by Bayes from the ELBO of every class, one posterior sample, classes equally likely; '
    f'{evaluation.num_images:,} images'
  )
  add('accuracy', proportion(log_probabilities.argmax(axis=1) == dataset.labels), protocol)
  bins = bayes.reliability(log_probabilities, dataset.labels)
  add('calibration_error', bins.calibration_error, f'{bayes.NUM_BINS} bins; {protocol}')
  figure = figures.reliability(*bins, bins.calibration_error)
  evaluation.draw('reliability', 'Calibration', figure)


def _add_pictures(evaluation: Evaluation, dataset: Dataset, kl: np.ndarray) -> None:
  model = evaluation.model
  count = min(GRID_ROWS * GRID_COLUMNS, len(dataset.labels))
  first = inputs.from_dataset(model, dataset, range(count))
  shown = range(min(len(model.class_names), MAX_CLASSES)) if model.conditional else None
  drawn = {'reconstructions': drawings.reconstructions(model, first)}
  per_class = GRID_COLUMNS if model.conditional else 64
  for prior in generation.priors(model):
    name = 'samples' if prior == model.prior.choose(None) else f'samples_{prior}_prior'
    drawn[name] = drawings.samples(model, shown, per_class, prior=prior)
  if model.conditional and len(model.class_names) <= MAX_CLASSES:
    drawn['styles'] = drawings.styles(model, 8)
  if pairs := min(INTERPOLATED_PAIRS, count // 2):
    chosen = inputs.from_dataset(model, dataset, range(2 * pairs))
    drawn['interpolations'] = drawings.interpolate_images(model, chosen)
  largest = np.sort(np.argsort(-kl)[:MAX_TRAVERSED])
  drawn['traversals'] = drawings.traverse(model, dimensions=largest)
  for name, (images, row_names, column_names, title, *_) in drawn.items():
    evaluation.draw(name, title, figures.image_grid(images, row_names, column_names, title))
  if figure := curves.training_curves(model.folder / 'metrics.csv'):
    evaluation.draw('training_curves', 'Training', figure)
