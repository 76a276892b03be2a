"""All that is measured of a trained model on one split, and the figures that go with it."""

from collections.abc import Callable

import jax
import numpy as np

from cvae_jax.data import batches
from cvae_jax.data.datasets import Dataset, Splits
from cvae_jax.evaluation import bayes, generation, intervals, perceptual, reconstruction
from cvae_jax.evaluation import latents as latent_statistics
from cvae_jax.evaluation.intervals import Interval, interval, proportion
from cvae_jax.evaluation.record import Evaluation
from cvae_jax.inference import bounds, drawings
from cvae_jax.inference.model import Model
from cvae_jax.models import likelihoods
from cvae_jax.plots import curves, figures, projection
from cvae_jax.runtime import keys, progress
from cvae_jax.tasks.bounds import bits_per_dimension
from cvae_jax.tasks.vae import active_units

# On a CPU a sample of one image costs 0.4 ms, and so all of MNIST's test set five hours.
MAX_IWAE_IMAGES_ON_CPU = 1_000
GRID_ROWS, GRID_COLUMNS = 4, 10
INTERPOLATED_PAIRS = 5
MAX_TRAVERSED = 24  # dimensions, those of the largest KL
MAX_CLASSES = 20  # in one picture
PIECE = 1_024  # images
SCATTERED = 10_000


def evaluate(
  model: Model,
  data: Splits,
  split: str,
  iwae_samples: int,
  max_examples: int | None = None,
  method: str = 'pca',
  lpips_weights: perceptual.Weights | None = None,
  before_iwae: Callable[[Evaluation], None] = lambda evaluation: None,
) -> Evaluation:
  """Measures everything, IWAE last, since it takes longest.

  Args:
    model: a trained model.
    data: the images of its config.
    split: 'train', 'validation' or 'test'.
    iwae_samples: K.
    max_examples: only so many of the split's first images; None takes all.
    method: of the latent scatter, see `projection`.
    lpips_weights: those of LPIPS; None where there are none.
    before_iwae: hears of what there is before the last part begins.
  """
  model.priors.choose(None)  # before minutes of work: it raises where the fitted one is damaged
  whole = getattr(data, split)
  part = whole._replace(images=whole.images[:max_examples], labels=whole.labels[:max_examples])
  # The validation's stream: on that split, the numbers are those of the training's log.
  key = keys.stream(model.config.seed, 'validation')
  evaluation = Evaluation(model, split, len(part.labels), len(whole.labels), iwae_samples)
  terms = bounds.elbo(model, part.images, part.labels, key)
  _add_elbo(evaluation, terms)
  _add_reconstruction(evaluation, part, lpips_weights)
  kl = _add_latents(evaluation, terms, part, method)
  num_samples = min(generation.NUM_SAMPLES, max_examples or generation.NUM_SAMPLES)
  generation.add(evaluation, data, part, num_samples)
  _add_bayes(evaluation, part, key)
  _add_pictures(evaluation, part, kl)
  evaluation.miss('likelihood', 'iwae', 'the evaluation was ended before')
  before_iwae(evaluation)
  evaluation.metrics.pop()
  _add_iwae(evaluation, part, iwae_samples, key, terms.negative_elbo)
  return evaluation


def _seen_images(model: Model) -> str:
  """What the encoder sees."""
  if model.config.data.name == 'binarized_mnist':
    return 'statically binarized'
  return 'dynamically binarized' if model.config.data.binarize == 'dynamic' else 'not binarized'


def _shown_images(model: Model) -> str:
  """How the pixels came about that a likelihood is of."""
  if model.config.data.binarize == 'dynamic':
    return f'{_seen_images(model)}, one draw'
  if model.config.data.name == 'binarized_mnist':
    return _seen_images(model)
  if model.config.likelihood == 'bernoulli':
    return 'grey values, so a cross-entropy and no likelihood'
  if likelihoods.is_probability(model.config):
    return 'probabilities of 256 levels'
  low, high = model.task.likelihood.pixel_range
  return f'a density of pixels in [{low:g}, {high:g}], no probability'


def _bounded_with(model: Model) -> str:
  """The prior that is part of a bound, whatever samples come from."""
  return f'p(z{" | c" if model.conditional else ""}) is its {model.priors.describe("model")}'


def _per_dimension(model: Model, values: Interval) -> Interval:
  return Interval(*(bits_per_dimension(value, model.image_shape) for value in values))


