"""The reference classifier: a small convolutional network that judges samples.

Fréchet distance, coverage and diversity are measured in its last features, and it decides whether a
sample shows the requested class. No model is trained with it. What it is worth as a judge is its
`Standing`.
"""

import contextlib
import dataclasses
import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jaxtyping import Float, Int, Num, UInt8

from cvae_jax.data import augmentation, batches, datasets, transforms
from cvae_jax.data.datasets import Dataset
from cvae_jax.data.readers import DATASETS
from cvae_jax.evaluation.intervals import Interval, proportion
from cvae_jax.models import architectures
from cvae_jax.models.classifier import SHIPPED, SHIPPED_SHAPES, Network, perceptual_distance
from cvae_jax.runtime import devices, keys, paths, progress, tensor_files
from cvae_jax.runtime.errors import InputError

RECIPE = 2  # to be increased whenever the same images would give another classifier
# By how much a shipped classifier may be less accurate on a user's images than on its own.
SHIPPED_MARGIN = 0.05
LOW_ACCURACY = 0.8  # below it, what a classifier judges carries a warning
BATCH_SIZE = 128
NUM_EPOCHS = 12
MIN_STEPS = 1_000  # of a small dataset, which is seen more often,
MAX_EPOCHS = 100  # but no oftener than this: 200 images are known by heart long before
LABEL_SMOOTHING = 0.05
PEAK_LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-2
EVALUATION_BATCH = 512

# Augmentation: small shifts and rotations. Datasets with the trait `mirrored` have upright, centred
# images, which are shifted less, mirrored and not rotated.
MAX_SHIFT, MAX_SHIFT_IF_MIRRORED = 1 / 14, 1 / 40  # fraction of the image's side, along each axis
MAX_ROTATION = 8.0  # degrees

Images = Num[np.ndarray, 'images height width channels']  # bytes, or floats in [0, 1]
Labels = Int[np.ndarray, ' images']
Judge = TypeVar('Judge')  # has `variables`
Judgement = tuple[Float[np.ndarray, 'images features'], Float[np.ndarray, 'images classes']]


class Standing(NamedTuple):
  """How well a classifier knows the classes of real images."""

  accuracy: Interval
  most_frequent: float  # accuracy of always naming the most frequent class
  num_images: int

  @property
  def is_blind(self) -> bool:
    """Whether it is not certainly better than always naming the most frequent class."""
    return bool(self.accuracy.low <= self.most_frequent)

  @property
  def warning(self) -> str:
    """A warning for all that it judges; empty if it is accurate."""
    if self.is_blind:
      rival = f'always naming the most frequent class ({self.most_frequent:.1%})'
      return f'the classifier, right on {self}, is not certainly better than {rival}'
    low = self.accuracy.mean < LOW_ACCURACY
    return f'the classifier is right on only {self}' if low else ''

  def __str__(self) -> str:
    return f'{self.accuracy.mean:.1%} of {self.num_images:,} real images'


def standing(predicted: Labels, labels: Labels) -> Standing:
  """The standing of a classifier, from what it names the real images of these labels."""
  most_frequent = np.bincount(labels).max() / len(labels)
  return Standing(proportion(predicted == labels), float(most_frequent), len(labels))


@dataclasses.dataclass(frozen=True)
class Classifier:
  """A trained network, which judges each image independently of the others."""

  variables: dict
  num_classes: int
  origin: str = 'trained on the training images'

  def judge(self, images: Images) -> Judgement:
    """Features, and log-probabilities of the classes, of images of the trained size."""
    judge = functools.partial(_judge, self.num_classes, self.variables)
    return batches.map_rows(judge, EVALUATION_BATCH, images)

  def predict(self, images: Images) -> Labels:
    """The most probable class of each image."""
    return self.judge(images)[1].argmax(axis=-1)

  def distances(self, images: Images, others: Images) -> Float[np.ndarray, ' images']:
    """The perceptual distance of each of `images`, floats in [0, 1], from the one in `others`."""
    distances = functools.partial(_distances, self.variables)
    return batches.map_rows(distances, EVALUATION_BATCH, images, others)

  def accuracy(self, images: Images, labels: Labels) -> float:
    """The fraction of images whose most probable class is their label."""
    return float(np.mean(self.predict(images) == labels))


