"""Whether samples copy training images: how near each is to the nearest of them.

A classifier that judges samples cannot see copies, which look like real images because they are
some. Real images that the model has not learned from say which distances are usual.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int, Num, UInt8

from cvae_jax.data import batches
from cvae_jax.data.readers.file_rows import FileRows
from cvae_jax.evaluation import intervals
from cvae_jax.evaluation.classifier import Classifier
from cvae_jax.evaluation.report import Evaluation
from cvae_jax.plots import figures
from cvae_jax.runtime import progress

SPACES = ('pixels', 'features')
METRICS = tuple(
  f'{name}_{space}' for space in SPACES for name in ('training_distance', 'near_copies')
)
MAX_COMPARED = 5_000  # samples, and unseen real images
USUAL = 1.0  # percent of unseen real images; a sample as near as these is a near copy
STEADY_FROM = 1_000  # unseen real images, below which that percentile is one of a few images
QUERY_ROWS, OTHER_ROWS = 1_024, 8_192  # compared at once: 32 MiB of distances
COLUMNS = 10  # of the figure
MAX_TURNS = 1_000  # samples, among which one of each class is looked for
HIGHEST = jax.lax.Precision.HIGHEST  # accelerators would multiply float32 at a lower one

Queries, Others = Num[np.ndarray, 'queries ...'], Num[np.ndarray, 'others ...']


class Nearest(NamedTuple):
  """Of each image the nearest training image."""

  distances: Float[np.ndarray, ' images']  # Euclidean
  rows: Int[np.ndarray, ' images']


class Reference(NamedTuple):
  """Training images, and how far real ones are from them that the model has not learned from."""

  images: UInt8[np.ndarray, 'training height width channels'] | FileRows
  features: Float[np.ndarray, 'training features']
  of_features: str  # the judge whose features they are, in words
  warning: str  # where this judge says little
  of_real: Mapping[str, Float[np.ndarray, ' images']]  # distances in each of SPACES

  def nearest(
    self,
    images: UInt8[np.ndarray, 'images height width channels'],
    features: Float[np.ndarray, 'images features'],
    what: str,
  ) -> dict[str, Nearest]:
    """The nearest training images of others, in each of SPACES; `what` these are in words."""
    pairs = {'pixels': (images, self.images), 'features': (features, self.features)}
    found = {}
    with progress.shown(f'the training images nearest to {len(images):,} {what}') as advance:
      for number, (space, (queries, others)) in enumerate(pairs.items()):
        done = number / len(pairs)
        found[space] = nearest(queries, others, lambda x, done=done: advance(done + x / len(pairs)))
    return found


def reference(
  judge: Classifier,
  of_features: str,
  warning: str,
  training: UInt8[np.ndarray, 'training height width channels'] | FileRows,
  images: UInt8[np.ndarray, 'images height width channels'],
  features: Float[np.ndarray, 'images features'],
) -> Reference:
  """Measures the distances of unseen real images.

  Args:
    judge: whose features are compared.
    of_features: the judge in words.
    warning: where it says little.
    training: all images that the model has learned from.
    images: real ones of another split.
    features: of these.
  """
  pieces = []
  with progress.shown(f'features of {len(training):,} training images') as advance:
    for rows in batches.pieces(len(training), OTHER_ROWS):
      pieces.append(judge.judge(training[rows])[0])
      advance(min(rows.stop / len(training), 1.0))
  found = Reference(training, np.concatenate(pieces), of_features, warning, {})
  first = slice(MAX_COMPARED)
  near = found.nearest(images[first], features[first], 'unseen real images')
  return found._replace(of_real={space: each.distances for space, each in near.items()})


def nearest(
  queries: Queries,
  others: Others | FileRows,
  advance: Callable[[float], None] = lambda fraction: None,
) -> Nearest:
  """The nearest of other rows to each of some, by exhaustive search.

  Args:
    queries: [N, ...] bytes, which count as 0 to 1, or floats.
    others: [M, ...] of the same type and shape of rows.
    advance: progress callback; receives the finished fraction.
  """
  least = np.full(len(queries), np.inf, np.float32)
  rows = np.zeros(len(queries), np.int32)
  parts = batches.pieces(len(queries), QUERY_ROWS)
  on_device = {part.start: jax.device_put(queries[part]) for part in parts}
  for piece in batches.pieces(len(others), OTHER_ROWS):
    block = jax.device_put(others[piece])
    found = {start: _nearest_in(part, block) for start, part in on_device.items()}
    for start, (values, places) in jax.device_get(found).items():
      own = slice(start, start + len(values))
      is_nearer = values < least[own]
      least[own] = np.where(is_nearer, values, least[own])
      rows[own] = np.where(is_nearer, piece.start + places, rows[own])
    advance(min(piece.stop / len(others), 1.0))
  # The distances anew, from differences: those of equal rows are 0.
  distances = [
    np.linalg.norm(_flat(queries[part]) - _flat(others[rows[part]]), axis=1) for part in parts
  ]
  return Nearest(np.concatenate([np.zeros(0, np.float32), *distances]), rows)


@jax.jit
def _nearest_in(queries: Array, others: Array) -> tuple[Array, Array]:
  """½‖others‖² − queries · others, the least for each query, and its place."""
  queries, others = _flat(queries), _flat(others)
  products = jnp.matmul(queries, others.T, precision=HIGHEST)
  values = 0.5 * jnp.sum(others**2, axis=1)[None] - products
  places = jnp.argmin(values, axis=1)
  return jnp.take_along_axis(values, places[:, None], axis=1)[:, 0], places.astype(jnp.int32)


def _flat(rows):
  flat = rows.reshape(len(rows), math.prod(rows.shape[1:]))
  return flat.astype(np.float32) / 255 if rows.dtype == np.uint8 else flat


def add_metrics(
  evaluation: Evaluation,
  group: str,
  reference: Reference,
  images: UInt8[np.ndarray, 'images height width channels'],
  features: Float[np.ndarray, 'images features'],
  labels: Int[np.ndarray, ' images'],
  source: str,
  picture: str,
) -> None:
  """Adds METRICS of samples, and a figure of their nearest training images.

  Args:
    evaluation: to add to.
    group: of the metrics.
    reference: from `reference`.
    images: the samples.
    features: of these.
    labels: the classes they were drawn for; -1 is none.
    source: where they are from, in words.
    picture: name of the figure.
  """
  images, features = images[:MAX_COMPARED], features[:MAX_COMPARED]
  if not len(images):
    evaluation.miss(group, *METRICS, reason='there is no unseen real image to compare samples with')
    return
  near = reference.nearest(images, features, 'samples')
  spaces = {
    'pixels': ('in pixels of [0, 1]', ''),
    'features': (reference.of_features, reference.warning),
  }
  for space, (words, warning) in spaces.items():
    distances, usual = near[space].distances, reference.of_real[space]
    limit = np.percentile(usual, USUAL)
    few = f'of {len(usual):,} unseen real images, the nearest {USUAL:g} % are few'
    warnings = filter(None, (warning, few if len(usual) < STEADY_FROM else ''))
    protocol = (
      f'distance to the nearest of {len(reference.images):,} training images, Euclidean, {words}; '
      f'{len(images):,} samples, {source}, as bytes, and {len(usual):,} unseen real images'
    )
    ratio = intervals.ratio_of_medians(distances, usual)
    unit, undefined = '× real', 'half of the unseen real images equal a training image'
    name = f'training_distance_{space}'
    evaluation.add(group, name, ratio, f'ratio of medians; {protocol}', unit, undefined, warning)
    copies = f'samples no further than the nearest {USUAL:g} % of real images; {protocol}'
    value = intervals.proportion(distances <= limit)
    evaluation.add(group, f'near_copies_{space}', value, copies, warning='; '.join(warnings))
  count = min(COLUMNS, len(images))
  # Samples of all classes, and those that are most like a training image.
  similar = np.argsort(near['features'].distances, kind='stable')
  chosen = [in_turns(labels[:MAX_TURNS])[:count], similar[:count]]
  tiles = np.concatenate([_tiles(reference, images, near, rows) for rows in chosen])
  tiles = evaluation.model.shown(tiles)
  beside = [f'nearest in {space}' for space in SPACES]
  names = ['samples', *beside, 'most similar samples', *beside]
  title = f'Samples, {source}, and the training images nearest to each'
  evaluation.draw(picture, lambda: (title, figures.image_grid(tiles, names, title=title)))


def in_turns(labels: Int[np.ndarray, ' images']) -> Int[np.ndarray, ' images']:
  """Rows in an order in which one of each class comes before the second of any."""
  turns = [np.sum(labels[:row] == label) for row, label in enumerate(labels)]
  return np.lexsort((labels, turns))


def _tiles(
  reference: Reference, images: np.ndarray, near: Mapping[str, Nearest], rows: np.ndarray
) -> Float[np.ndarray, '3 columns height width channels']:
  """Samples at `rows`, in [0, 1], and under each the training image nearest in each of SPACES."""
  beside = (reference.images[near[space].rows[rows]] for space in SPACES)
  return np.stack([images[rows], *beside]).astype(np.float32) / 255
