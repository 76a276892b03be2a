"""Training the default model with this package, without the loop around the steps."""

from collections.abc import Callable

import jax
import numpy as np

from configs import mnist
from cvae_jax.data.datasets import Dataset
from cvae_jax.training import program
from cvae_jax.training.program import Program

CLASSES = tuple('0123456789')


def build(images: np.ndarray, labels: np.ndarray, batch_size: int, precision: str) -> Program:
  """configs/mnist.py on images at hand, uint8 [N, 28, 28, 1] and labels [N]."""
  config = mnist.get_config()
  config.batch_size, config.precision = batch_size, precision
  held_out = Dataset(images[:batch_size], labels[:batch_size], CLASSES)
  return program.assemble(config, Dataset(images, labels, CLASSES), held_out)


def make_run(prog: Program) -> tuple[Callable[[int], float], int]:
  """A function that takes so many chunks and returns the last loss, and the steps of a chunk."""
  num_steps = min(prog.feed.longest, prog.steps_per_epoch)
  state = prog.initial_state()
  # The same rows in each chunk: an epoch's order takes a millisecond, and the loop has it too.
  chunk = next(prog.chunks([(0, num_steps)]))

  def run(num_chunks: int) -> float:
    nonlocal state
    before = None
    for _ in range(num_chunks):
      state, terms = prog.chunk(state, chunk.data, num_steps=num_steps)
      jax.block_until_ready(before)  # as the loop does
      before = terms
    return float(jax.block_until_ready(terms)['loss'][-1])

  return run, num_steps
