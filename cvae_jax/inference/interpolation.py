"""Interpolations, traversals and grids in latent space, as NumPy arrays to be decoded."""

from collections.abc import Callable

import numpy as np
from scipy import special

from cvae_jax.runtime.errors import InputError, did_you_mean

# The ends of an interpolation count as parallel below this sine of their angle: no great circle
# through them is defined.
MIN_SINE = 1e-4


def linear(first: np.ndarray, second: np.ndarray, num_steps: int) -> np.ndarray:
  """Straight lines.

  Args:
    first: [N, D] their first points.
    second: [N, D] their last points.
    num_steps: points of each line, both ends included; a single one is `first`.

  Returns:
    [N, num_steps, D] float32.
  """
  fractions = np.linspace(0, 1, num_steps)[None, :, None]
  return ((1 - fractions) * first[:, None] + fractions * second[:, None]).astype(np.float32)


def spherical(first: np.ndarray, second: np.ndarray, num_steps: int) -> np.ndarray:
  """Arcs of great circles, whose length stays between that of the ends (White 2016).

  In many dimensions N(0, I) lies in a shell, which a straight line leaves. Parallel or opposite
  ends are joined by a line. Arguments and result are as in `linear`.
  """
  first, second = (np.asarray(x, np.float64) for x in (first, second))
  lengths = np.linalg.norm(first, axis=-1) * np.linalg.norm(second, axis=-1)
  cosine = np.sum(first * second, axis=-1) / np.where(lengths > 0, lengths, 1.0)
  angle = np.arccos(np.clip(cosine, -1, 1))[:, None, None]
  sine = np.where(lengths[:, None, None] > 0, np.sin(angle), 0.0)  # an end at 0: a line
  fractions = np.linspace(0, 1, num_steps)[None, :, None]
  divisor = np.where(sine > MIN_SINE, sine, 1.0)
  arc = (
    np.sin((1 - fractions) * angle) * first[:, None] + np.sin(fractions * angle) * second[:, None]
  ) / divisor
  return np.where(sine > MIN_SINE, arc, linear(first, second, num_steps)).astype(np.float32)


METHODS: dict[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]] = {
  'linear': linear,
  'spherical': spherical,
}


def of_name(name: str) -> Callable[[np.ndarray, np.ndarray, int], np.ndarray]:
  """One of METHODS.

  Raises:
    InputError: there is no such method.
  """
  if name not in METHODS:
    raise InputError(
      f'method={name!r} is not one of: {", ".join(METHODS)}.{did_you_mean(name, METHODS)}'
    )
  return METHODS[name]


def traversals(centre: np.ndarray, values: np.ndarray) -> np.ndarray:
  """Each dimension in turn set to each of its values, the others as in `centre`.

  Args:
    centre: [D].
    values: [V, D] the values of each dimension.

  Returns:
    [D, V, D] float32.
  """
  points = np.tile(np.asarray(centre, np.float32), (len(centre), len(values), 1))
  for dimension in range(len(centre)):
    points[dimension, :, dimension] = values[:, dimension]
  return points


def quantile_grid(
  mean: np.ndarray, std: np.ndarray, dimensions: tuple[int, int], side: int
) -> np.ndarray:
  """A grid over two dimensions at quantiles of a Gaussian (Kingma & Welling 2014, figure 4).

  Args:
    mean: [D] its mean, also the value of the other dimensions.
    std: [D] its standard deviations.
    dimensions: the dimension of the columns, and that of the rows.
    side: points along each, at equally spaced probabilities.

  Returns:
    [side, side, D] float32.
  """
  quantiles = special.ndtri((np.arange(side) + 0.5) / side)
  points = np.tile(np.asarray(mean, np.float32), (side, side, 1))
  across, down = (mean[d] + std[d] * quantiles for d in dimensions)
  points[:, :, dimensions[0]] = across[None, :]
  points[:, :, dimensions[1]] = down[:, None]
  return points
