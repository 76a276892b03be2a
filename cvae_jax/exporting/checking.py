"""Inputs to check exported functions with, and how far their results are from JAX's."""

from collections.abc import Callable, Sequence

import jax
import numpy as np

from cvae_jax.exporting.functions import Argument, Function
from cvae_jax.inference.model import Model
from cvae_jax.runtime.errors import InputError

SIZES = (1, 7)  # of batches
TOLERANCE = 1e-4
Arrays = list[np.ndarray]


def cases(model: Model, functions: Sequence[Function]) -> dict[str, list[tuple[Arrays, Arrays]]]:
  """For each function the inputs and JAX's results, in batches of `SIZES`.

  Latents are those of the noise, and images those of the latents: what a sampler would ask for.

  Args:
    model: the model.
    functions: its functions, as the model computes them.
  """
  found: dict[str, list[tuple[Arrays, Arrays]]] = {function.name: [] for function in functions}
  in_order = sorted(functions, key=lambda f: ('prior', 'decoder', 'encoder').index(f.name))
  for size in SIZES:
    random = np.random.RandomState(size)
    known = {'conditions': conditions(model, size)}
    known |= {'noise': random.randn(size, model.config.latent_dim)}
    known |= {'latents': known['noise'], 'uniform': random.random_sample(size)}
    for function in in_order:
      given = [known[each.name].astype(each.dtype) for each in function.inputs]
      results = list(map(np.asarray, jax.jit(function.call)(*given)))
      found[function.name].append((given, results))
      known |= {each.name: array for each, array in zip(function.outputs, results, strict=True)}
  return found


def conditions(model: Model, count: int) -> np.ndarray:
  """Conditions of `count` images, all classes in turn."""
  conditioning = model.conditioning
  if conditioning.class_number is None:
    return conditioning.of(None, {}, count).values if conditioning.columns else np.zeros(count)
  labels = np.arange(count) % len(model.class_names)
  return conditioning.of(labels, None, count).values


def largest_difference(
  function: Function, results: list[tuple[Arrays, Arrays]], run: Callable[[Arrays], Sequence]
) -> float:
  """The largest absolute difference between JAX and `run`, over all outputs and batches.

  Raises:
    InputError: it is more than `TOLERANCE`, or no number.
  """
  largest = 0.0
  for given, expected in results:
    for argument, ours, theirs in zip(function.outputs, expected, run(given), strict=True):
      difference = _difference(argument, ours, np.asarray(theirs))
      if not difference <= TOLERANCE:
        raise InputError(
          f'The exported {function.name} differs from JAX by {difference:.2g} in {argument.name}, '
          f'more than {TOLERANCE:g}: nothing was written. Choose another format.'
        )
      largest = max(largest, difference)
  return largest


def text(num_bytes: int, difference: float) -> str:
  """A file that was checked, in words."""
  sizes = ' and '.join(map(str, SIZES))
  return f'{num_bytes / 1e6:.2f} MB, at most {difference:.1g} from JAX in batches of {sizes}'


def _difference(argument: Argument, ours: np.ndarray, theirs: np.ndarray) -> float:
  if ours.shape != theirs.shape:
    raise InputError(
      f'The exported {argument.name} have shape {theirs.shape}, expected {ours.shape}.'
    )
  return float(np.max(np.abs(ours - theirs), initial=0.0))
