"""How near a step comes to what the device can do.

  python -m benchmarks.roofline [--device cpu|gpu] [--quick]

FLOPs and bytes are those that XLA counts in the step as it is compiled for a CPU: what a GPU's
libraries do, it does not count. The ceilings, products of large matrices and a pass over memory,
are measured in the same run, taking turns with the step. Bytes that a cache holds between two
operations are counted too, so that the ceiling is of a device whose caches hold nothing.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks import machine, throughput

MATRIX = {'cpu': 2048, 'gpu': 8192}
VECTOR_BYTES = {'cpu': 1 << 28, 'gpu': 1 << 32}
BATCH_SIZES = (128, 1024)


def _seconds(run: Callable[[], object], at_least: float) -> float:
  """Seconds of one call, of as many as take so long."""
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
  """Batch size -> FLOPs and bytes of a step; to be called where JAX sees a CPU alone."""
  from benchmarks import package_training

  counted = {}
  for batch_size in batch_sizes:
    prog = package_training.build(*_images(), batch_size, precision)
    state, data = prog.fresh_state(), next(prog.chunks([(0, 1)])).data
    cost = (
      prog.compiled_chunk.lower(state, data, prog.settings, num_steps=1).compile().cost_analysis()
    )
    counted[batch_size] = cost['flops'], cost['bytes accessed']
  return counted


def _count_apart(precision: str, batch_sizes: tuple[int, ...]) -> dict[int, tuple[float, float]]:
  """`count` in a process of its own, whose JAX knows no other device than the CPU."""
  platforms = os.environ['JAX_PLATFORMS']
  os.environ['JAX_PLATFORMS'] = 'cpu'
  try:
    with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as pool:
      return pool.submit(count, precision, batch_sizes).result()
  finally:
    os.environ['JAX_PLATFORMS'] = platforms


def measure(device: str, precision: str, batch_sizes: tuple[int, ...], rounds: int) -> dict:
  """Ceilings and steps of one precision."""
  import jax
  import jax.numpy as jnp

  from benchmarks import package_training
  from cvae_jax.runtime import devices

  devices.keep_freed_memory()  # before there is any other thread
  counted = _count_apart(precision, batch_sizes)
  size, length = MATRIX[device], VECTOR_BYTES[device] // 4
  # Random: a GPU multiplies ones with less power, and so with a higher clock.
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
  """Markdown."""
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
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--device', choices=('cpu', 'gpu'), default='cpu')
  parser.add_argument('--quick', action='store_true', help='batch 128 alone, 3 rounds')
  parser.add_argument('--output', type=Path, help='JSON; benchmarks/results/roofline_DEVICE.json')
  flags = parser.parse_args()
  machine.require(flags.device)
  os.environ.update(throughput.environment(flags.device))  # before JAX begins
  batch_sizes, rounds = ((128,), 3) if flags.quick else (BATCH_SIZES, 7)
  precisions = ('float32',) if flags.device == 'cpu' else ('float32', 'bfloat16')
  results = {name: measure(flags.device, name, batch_sizes, rounds) for name in precisions}
  print(table(results))
  output = flags.output or Path(__file__).parent / 'results' / f'roofline_{flags.device}.json'
  output.parent.mkdir(parents=True, exist_ok=True)
  content = {'machine': machine.describe(flags.device), 'precisions': results}
  output.write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')
  print(output)


if __name__ == '__main__':
  main()
