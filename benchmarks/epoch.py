"""The cost of train.py beyond its bare steps: data, logging, validation, checkpoints.

  python -m benchmarks.epoch                             3 epochs on a CPU, about 8 minutes
  python -m benchmarks.epoch --device gpu --num_epochs 50
  python -m benchmarks.epoch --quick                     an eighth of the images

The images are random, in files like MNIST's; --data_dir takes the real ones. The bare steps are the
steps of one epoch alone, timed before and after the command.
"""

import csv
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import alternate, machine, made_images, program, throughput

BATCH_SIZE = 128
NUM_IMAGES, HELD_OUT = 60_000, 5_000  # of MNIST; HELD_OUT of them for validation
LEAST_IMAGES = 2 * BATCH_SIZE
LIMIT = 0.10  # largest acceptable cost, relative to the bare steps


def train(data_dir: Path, held_out: int, num_epochs: int, device: str, workdir: Path) -> dict:
  """Runs the command as a user does.

  Returns:
    command_seconds, and from metrics.csv first_epoch_seconds and epoch_seconds of the others.
  """
  command = [
    sys.executable,
    'train.py',
    '--config=configs/mnist.py',
    f'--config.data.dir={data_dir}',
    f'--config.data.validation_examples={held_out}',
    f'--config.num_epochs={num_epochs}',
    f'--workdir={workdir}',
  ]
  # An empty cache: the command compiles everything, as it does at first on a machine.
  cache = str(workdir.parent / 'cache')
  environment = throughput.environment(device) | {
    'JAX_ENABLE_COMPILATION_CACHE': 'true',
    'JAX_COMPILATION_CACHE_DIR': cache,
    'XDG_CACHE_HOME': cache,
  }
  began = time.perf_counter()
  options = {'cwd': alternate.ROOT, 'env': os.environ | environment}
  with program.process(command, grace_seconds=0, **options) as process:
    if status := process.wait():
      sys.exit(status)  # it has said why
  seconds = time.perf_counter() - began
  with open(workdir / 'metrics.csv', encoding='utf-8') as file:
    rows = [row for row in csv.DictReader(file) if row['validation/negative_elbo']]
  ends = [float(row['seconds']) for row in rows]
  return {
    'command_seconds': seconds,
    'first_epoch_seconds': ends[0],
    'epoch_seconds': list(np.diff(ends)),
  }


def bare(device: str, num_steps: int, rounds: int) -> list[float]:
  """Seconds of `num_steps` steps alone, measured `rounds` times."""
  contender = {
    'package': 'float32',
    'batch_size': BATCH_SIZE,
    'device': device,
    'num_images': num_steps * BATCH_SIZE,
    'threads': machine.num_cores(),
    'environment': throughput.environment(device),
  }
  with alternate.workers({'steps': contender}) as ready:
    if not ready:
      sys.exit('Nothing to measure: the steps cannot run here.')
    worker, _ = ready['steps']
    pilot = worker.compute(1.0)
    of_an_epoch = pilot['seconds'] / pilot['steps'] * num_steps
    done = [worker.compute(of_an_epoch / rounds) for _ in range(rounds)]
  return [one['seconds'] / one['steps'] * num_steps for one in done]


def main() -> None:
  """Reads the flags, measures, prints, writes the JSON; exit status 1 if the cost is too high."""
  parser = program.measuring_parser(__doc__, 'an eighth of the images')
  parser.add_argument(
    '--num_epochs', type=program.at_least(2), default=3, help='the first one compiles; default 3'
  )
  parser.add_argument('--data_dir', type=program.path, help='folder with the IDX files of MNIST')
  parser.add_argument(
    '--num_images',
    type=program.at_least(LEAST_IMAGES),
    help='of the random ones; default as many as MNIST',
  )
  flags = parser.parse_args()
  if flags.data_dir and (flags.quick or flags.num_images):
    parser.error('--quick and --num_images are of random images: leave out --data_dir')
  if flags.data_dir and not flags.data_dir.is_dir():
    parser.error(f'--data_dir {flags.data_dir} is no folder')
  output = flags.output or machine.RESULTS / f'epoch_{flags.device}.json'
  program.check_file(output)
  machine.require(flags.device)
  num_images = flags.num_images or NUM_IMAGES // (8 if flags.quick else 1)
  held_out = num_images * HELD_OUT // NUM_IMAGES
  num_steps = (num_images - held_out) // BATCH_SIZE
  with tempfile.TemporaryDirectory() as folder:
    folder = Path(folder)
    data_dir = flags.data_dir.absolute() if flags.data_dir else folder
    if not flags.data_dir:
      made_images.write(folder, num_images, num_test=max(10, num_images // 12))
    before = bare(flags.device, num_steps, rounds=3)
    whole = train(data_dir, held_out, flags.num_epochs, flags.device, folder / 'run')
    after = bare(flags.device, num_steps, rounds=3)
  steps, epoch = statistics.median(before + after), statistics.median(whole['epoch_seconds'])
  cost = epoch / steps - 1
  results = {
    'machine': machine.describe(flags.device),
    'num_epochs': flags.num_epochs,
    'steps_per_epoch': num_steps,
    'validation_images': held_out,
    'bare_epoch_seconds': {'before': before, 'after': after},
    **whole,
    'cost': cost,
  }
  print(f'\nbare steps of an epoch ({num_steps} of batch {BATCH_SIZE}): {steps:.2f} s')
  print(f'an epoch of train.py: {epoch:.2f} s, {cost:+.1%} over the bare steps')
  print(
    f'the whole command, {flags.num_epochs} epochs: {whole["command_seconds"]:.1f} s; its bare '
    f'steps: {steps * flags.num_epochs:.1f} s'
  )
  machine.write(results, output)
  print(output)
  if cost > LIMIT:
    sys.exit(f'The loop around the steps costs {cost:.1%}, more than {LIMIT:.0%}.')


if __name__ == '__main__':
  program.run(main)
