"""Trains the default model with this package: the steps, without the loop around them."""

from collections.abc import Callable

import jax
import numpy as np

from benchmarks import machine
from configs import mnist
from cvae_jax.data.datasets import Dataset
from cvae_jax.training import program
from cvae_jax.training.program import Program

CLASSES = tuple('0123456789')


def build(images: np.ndarray, labels: np.ndarray, batch_size: int, precision: str) -> Program:
  """The program of configs/mnist.py on uint8 images [N, 28, 28, 1] and labels [N]."""
  config = mnist.get_config()
  config.batch_size, config.precision = batch_size, precision
  held_out = Dataset(images[:batch_size], labels[:batch_size], CLASSES)
  return program.assemble(config, Dataset(images, labels, CLASSES), held_out)


def make_run(prog: Program) -> tuple[Callable[[int], float], int]:
  """Returns run(num_chunks), which trains and returns the last loss, and the steps per chunk."""
  num_steps = min(prog.feed.longest, prog.steps_per_epoch)
  state = prog.fresh_state()
  # The same rows in each chunk: drawing the order of an epoch belongs to the loop.
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


def peak_bytes() -> int:
  """The largest memory of the device so far; on a CPU of the whole process."""
  device = jax.local_devices()[0]
  if device.platform == 'cpu':
    return machine.peak_of_process()
  return device.memory_stats()['peak_bytes_in_use']
