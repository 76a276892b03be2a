"""Missing classes: every way to complete a row of conditions, and how likely each is.

A model of images without a class has q(c | x) beside q(z | x, c), and its bound is a sum over the
classes (M2; Kingma et al. 2014, eq. 7). Here a row is completed in each category that has a
q(c | x); these are independent given x.
"""

import itertools
import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from cvae_jax.models.conditions import Input, Rows

LogProbs = tuple[Float[Array, 'batch _'], ...]  # log q(c | x) of each inferred column


def inferred(columns: tuple[Input, ...]) -> tuple[int, ...]:
  """The numbers of the columns with a q(c | x)."""
  return tuple(number for number, column in enumerate(columns) if column.is_inferred)


def num_completions(columns: tuple[Input, ...]) -> int:
  """K, the number of completions of a row; 1 without inferred columns."""
  return math.prod(columns[number].num_names for number in inferred(columns))


def _combinations(columns: tuple[Input, ...]) -> np.ndarray:
  """Every choice of names of the inferred columns, float32 [K, inferred]."""
  names = (range(columns[number].num_names) for number in inferred(columns))
  return np.array(list(itertools.product(*names)), np.float32)


def completions(columns: tuple[Input, ...], rows: Rows) -> Float[Array, 'k batch columns']:
  """Rows with every choice for their missing classes; known ones stay, in all K."""
  choices = _combinations(columns)
  completed = jnp.broadcast_to(rows, (len(choices), *rows.shape))
  for place, number in enumerate(inferred(columns)):
    values = completed[..., number]
    chosen = jnp.where(jnp.isnan(values), choices[:, place, None], values)
    completed = completed.at[..., number].set(chosen)
  return completed


def weights(columns: tuple[Input, ...], rows: Rows, log_probs: LogProbs) -> Float[Array, 'k batch']:
  """q(c | x) of each completion; 1 for one of those of a row whose classes are known, else 0."""
  choices = _combinations(columns)
  product = jnp.ones((len(choices), len(rows)))
  for place, number in enumerate(inferred(columns)):
    chosen = choices[:, place].astype(int)
    is_it = rows[None, :, number] == chosen[:, None]
    probabilities = jnp.exp(log_probs[place]).T[chosen]
    product *= jnp.where(_is_missing(rows, number), probabilities, is_it)
  return product


def kl(columns: tuple[Input, ...], rows: Rows, log_probs: LogProbs) -> Float[Array, ' batch']:
  """KL(q(c | x) ‖ p(c)) of the missing classes, with all equally likely in p(c), in nats."""
  total = jnp.zeros(len(rows))
  for place, number in enumerate(inferred(columns)):
    log_q = log_probs[place]
    own = jnp.sum(jnp.exp(log_q) * log_q, axis=-1) + math.log(columns[number].num_names)
    total += jnp.where(_is_missing(rows, number), own, 0.0)
  return total


def cross_entropy(columns: tuple[Input, ...], rows: Rows, log_probs: LogProbs) -> Float[Array, '']:
  """−log q(c | x) of the known classes, summed over columns, mean over the rows that have them."""
  total = jnp.zeros(())
  for place, number in enumerate(inferred(columns)):
    is_known = ~_is_missing(rows, number)
    labels = jnp.nan_to_num(rows[:, number]).astype(jnp.int32)
    own = -jnp.take_along_axis(log_probs[place], labels[:, None], axis=-1)[:, 0]
    total += jnp.sum(jnp.where(is_known, own, 0.0)) / jnp.maximum(jnp.sum(is_known), 1)
  return total


def likeliest(columns: tuple[Input, ...], rows: Rows, log_probs: LogProbs) -> Rows:
  """Rows with the likeliest name where a class is missing."""
  rows = jnp.asarray(rows)
  for place, number in enumerate(inferred(columns)):
    best = jnp.argmax(log_probs[place], axis=-1).astype(jnp.float32)
    rows = rows.at[:, number].set(jnp.where(_is_missing(rows, number), best, rows[:, number]))
  return rows


def _is_missing(rows: Rows, number: int) -> Bool[Array, ' batch']:
  return jnp.isnan(rows[:, number])
