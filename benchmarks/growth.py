"""How time and memory grow with the size of a problem; each point is a process of its own.

  python -m benchmarks.growth                    five curves, about 10 minutes on a CPU
  python -m benchmarks.growth --only images      one curve; the others stay in the JSON
  python -m benchmarks.growth --quick            two small points of each curve

`images` writes data sets of random images like MNIST's, of up to 7.8 GB, one after the other, into
the folder for temporary files ($TMPDIR), and trains on them streamed.
"""

import argparse
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import alternate, machine, made_images, program, throughput
from cvae_jax.runtime.errors import InputError

MIN_STEPS, MAX_STEPS, STEP_SECONDS = 5, 100, 3.0  # timed at each point
NUM_EPOCHS, MAX_EPOCH_STEPS = 3, 200  # of the curve of images: epochs begun, steps timed in each
NUM_PIXELS = 28 * 28
HELD_OUT, NUM_TEST = 100, 100  # images, of a data set that is written
IMAGES_OF_A_CLASS = 20  # whose latents a prior is fitted to
# Of `images`: a network that leaves most of a step to the reading of its batch.
DENSE = {'model.name': 'mlp', 'model.norm': 'none', 'model.channels': (64,)}


class Curve(NamedTuple):
  """One size that varies, and what stays the same."""

  title: str
  sizes: tuple[int, ...]
  quick: tuple[int, ...]
  fields: Mapping[str, Any]  # of configs/mnist.py, changed
  columns: tuple[str, ...]  # of `COLUMNS`, measured


class Column(NamedTuple):
  """A measure in the tables."""

  title: str
  factor: float = 1.0  # to its unit there
  grows: bool = True  # whether its exponents are shown


COLUMNS = {
  'parameters': Column('parameters', grows=False),
  'step_seconds': Column('ms per step', 1e3),
  'compile_seconds': Column('compiling, s', grows=False),
  'prior_seconds': Column('fitting a prior, s'),
  'start_seconds': Column('start, s'),
  'epoch_start_seconds': Column('start of an epoch, ms', 1e3),
  'peak_bytes': Column('peak MB', 1e-6),
}
STEPS = ('parameters', 'step_seconds', 'compile_seconds', 'peak_bytes')
CURVES = {
  'image_size': Curve('image size', (28, 64, 128, 256), (8, 16), {'batch_size': 8}, STEPS),
  'latent_dim': Curve('latent size', (16, 64, 256, 1024), (2, 4), {'batch_size': 32}, STEPS),
  'classes': Curve(
    'classes',
    (10, 100, 1_000, 10_000),
    (2, 4),
    {'batch_size': 32},
    (*STEPS[:-1], 'prior_seconds', 'peak_bytes'),
  ),
  'batch_size': Curve(
    'batch',
    (32, 128, 512, 2048, 4096),
    (8, 16),
    {'model.channels': (8, 16)},
    STEPS,
  ),
  'images': Curve(
    'images',
    (10**3, 10**4, 10**5, 10**6, 10**7),
    (300, 600),
    {'data.placement': 'stream', 'data.validation_examples': HELD_OUT, **DENSE},
    ('start_seconds', 'epoch_start_seconds', 'step_seconds', 'peak_bytes'),
  ),
}
QUICK_FIELDS = {'batch_size': 8, 'data.image_size': 8, **DENSE, 'model.channels': (8,)}


def exponents(sizes: Sequence[float], values: Sequence[float]) -> tuple[list[float], float]:
  """The exponents of a curve value ~ size^exponent.

  Args:
    sizes: in rising order, two or more.
    values: above 0.

  Returns:
    That between each two neighbours, and that over the range: the slope of a straight line fitted
    to the logarithms (least squares).
  """
  x, y = np.log(sizes), np.log(values)
  return (np.diff(y) / np.diff(x)).tolist(), float(np.polyfit(x, y, 1)[0])


def measure(curve: str, size: int, quick: bool, folder: str) -> dict[str, float]:
  """Measures one point in this process; see `COLUMNS`.

  Args:
    curve: a name in CURVES.
    size: of what varies.
    quick: with a smaller network.
    folder: with the IDX files, for the curve of images.
  """
  from cvae_jax.runtime import devices

  devices.keep_freed_memory()  # as train.py does
  fields = dict(CURVES[curve].fields) | (QUICK_FIELDS if quick else {})
  if curve == 'images':
    if quick:
      fields |= {'data.image_size': 28}
    found = _streamed(_config(fields | {'data.dir': folder}))
  else:
    classes = size if curve == 'classes' else 10
    name = {'image_size': 'data.image_size', 'classes': 'data.num_classes'}.get(curve, curve)
    found = _steps(_config(fields | {name: size}), classes)
    if curve == 'classes':
      found['prior_seconds'] = _fit_prior(classes)
  return found


