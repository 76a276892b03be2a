"""What the whole of train.py costs over its bare steps: data, logging, validation, checkpoints.

  python -m benchmarks.epoch                             3 epochs on a CPU, about 8 minutes
  python -m benchmarks.epoch --device gpu --num_epochs 50
  python -m benchmarks.epoch --quick                     an eighth of the images

The images are random, in files of MNIST's shape; --data_dir takes the real ones. The bare steps are
those of one epoch, without anything around them, timed before and after the command.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import alternate, machine, throughput

BATCH_SIZE = 128
NUM_IMAGES, HELD_OUT = 60_000, 5_000  # MNIST's, and validation's share of them
LIMIT = 0.10


def write_images(folder: Path, num_images: int) -> None:
  """Random images in the four IDX files of MNIST, with as many to test as to validate on."""
  rng = np.random.RandomState(0)
  for part, count in (('train', num_images), ('t10k', max(10, num_images // 12))):
    images = rng.randint(0, 256, (count, 28, 28), dtype=np.uint8)
    header = np.array([0x803, *images.shape], '>i4').tobytes()
    (folder / f'{part}-images-idx3-ubyte').write_bytes(header + images.tobytes())
    labels = np.arange(count, dtype=np.uint8) % 10
    header = np.array([0x801, count], '>i4').tobytes()
    (folder / f'{part}-labels-idx1-ubyte').write_bytes(header + labels.tobytes())


def train(data_dir: Path, held_out: int, num_epochs: int, device: str, workdir: Path) -> dict:
  """The command, as a user calls it.

  Returns:
    command_seconds of the whole, and the seconds of each epoch after the first, as metrics.csv has
    them.
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
  # A cache of its own: the command compiles everything, as the first time on a machine.
  cache = str(workdir.parent / 'cache')
  environment = throughput.environment(device) | {
    'JAX_ENABLE_COMPILATION_CACHE': 'true',
    'JAX_COMPILATION_CACHE_DIR': cache,
    'XDG_CACHE_HOME': cache,
  }
  began = time.perf_counter()
  subprocess.run(command, cwd=alternate.ROOT, env=os.environ | environment, check=True)
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
  """Seconds of so many steps alone, measured in as many pieces."""
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
  """Reads the flags, measures, prints, writes the JSON; exit status 1 if it costs too much."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--device', choices=('cpu', 'gpu'), default='cpu')
  parser.add_argument('--num_epochs', type=int, default=3)
  parser.add_argument('--quick', action='store_true')
  parser.add_argument('--data_dir', type=Path, help='a folder with the IDX files of MNIST')
  parser.add_argument('--output', type=Path, help='JSON; benchmarks/results/epoch_DEVICE.json')
  flags = parser.parse_args()
  machine.require(flags.device)
  if flags.num_epochs < 2:
    parser.error(f'--num_epochs {flags.num_epochs}: the first one compiles, give 2 or more')
  if flags.quick and flags.data_dir:
    parser.error('--quick takes images of its own: leave out --data_dir')
  share = 8 if flags.quick else 1
  num_images, held_out = NUM_IMAGES // share, HELD_OUT // share
  num_steps = (num_images - held_out) // BATCH_SIZE
  with tempfile.TemporaryDirectory() as folder:
    folder = Path(folder)
    data_dir = flags.data_dir.absolute() if flags.data_dir else folder
    if not flags.data_dir:
      write_images(folder, num_images)
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
    f'the whole command, {flags.num_epochs} epochs: {whole["command_seconds"]:.1f} s, its steps '
    f'alone {steps * flags.num_epochs:.1f} s'
  )
  default = Path(__file__).parent / 'results' / f'epoch_{flags.device}.json'
  output = flags.output or default
  output.parent.mkdir(parents=True, exist_ok=True)
  output.write_text(json.dumps(results, indent=2) + '\n', encoding='utf-8')
  print(output)
  if cost > LIMIT:
    sys.exit(f'The loop around the steps costs {cost:.1%}, more than {LIMIT:.0%}.')


if __name__ == '__main__':
  main()