def train(
  images: UInt8[np.ndarray, 'images height width channels'],
  labels: Labels,
  num_classes: int,
  mirrored: bool,
  num_epochs: int = NUM_EPOCHS,
  advance: Callable[[float], None] = lambda fraction: None,
) -> Classifier:
  """Trains a classifier with label smoothing and augmentation; see `fit`.

  Args:
    images: to train on.
    labels: their classes.
    num_classes: of the dataset, whether or not all occur.
    mirrored: whether to mirror images; see the trait of the dataset.
    num_epochs: passes over the images; up to MAX_EPOCHS to make MIN_STEPS steps.
    advance: progress callback; receives the finished fraction.
  """

  def loss(logits, labels):
    targets = smoothed(labels, num_classes)
    return optax.softmax_cross_entropy(logits, targets).mean()

  changed = functools.partial(augment, mirrored=mirrored)
  labels = labels.astype(np.int32)
  variables = fit(images, labels, num_classes, loss, changed, num_epochs, advance)
  return Classifier(variables, num_classes)


def smoothed(labels: Int[Array, ' batch'], num_classes: int) -> Float[Array, 'batch classes']:
  """One-hot targets with label smoothing."""
  return optax.smooth_labels(jax.nn.one_hot(labels, num_classes), LABEL_SMOOTHING)