def _config(fields: Mapping[str, Any]):
  from configs import mnist

  config = mnist.get_config()
  for name, value in fields.items():
    config.update_from_flattened_dict({name: value})
  return config


def _steps(config, num_classes: int) -> dict[str, float]:
  """Steps on random images, which lie on the device."""
  from benchmarks import package_training
  from cvae_jax import config as config_lib
  from cvae_jax.data.datasets import Dataset
  from cvae_jax.training.program import assemble

  count = 2 * config.batch_size
  rng = np.random.RandomState(0)
  images = rng.randint(0, 256, (count, *config_lib.image_shape(config.data)), dtype=np.uint8)
  labels = rng.randint(0, num_classes, count).astype(np.int32)
  data = Dataset(images, labels, tuple(map(str, range(num_classes))))
  prog = assemble(config, data, data)
  run, steps_per_call = package_training.make_run(prog)
  first, *seconds = _times(lambda: run(1))
  step_seconds = statistics.median(seconds) / steps_per_call
  return {
    'parameters': _num_parameters(prog),
    'step_seconds': step_seconds,
    'compile_seconds': first - step_seconds * steps_per_call,
    'peak_bytes': package_training.peak_bytes(),
  }


def _times(function) -> list[float]:
  """Seconds of a first call, and of MIN_STEPS others or more."""
  times: list[float] = []
  while len(times) <= MIN_STEPS or (sum(times[1:]) < STEP_SECONDS and len(times) <= MAX_STEPS):
    began = time.perf_counter()
    function()
    times.append(time.perf_counter() - began)
  return times


