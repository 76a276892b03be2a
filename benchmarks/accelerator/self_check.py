"""Whether an accelerator computes what a CPU computes, before anything is measured on it.

  python -m benchmarks.accelerator.self_check --device gpu --output DIR/self_check.json

On random images, with the model of configs/mnist.py: one step on the device and the same step on a
CPU; steps in one dispatch and one by one; a run with deterministic=True, compiled and computed
twice.
"""

import os
import sys

import numpy as np

from benchmarks import machine, program

TOLERANCE = 1e-3
NUM_STEPS = {'cpu': 2, 'gpu': 32}  # of the chunks that are compared
BATCH_SIZE = {'cpu': 8, 'gpu': 128}


def _program(batch_size: int, device, deterministic: bool = False):
  """The program of configs/mnist.py on random images, on one device."""
  import jax
  from jax.sharding import Mesh

  from benchmarks.package_training import CLASSES
  from configs import mnist
  from cvae_jax.data.datasets import Dataset
  from cvae_jax.training.program import assemble

  config = mnist.get_config()
  config.batch_size, config.deterministic = batch_size, deterministic
  if jax.default_backend() == 'cpu':  # a rehearsal
    config.model.channels, config.model.groups = (4, 8), 2
  rng = np.random.RandomState(0)
  images = rng.randint(0, 256, (64 * batch_size, 28, 28, 1), dtype=np.uint8)
  labels = rng.randint(0, 10, len(images)).astype(np.int32)
  train = Dataset(images, labels, CLASSES)
  held_out = Dataset(images[:batch_size], labels[:batch_size], CLASSES)
  return assemble(config, train, held_out, Mesh(np.array([device]), ('data',)))


def _trained(prog, num_chunks: int, steps_per_chunk: int):
  """State and terms after `num_chunks` chunks, as arrays of the host."""
  import jax

  state = prog.fresh_state()
  bounds = [(row * steps_per_chunk, (row + 1) * steps_per_chunk) for row in range(num_chunks)]
  for chunk in prog.chunks(bounds):
    state, terms = prog.chunk(state, chunk.data, num_steps=steps_per_chunk)
  return jax.device_get((state, {name: values[-1] for name, values in terms.items()}))


def relative_distance(one, other) -> float:
  """‖one − other‖ / ‖other‖ over all arrays of two trees."""
  import jax

  def flat(tree):
    return np.concatenate([np.float64(leaf).ravel() for leaf in jax.tree.leaves(tree)])

  return float(np.linalg.norm(flat(one) - flat(other)) / np.linalg.norm(flat(other)))


def check(device: str) -> dict[str, dict]:
  """Maps checks to `passed` and the numbers behind it."""
  import jax

  batch_size, num_steps = BATCH_SIZE[device], NUM_STEPS[device]
  own, cpu = jax.local_devices()[0], jax.local_devices(backend='cpu')[0]
  if own.platform != device:  # with 'cuda,cpu' JAX takes the CPU without a word
    sys.exit(f'--device {device}: JAX finds no such device, only {own.device_kind}.')

  def step_on(place):
    # After one step the optimizer's state shows the gradient; weights hardly move in the warm-up.
    with jax.default_device(place):
      state, terms = _trained(_program(batch_size, place), 1, 1)
    return state.opt_state, terms['loss']

  results = {}
  for precision in ('highest', 'default'):  # 'default' is TF32 on most GPUs
    with jax.default_matmul_precision(precision):
      (gradient, loss), (same_gradient, same_loss) = step_on(own), step_on(cpu)
    distances = relative_distance(gradient, same_gradient), relative_distance(loss, same_loss)
    results[f'one step, {precision} precision'] = {
      'gradient': distances[0],
      'loss': distances[1],
      'passed': max(distances) <= TOLERANCE if precision == 'highest' else None,
    }
  with jax.default_matmul_precision('highest'):
    prog = _program(batch_size, own)
    pair = [_trained(prog, *shape)[0].variables for shape in ((1, num_steps), (num_steps, 1))]
  distance = relative_distance(*pair)
  results[f'{num_steps} steps in one dispatch, and one by one'] = {
    'weights': distance,
    'passed': distance <= TOLERANCE,
  }
  runs = []
  for _ in range(2):
    jax.clear_caches()
    runs.append(_trained(_program(batch_size, own, deterministic=True), 1, num_steps))
  same = jax.tree.map(np.array_equal, *runs)
  results['deterministic=True twice'] = {'passed': bool(all(jax.tree.leaves(same)))}
  return results


def lines(results: dict[str, dict]) -> list[str]:
  """One line for each check, for people."""
  words = {True: 'passed', False: '**FAILED**', None: 'for information'}
  return [
    f'{name}: {words[result["passed"]]}'
    + ''.join(f', {key} {value:.1e}' for key, value in result.items() if key != 'passed')
    for name, result in results.items()
  ]


def main() -> None:
  """Reads the flags, checks, prints, writes the JSON."""
  flags = program.measuring_parser(__doc__, device='gpu').parse_args()
  machine.require(flags.device)
  os.environ['JAX_PLATFORMS'] = 'cpu' if flags.device == 'cpu' else 'cuda,cpu'
  results = check(flags.device)
  print('\n'.join(lines(results)))
  if flags.output:
    machine.write({'checks': results}, flags.output)


if __name__ == '__main__':
  program.run(main)
