"""Several runs of the default model in one program, by each strategy, and in turn.

  python -m benchmarks.sweep                    4 runs, batch 128, about 3 minutes on a CPU
  python -m benchmarks.sweep --device gpu --runs 8
  python -m benchmarks.sweep --quick            batch 16
  python -m benchmarks.sweep --strategy batched    only that and in turn

The strategies take turns within one process, on random images on the device.
"""

import statistics
import time

import numpy as np

from benchmarks import machine, program

ROUNDS = 5
NUM_STEPS = {'cpu': 3, 'gpu': 200}  # of each run in each round


def measure(
  num_runs: int, batch_size: int, num_steps: int, chosen: tuple[str, ...] = ()
) -> dict[str, dict]:
  """Maps strategies to compile_seconds, ms_of_rounds of one step of one run, and their median.

  `chosen` are measured beside the runs in turn; all of `parallel.STRATEGIES`, if not given.
  """
  import jax

  from benchmarks import package_training
  from configs import mnist
  from cvae_jax.training import parallel
  from cvae_jax.training.program import varied

  num_images = batch_size * num_steps
  images = np.random.RandomState(0).randint(0, 256, (num_images, 28, 28, 1), dtype=np.uint8)
  labels = np.arange(num_images, dtype=np.int32) % 10
  first = package_training.build(images, labels, batch_size, 'float32')
  programs = []
  for seed in range(num_runs):
    config = mnist.get_config()
    config.batch_size, config.seed, config.beta = batch_size, seed, 1.0 + seed
    programs.append(varied(first, config))
  pace = min(first.feed.longest, num_steps)
  bounds = [(begin, min(begin + pace, num_steps)) for begin in range(0, num_steps, pace)]
  data = [[piece.data for piece in prog.chunks(bounds)] for prog in programs]

  def seconds(strategy) -> float:
    states = [prog.fresh_state() for prog in programs]
    jax.block_until_ready(states)
    began = time.perf_counter()
    for row, (begin, end) in enumerate(bounds):
      results = strategy(programs, states, [pieces[row] for pieces in data], end - begin)
      states = [state for state, _ in results]
    jax.block_until_ready(states)
    return time.perf_counter() - began

  strategies = {
    name: strategy
    for name, strategy in parallel.STRATEGIES.items()
    if not chosen or name in ('in turn', *chosen)
  }
  rows = {
    name: {'compile_seconds': seconds(strategy), 'ms_of_rounds': []}
    for name, strategy in strategies.items()
  }
  for _ in range(ROUNDS):
    for name, strategy in strategies.items():
      rows[name]['ms_of_rounds'].append(1e3 * seconds(strategy) / (num_steps * num_runs))
  for row in rows.values():
    row['ms_per_step'] = statistics.median(row['ms_of_rounds'])
    # The first call includes the steps.
    row['compile_seconds'] -= row['ms_per_step'] * num_steps * num_runs / 1e3
  return rows


def table(rows: dict[str, dict], num_runs: int, batch_size: int) -> str:
  """The Markdown table of benchmarks/README.md."""
  lines = [
    f'| {num_runs} runs, batch {batch_size} | ms per step of each | compiling, s | in turn is × |',
    '|---|---|---|---|',
  ]
  for name, row in rows.items():
    ratio = rows['in turn']['ms_per_step'] / row['ms_per_step']
    lines.append(
      f'| {name} | {row["ms_per_step"]:.3g} | {row["compile_seconds"]:.1f} | {ratio:.2f} |'
    )
  return '\n'.join(lines)


def main() -> None:
  """Reads the flags, measures, prints, writes the JSON."""
  parser = program.measuring_parser(__doc__, 'batch 16')
  parser.add_argument('--runs', type=program.at_least(1), default=4, help='default 4')
  parser.add_argument(
    '--strategy', choices=('side by side', 'batched'), help='beside the runs in turn; default both'
  )
  flags = parser.parse_args()
  output = flags.output or machine.RESULTS / f'sweep_{flags.device}.json'
  program.check_file(output)
  machine.require(flags.device)
  from cvae_jax.runtime import devices

  devices.keep_freed_memory()
  batch_size = 16 if flags.quick else 128
  chosen = (flags.strategy,) if flags.strategy else ()
  rows = measure(flags.runs, batch_size, NUM_STEPS[flags.device], chosen)
  print(table(rows, flags.runs, batch_size))
  content = {'runs': flags.runs, 'batch_size': batch_size, 'ways': rows}
  machine.write(machine.describe(flags.device) | content, output)


if __name__ == '__main__':
  program.run(main)