def _streamed(config) -> dict[str, float]:
  """The start of a run on files, the starts of its epochs, and its steps with their reading."""
  import jax

  from benchmarks import package_training
  from cvae_jax.data import datasets
  from cvae_jax.training import feed
  from cvae_jax.training.program import assemble

  stages, began = {}, time.perf_counter()

  def ends(stage):
    stages[stage] = time.perf_counter() - began - sum(stages.values())

  splits = datasets.load(config)
  ends('load_seconds')
  prog = assemble(config, splits.train, splits.validation)
  ends('fingerprint_seconds')
  datasets.class_counts(splits)
  ends('counts_seconds')
  del splits
  state, epoch_starts, steps, pace = prog.fresh_state(), [], [], prog.feed.longest
  for epoch in range(NUM_EPOCHS):
    begin = epoch * prog.steps_per_epoch
    end = begin + prog.steps_per_epoch
    chunks = prog.chunks(feed.bounds(begin, end, prog.steps_per_epoch, 0, pace))
    began = time.perf_counter()
    for chunk in itertools.islice(chunks, MAX_EPOCH_STEPS // min(pace, MAX_EPOCH_STEPS)):
      if chunk.begin == begin:
        epoch_starts.append(time.perf_counter() - began)
        began = time.perf_counter()
      num_steps = chunk.end - chunk.begin
      state, terms = prog.chunk(state, chunk.data, num_steps=num_steps)
      jax.block_until_ready(terms)
      steps.append((time.perf_counter() - began) / num_steps)
      began = time.perf_counter()
    chunks.close()
  return {
    **stages,
    'start_seconds': sum(stages.values()),
    # The first epoch compiles the shuffle, the first step the step.
    'epoch_start_seconds': statistics.median(epoch_starts[1:]),
    'step_seconds': statistics.median(steps[1:]),
    'parameters': _num_parameters(prog),
    'peak_bytes': package_training.peak_bytes(),
  }


def _fit_prior(num_classes: int) -> float:
  """Seconds in which a prior is fitted to latents of 16 dimensions."""
  from cvae_jax.models import fitted_prior

  rng = np.random.RandomState(0)
  labels = rng.permutation(np.repeat(np.arange(num_classes, dtype=np.int32), IMAGES_OF_A_CLASS))
  mean = rng.randn(len(labels), 16).astype(np.float32)
  began = time.perf_counter()
  rows = fitted_prior.rows_to_fit(labels, num_classes, 16)
  fitted_prior.fit(mean[rows], np.zeros_like(mean[rows]), labels[rows], num_classes)
  return time.perf_counter() - began


def _num_parameters(prog) -> int:
  import jax

  return sum(leaf.size for leaf in jax.tree.leaves(prog.fresh_state().variables['params']))


def run_point(curve: str, size: int, quick: bool, device: str) -> dict[str, float]:
  """Measures one point in a process of its own, with the images that it needs."""
  with tempfile.TemporaryDirectory(prefix='growth-') as folder:
    if curve == 'images':
      _check_space(Path(folder), size)
      made_images.write(Path(folder), size, NUM_TEST)
    arguments = json.dumps({'curve': curve, 'size': size, 'quick': quick, 'folder': folder})
    with program.process(
      [sys.executable, '-m', 'benchmarks.growth', '--point', arguments],
      grace_seconds=0,
      cwd=alternate.ROOT,
      env=os.environ | throughput.environment(device),
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    ) as process:
      printed, errors = process.communicate()
  if process.returncode:
    sys.exit(f'{curve} {size}: {" ".join(errors.split())[-300:]}')
  return json.loads(printed.splitlines()[-1])


def _check_space(folder: Path, num_images: int) -> None:
  needed, free = 1.05 * num_images * (NUM_PIXELS + 1), shutil.disk_usage(folder).free
  if needed > free:
    raise InputError(
      f'{folder.parent} has {free / 1e9:.1f} GB left, but {num_images:,} images need '
      f'{needed / 1e9:.1f}. Name another folder with $TMPDIR.'
    )


def _text(value: float) -> str:
  """Three digits, or all before the point."""
  return f'{value:,.0f}' if value >= 100 else f'{value:.3g}'


def table(name: str, rows: Mapping[int, Mapping[str, float]]) -> str:
  """The Markdown table of a curve: every measure with its exponents from row to row."""
  header, *lines = [CURVES[name].title], *([f'{size:,}'] for size in rows), ['over the range']
  for measure_name in CURVES[name].columns:
    title, factor, grows = COLUMNS[measure_name]
    values = [row[measure_name] for row in rows.values()]
    header.append(title)
    cells = [_text(factor * value) for value in values]
    columns = [[*cells, '']]
    if grows:
      header.append('exponent')
      local, whole = exponents(list(rows), values)
      # + 0: without the sign of −0.
      columns.append(['', *(f'{round(value, 2) + 0:.2f}' for value in (*local, whole))])
    for column in columns:
      for line, cell in zip(lines, column, strict=True):
        line.append(cell)
  return '\n'.join(f'| {" | ".join(line)} |' for line in (header, ['---'] * len(header), *lines))


def earlier_results(output: Path) -> dict[str, Any]:
  """The curves of a JSON file, if there is one; raises InputError if it is damaged."""
  if not output.is_file():
    return {}
  try:
    content = json.loads(output.read_bytes())
  except ValueError as error:
    content = error
  if not isinstance(content, dict):
    raise InputError(
      f'{output} holds no curves ({content}): delete it, or name another file with --output.'
    )
  return content


def main() -> None:
  """Reads the flags, measures, prints the tables, writes the JSON after each curve."""
  parser = program.measuring_parser(__doc__, 'two small points of each curve')
  parser.add_argument('--only', choices=CURVES, help='measure this curve alone')
  parser.add_argument('--point', type=json.loads, help=argparse.SUPPRESS)
  flags = parser.parse_args()
  if flags.point:
    print(json.dumps(measure(**flags.point)))
    return
  output = flags.output or machine.RESULTS / f'growth_{flags.device}.json'
  program.check_file(output)
  machine.require(flags.device)
  results = earlier_results(output) if flags.only else {}
  for name in [flags.only] if flags.only else CURVES:
    curve, rows = CURVES[name], {}
    for size in curve.quick if flags.quick else curve.sizes:
      rows[size] = run_point(name, size, flags.quick, flags.device)
      print(f'{curve.title} {size:,}: {rows[size]}', flush=True)
    results[name] = {'machine': machine.describe(flags.device), 'points': rows}
    machine.write(results, output)
    print(f'\n{table(name, rows)}\n', flush=True)
  print(output)


if __name__ == '__main__':
  program.run(main)
