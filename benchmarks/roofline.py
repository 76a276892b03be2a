"""How close a step comes to the limits of the device (roofline model).

  python -m benchmarks.roofline [--device cpu|gpu] [--quick]

FLOPs and bytes are XLA's counts for the step compiled for a CPU: on a GPU it does not count work of
libraries. The ceilings, products of large matrices and a pass over memory, are measured in the same
run, in turns with the step. Bytes that stay in a cache between two operations count too, so
the ceiling is that of a device without caches.
"""

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from benchmarks import machine, program, throughput

MATRIX = {'cpu': 2048, 'gpu': 8192}
VECTOR_BYTES = {'cpu': 1 << 28, 'gpu': 1 << 32}
BATCH_SIZES = (128, 1024)


def _seconds(run: Callable[[], object], at_least: float) -> float:
  """Mean seconds per call, over calls that take `at_least` seconds together."""
  calls, began = 0, time.perf_counter()
  while (elapsed := time.perf_counter() - began) < at_least:
    run()
    calls += 1
  return elapsed / calls


def _images() -> tuple[np.ndarray, np.ndarray]:
  rng = np.random.RandomState(0)
  images = rng.randint(0, 256, (8192, 28, 28, 1), dtype=np.uint8)
  return images, rng.randint(0, 10, 8192).astype(np.int32)


def count(precision: str, batch_sizes: tuple[int, ...]) -> dict[int, tuple[float, float]]:
  """Maps batch sizes to FLOPs and bytes of a step; call it where JAX sees only a CPU."""
  from benchmarks import package_training

  counted = {}
  for batch_size in batch_sizes:
    prog = package_training.build(*_images(), batch_size, precision)
    state, data = prog.fresh_state(), next(prog.chunks([(0, 1)])).data
    cost = prog.compiled_chunk.lower(state, data, prog.hyper, num_steps=1).compile().cost_analysis()
    counted[batch_size] = cost['flops'], cost['bytes accessed']
  return counted


def _count_apart(precision: str, batch_sizes: tuple[int, ...]) -> dict[int, tuple[float, float]]:
  """`count` in a process of its own, where JAX sees only the CPU."""
  platforms = os.environ['JAX_PLATFORMS']
  os.environ['JAX_PLATFORMS'] = 'cpu'
  try:
    with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as pool:
      return pool.submit(count, precision, batch_sizes).result()
  finally:
    os.environ['JAX_PLATFORMS'] = platforms


def measure(device: str, precision: str, batch_sizes: tuple[int, ...], rounds: int) -> dict:
  """Measures the ceilings and the steps of one precision."""
  import jax
  import jax.numpy as jnp

  from benchmarks import package_training
  from cvae_jax.runtime import devices

  devices.keep_freed_memory()  # before other threads start
  counted = _count_apart(precision, batch_sizes)
  size, length = MATRIX[device], VECTOR_BYTES[device] // 4
  # Random: with ones, a GPU needs less power and clocks higher.
  matrix = jax.random.normal(jax.random.key(0), (size, size), precision)
  vector = jnp.ones(length)
  multiply, add = jax.jit(jnp.matmul), jax.jit(lambda x: x + 1)
  runs = {
    'matrix product': lambda: jax.block_until_ready(multiply(matrix, matrix)),
    'memory': lambda: jax.block_until_ready(add(vector)),
  }
  steps_of_call = {}
  for batch_size in batch_sizes:
    prog = package_training.build(*_images(), batch_size, precision)
    run, steps_of_call[batch_size] = package_training.make_run(prog)
    runs[batch_size] = lambda run=run: run(1)
  for run in runs.values():
    run()
  seconds = {name: [] for name in runs}
  for _ in range(rounds):
    for name, run in runs.items():
      seconds[name].append(_seconds(run, at_least=1.0))
  median = {name: statistics.median(values) for name, values in seconds.items()}
  flops_per_second = 2 * size**3 / median['matrix product']
  bytes_per_second = 2 * vector.nbytes / median['memory']
  results = {'flops_per_second': flops_per_second, 'bytes_per_second': bytes_per_second}
  results['steps'] = {}
  for batch_size, (flops, num_bytes) in counted.items():
    step_seconds = median[batch_size] / steps_of_call[batch_size]
    least = max(flops / flops_per_second, num_bytes / bytes_per_second)
    results['steps'][batch_size] = {
      'flops': flops,
      'bytes': num_bytes,
      'ms': 1e3 * step_seconds,
      'least_ms': 1e3 * least,
      'bound_by': 'memory' if num_bytes / bytes_per_second == least else 'arithmetic',
      'share_of_ceiling': least / step_seconds,
      'share_of_arithmetic': flops / step_seconds / flops_per_second,
    }
  return results


def table(results: dict[str, dict]) -> str:
  """The Markdown table of benchmarks/README.md."""
  lines = [
    '| precision | batch | GFLOP | GB | FLOP/byte | bound by | ceiling, ms | step, ms | share of '
    'the ceiling | share of the matrix product |',
    '|---|---|---|---|---|---|---|---|---|---|',
  ]
  for precision, result in results.items():
    for batch_size, step in result['steps'].items():
      lines.append(
        f'| {precision} | {batch_size} | {step["flops"] / 1e9:.1f} | {step["bytes"] / 1e9:.2f} | '
        f'{step["flops"] / step["bytes"]:.1f} | {step["bound_by"]} | {step["least_ms"]:,.4g} | '
        f'{step["ms"]:,.4g} | {step["share_of_ceiling"]:.0%} | {step["share_of_arithmetic"]:.0%} |'
      )
  for precision, result in results.items():
    lines.append(
      f'\n{precision}: {result["flops_per_second"] / 1e9:,.0f} GFLOP/s in a matrix product, '
      f'{result["bytes_per_second"] / 1e9:,.0f} GB/s read and written.'
    )
  return '\n'.join(lines)


def main() -> None:
  """Reads the flags, measures, prints the table, writes the JSON."""
  flags = program.measuring_parser(__doc__, 'only batch 128, 3 rounds').parse_args()
  output = flags.output or machine.RESULTS / f'roofline_{flags.device}.json'
  program.check_file(output)
  machine.require(flags.device)
  os.environ.update(throughput.environment(flags.device))  # before JAX is imported
  batch_sizes, rounds = ((128,), 3) if flags.quick else (BATCH_SIZES, 7)
  precisions = ('float32',) if flags.device == 'cpu' else ('float32', 'bfloat16')
  results = {name: measure(flags.device, name, batch_sizes, rounds) for name in precisions}
  print(table(results))
  machine.write({'machine': machine.describe(flags.device), 'precisions': results}, output)
  print(output)


if __name__ == '__main__':
  program.run(main)