def _add_elbo(evaluation: Evaluation, terms: bounds.Terms) -> None:
  model, group = evaluation.model, 'likelihood'
  protocol = (
    f'{evaluation.num_images:,} images, {_shown_images(model)}; one posterior sample, β = 1, '
    f'{_bounded_with(model)}; sum over pixels and latents, mean over images'
  )
  elbo = interval(terms.negative_elbo)
  evaluation.add(group, 'negative_elbo', elbo, 'nats', protocol)
  evaluation.add(group, 'reconstruction', interval(terms.reconstruction), 'nats', protocol)
  evaluation.add(group, 'kl', interval(terms.kl.sum(axis=1)), 'nats', protocol)
  if likelihoods.is_probability(model.config):
    evaluation.add(group, 'bits_per_dim', _per_dimension(model, elbo), 'bits', f'−ELBO; {protocol}')


def _add_iwae(
  evaluation: Evaluation, part: Dataset, num_samples: int, key, negative_elbo: np.ndarray
) -> None:
  model, group = evaluation.model, 'likelihood'
  count = len(part.labels)
  if jax.default_backend() == 'cpu':
    count = min(count, MAX_IWAE_IMAGES_ON_CPU)
  # Evenly spaced: not every set comes shuffled.
  rows = np.arange(count) * evaluation.num_images // count
  name = f'−log p(x{" | c" if model.conditional else ""}), IWAE with {num_samples:,} samples'
  with progress.shown(f'{name} of {count:,} images') as advance:
    iwae = bounds.iwae(model, part.images[rows], part.labels[rows], key, num_samples, advance, rows)
  spaced = '' if count == evaluation.num_images else f' of {evaluation.num_images:,}, evenly spaced'
  protocol = (
    f'K = {num_samples:,}, {count:,} images{spaced}, {_shown_images(model)}; {_bounded_with(model)}'
  )
  value = interval(-iwae)
  evaluation.add(group, 'iwae', value, 'nats', protocol)
  if likelihoods.is_probability(model.config):
    evaluation.add(group, 'iwae_bits_per_dim', _per_dimension(model, value), 'bits', protocol)
  if 1 < count < evaluation.num_images:
    evaluation.add(
      group,
      'iwae_of_all',
      intervals.difference_estimate(negative_elbo, -iwae, rows),
      'nats',
      f'of all {evaluation.num_images:,} images: their −ELBO, less what IWAE takes from it on the '
      f'{count:,} (difference estimator)',
    )


def _add_reconstruction(
  evaluation: Evaluation, part: Dataset, weights: perceptual.Weights | None
) -> None:
  model, group = evaluation.model, 'reconstruction'
  protocol = (
    f'E[x | z] at the posterior mean of {evaluation.num_images:,} images as they are'
    f'{", not binarized" if model.config.data.binarize == "dynamic" else ""}; pixels in [0, 1]; '
    'mean over images'
  )
  pieces = []
  for rows in batches.pieces(len(part.labels), PIECE):
    images = part.images[rows].astype(np.float32) / 255
    labels = part.labels[rows] if model.conditional else None
    reconstructions = model.reconstruct(images, labels)
    pieces.append(reconstruction.scores(images, reconstructions))
    if weights is not None:
      pieces[-1]['lpips'] = perceptual.lpips(weights, images, reconstructions)
  scores = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
  for name, unit in (('mse', 'per pixel'), ('psnr', 'dB'), ('ssim', '')):
    evaluation.add(group, name, interval(scores[name]), unit, protocol)
  if weights is None:
    evaluation.miss(
      group, 'lpips', 'its weights are not here; --lpips=download fetches them (244 MB), '
      '--lpips=DIR names a folder that has them'
    )  # fmt: skip
  else:
    size = max(perceptual.MIN_IMAGE_SIZE, min(part.images.shape[1:3]))
    network = f'AlexNet, version 0.1, images of {size} pixels; '
    evaluation.add(group, 'lpips', interval(scores['lpips']), '', network + protocol)