def fit(
  images: UInt8[np.ndarray, 'images height width channels'],
  targets: Num[np.ndarray, 'images ...'],
  num_outputs: int,
  loss: Callable[[Array, Array], Array],
  changed: Callable[[Array, Array], Array] = lambda key, image: image,
  num_epochs: int = NUM_EPOCHS,
  advance: Callable[[float], None] = lambda fraction: None,
) -> dict:
  """Trains a network with AdamW and a one-cycle learning rate.

  Args:
    images: to train on.
    targets: what the network is to say of them.
    num_outputs: of the network.
    loss: (outputs, targets) of a batch -> their mean loss.
    changed: (key, image) -> the image augmented, in [0, 1].
    num_epochs: passes over the images; up to MAX_EPOCHS to make MIN_STEPS steps.
    advance: progress callback; receives the finished fraction.

  Returns:
    The variables.
  """
  batch_size = min(BATCH_SIZE, len(images))
  steps_per_epoch = batches.steps_per_epoch(len(images), batch_size)
  num_epochs = max(num_epochs, min(MAX_EPOCHS, -(-MIN_STEPS // steps_per_epoch)))
  network = Network(num_outputs)
  schedule = optax.cosine_onecycle_schedule(num_epochs * steps_per_epoch, PEAK_LEARNING_RATE)
  optimizer = optax.adamw(schedule, weight_decay=WEIGHT_DECAY)

  def step(constants, carry, batch):
    all_images, all_targets, noise_key = constants
    (variables, opt_state), (number, rows) = carry, batch
    augment_key, dropout_key = jax.random.split(jax.random.fold_in(noise_key, number))
    images = transforms.to_unit_interval(all_images[rows])
    images = jax.vmap(changed)(jax.random.split(augment_key, batch_size), images)

    def batch_loss(params):
      options = {'rngs': {'dropout': dropout_key}, 'mutable': ['batch_stats']}
      given = {**variables, 'params': params}
      (_, outputs), updated = network.apply(given, images, train=True, **options)
      return loss(outputs, all_targets[rows]), updated

    gradient, updated = jax.grad(batch_loss, has_aux=True)(variables['params'])
    updates, opt_state = optimizer.update(gradient, opt_state, variables['params'])
    return {'params': optax.apply_updates(variables['params'], updates), **updated}, opt_state

  run = devices.compile_fold(step, architectures.compiler_options('resnet'))
  variables = jax.jit(initializer(num_outputs, images.shape))(keys.stream(0, 'init'))
  order_key = keys.stream(0, 'order')
  carry = dict(variables), optimizer.init(variables['params'])
  constants = *jax.device_put((images, targets)), keys.stream(0, 'noise')
  for epoch in range(num_epochs):
    order = jax.device_get(batches.epoch_order(order_key, epoch, len(images), batch_size))
    numbers = epoch * steps_per_epoch + np.arange(steps_per_epoch, dtype=np.int32)
    carry = jax.block_until_ready(run(constants, carry, (numbers, order)))
    advance((epoch + 1) / num_epochs)
  return carry[0]


def initializer(num_outputs: int, images_shape: tuple[int, ...]) -> Callable[[Array], dict]:
  """(key) -> the initial variables of the network for such images."""
  image = jnp.zeros((1, *images_shape[1:]))
  return lambda key: Network(num_outputs).init(key, image, train=False)


def augment(key: Array, image: Array, mirrored: bool) -> Array:
  """The image shifted and rotated, or shifted and mirrored, a little."""
  uniforms = jax.random.uniform(key, (4,), jnp.float32, -1.0, 1.0)
  sides = np.array(image.shape[:2])
  reach = np.float32((MAX_SHIFT_IF_MIRRORED if mirrored else MAX_SHIFT) * sides)
  angle = 0.0 if mirrored else uniforms[2] * MAX_ROTATION
  image = augmentation.rotate_and_shift(image, angle, uniforms[:2] * reach)
  return jnp.where(uniforms[3] < 0, image[:, ::-1], image) if mirrored else image


def reference(data, training: Dataset, validation: Dataset) -> Classifier:
  """The classifier of a dataset: shipped, from the user's cache, or trained and stored there.

  Files of the same names and shape may hold other images. A shipped classifier is taken where it is
  nearly as accurate on the validation images as on its own, wherever they are from and however few
  of them are used. Those in the cache are kept by the content of their training images. Images
  without a class are left out.

  Args:
    data: `config.data`.
    training: the images for a classifier of their own, if there is none yet.
    validation: images to try the shipped classifier on.
  """
  training, validation = labelled(training), labelled(validation)
  num_classes, shape = len(training.class_names), training.images.shape
  like = jax.eval_shape(initializer(num_classes, shape), jax.random.key(0))
  kept = SHIPPED / f'{data.name}.safetensors'
  # Classifiers of other image sizes may have the same shapes.
  is_usual = shape[1:] == SHIPPED_SHAPES.get(data.name) and data.crop_size == 0
  if is_usual and len(validation.labels) and (known := _shipped(data.name, kept, like, validation)):
    return known
  mirrored = DATASETS.trait(data.name, 'mirrored', False)
  recipe = f'{datasets.fingerprint(training)}-{mirrored}-{RECIPE}'

  def trained(advance):
    images = np.asarray(training.images)  # they may lie in a file
    return train(images, training.labels, num_classes, mirrored, advance=advance)

  restore = functools.partial(Classifier, num_classes=num_classes)
  task = f'training a reference classifier for {data.name}, once'
  return cached(recipe, like, restore, task, trained)


def labelled(dataset: Dataset) -> Dataset:
  """The images whose class is known, with the class alone."""
  if dataset.table is None:
    return dataset
  return dataset.take(np.flatnonzero(dataset.labels >= 0))._replace(table=None)


def cached(
  recipe: str,
  like: Any,
  restore: Callable[[dict], Judge],
  task: str,
  train: Callable[[Callable[[float], None]], Judge],
) -> Judge:
  """A judge from the user's cache, or trained and stored there.

  Args:
    recipe: all that decides what is trained.
    like: the shapes of its variables.
    restore: makes it of its variables.
    task: what training it is, in words.
    train: (progress callback) -> the judge.
  """
  name = hashlib.blake2b(recipe.encode(), digest_size=16).hexdigest()
  kept = paths.cache_folder() / 'classifiers' / f'{name}.safetensors'
  if kept.is_file():
    with contextlib.suppress(InputError):  # damaged: trained again
      return restore(tensor_files.read(kept, like)[0])
  with progress.shown(task) as advance:
    trained = train(advance)
  with contextlib.suppress(OSError):  # cannot be stored: trained again next time
    tensor_files.save(kept, trained.variables)
  return trained


def _shipped(name: str, path: Path, like: dict, validation: Dataset) -> Classifier | None:
  """The shipped classifier of a dataset; None where it does not know the validation images."""
  num_classes = len(validation.class_names)
  try:
    variables, _ = tensor_files.read(path, like)
  except InputError:  # of other numbers of classes
    return None
  _, notes = tensor_files.read_arrays(path)
  known = Classifier(variables, num_classes, f'shipped for {name}')
  found = standing(known.predict(validation.images), validation.labels)
  if found.accuracy.high >= float(notes['accuracy']) - SHIPPED_MARGIN:
    return known
  progress.log(
    f'The shipped classifier of {name} is right on {found}: these have one of their own.'
  )
  return None


@functools.partial(jax.jit, static_argnames='num_classes')
def _judge(num_classes: int, variables, images: Array) -> tuple[Array, Array]:
  features, logits = outputs(num_classes, variables, images)
  return features, jax.nn.log_softmax(logits)


_distances = jax.jit(perceptual_distance)


@functools.partial(jax.jit, static_argnames='num_outputs')
def outputs(num_outputs: int, variables, images: Array) -> tuple[Array, Array]:
  """Features and outputs of a trained network of images, bytes or in [0, 1]."""
  if images.dtype == jnp.uint8:
    images = transforms.to_unit_interval(images)
  return Network(num_outputs).apply(variables, images, train=False)