def _add_latents(
  evaluation: Evaluation, terms: bounds.Terms, part: Dataset, method: str
) -> np.ndarray:
  """Returns the KL of each dimension, [latent]; see the figure for to what."""
  group, count = 'latent', evaluation.num_images
  seen = f'{count:,} images, {_seen_images(evaluation.model)}'
  standard = evaluation.model.priors.is_standard('model')
  joint = terms.kl.shape[1] != terms.mean.shape[1]  # a prior that gives no KL per dimension
  if joint:
    kl = latent_statistics.kl_to_aggregate(terms.mean, terms.logvar)
  else:
    kl = terms.kl.mean(axis=0)
  active = active_units(terms.mean)
  moments = latent_statistics.aggregate(terms.mean, terms.logvar)
  kl_name = f'kl{"_to_aggregate" if joint else ""}_per_dimension'
  evaluation.arrays |= {
    kl_name: kl,
    'active': active,
    'aggregate_mean': moments.mean,
    'aggregate_covariance': moments.covariance,
  }
  evaluation.add(
    group,
    'active_units',
    active.sum(),
    f'of {len(kl)}',
    f'variance of E[z | x] over images > 0.01; {seen}',
  )
  rows = slice(latent_statistics.MAX_IMAGES)
  num_rows = len(terms.mean[rows])
  information = latent_statistics.mutual_information(
    terms.mean[rows], terms.logvar[rows], terms.latents[rows]
  )
  cap = f'at most ln {num_rows:,} = {np.log(num_rows):.2f}'
  protocol = f'I_q(x; z), {cap}; {seen}'
  evaluation.add(group, 'mutual_information', information, 'nats', protocol)
  if standard or not evaluation.model.conditional:
    evaluation.add(
      group,
      'marginal_kl',
      terms.kl[rows].sum(axis=1).mean() - information,
      'nats',
      'KL(q(z) ‖ p(z)) = KL − I_q(x; z), too large where that is near its cap',
    )
  else:
    evaluation.miss(group, 'marginal_kl', 'the prior is learned, and differs between classes')
  of_prior = "; the prior's is 0" if standard else ''
  evaluation.add(
    group, 'aggregate_mean_norm', np.linalg.norm(moments.mean), '', f'of q(z){of_prior}'
  )
  variances = np.linalg.eigvalsh(moments.covariance)
  of_prior = "; the prior's are 1" if standard else ''
  for name, value in (('smallest', variances[0]), ('largest', variances[-1])):
    evaluation.add(
      group,
      f'aggregate_{name}_variance',
      value,
      '',
      f'eigenvalue of the covariance of q(z){of_prior}',
    )
  names = part.class_names
  plane, axes = projection.to_plane(terms.mean[:SCATTERED], method)
  evaluation.draw(
    'latents',
    'Latents',
    figures.latent_scatter(plane, part.labels[:SCATTERED] if names else None, names, axes),
  )
  title = 'KL per dimension' + (' to a Gaussian with the moments of q(z)' if joint else '')
  evaluation.draw(kl_name, title, figures.kl_per_dimension(kl, active, title))
  evaluation.draw(
    'aggregate_posterior',
    f'Aggregate posterior of {count:,} images',
    figures.aggregate_posterior(terms.latents, kl, standard),
  )
  return kl


def _add_bayes(evaluation: Evaluation, part: Dataset, key) -> None:
  model, group = evaluation.model, 'as a classifier'
  if not model.conditional:
    for name in ('accuracy', 'calibration_error'):
      evaluation.miss(group, name, 'the model is unconditional')
    return
  with progress.shown('bounds of every class') as advance:
    log_probabilities = bounds.class_log_probabilities(model, part.images, key, advance)
  protocol = (
    f'p(c | x) by Bayes from the ELBO of every class, one posterior sample, classes equally '
    f'likely; {evaluation.num_images:,} images'
  )
  correct = log_probabilities.argmax(axis=1) == part.labels
  evaluation.add(group, 'accuracy', proportion(correct), '', protocol)
  bins = bayes.reliability(log_probabilities, part.labels)
  evaluation.add(
    group, 'calibration_error', bins.calibration_error, '', f'{bayes.NUM_BINS} bins; {protocol}'
  )
  evaluation.draw(
    'reliability',
    'Calibration',
    figures.reliability(*bins, bins.calibration_error),
  )


def _add_pictures(evaluation: Evaluation, part: Dataset, kl: np.ndarray) -> None:
  model = evaluation.model
  count = min(GRID_ROWS * GRID_COLUMNS, len(part.labels))
  inputs = drawings.of_set(model, part, range(count))
  shown = range(min(len(model.class_names), MAX_CLASSES)) if model.conditional else None
  drawn = {'reconstructions': drawings.reconstruct(model, inputs)}
  per_class = GRID_COLUMNS if model.conditional else 64
  for prior in generation.judged(model):
    name = 'samples' if prior == model.priors.choose(None) else f'samples_{prior}_prior'
    drawn[name] = drawings.prior(model, shown, per_class, 1.0, 0, draw=False, source=prior)
  if model.conditional and len(model.class_names) <= MAX_CLASSES:
    source = model.priors.describe()
    drawn['styles'] = drawings.style(model, model.draw_styles(8), drawn_from=source)
  pairs = min(INTERPOLATED_PAIRS, count // 2)
  if pairs:
    chosen = drawings.of_set(model, part, range(2 * pairs))
    drawn['interpolations'] = drawings.interpolate_images(model, chosen, 'linear')
  largest = np.sort(np.argsort(-kl)[:MAX_TRAVERSED])
  drawn['traversals'] = drawings.traverse(model, None, 0 if model.conditional else None, largest)
  for name, drawing in drawn.items():
    figure = figures.image_grid(
      drawing.images, drawing.row_names, drawing.column_names, drawing.title
    )
    evaluation.draw(name, drawing.title, figure)
  log = model.folder / 'metrics.csv'
  if log.is_file() and (figure := curves.training_curves(log)):
    evaluation.draw('training_curves', 'Training', figure)
