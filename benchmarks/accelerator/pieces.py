"""What is measured on an accelerator, in order of value, with rough costs in seconds."""

import csv
import importlib
import itertools
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from benchmarks import alternate, throughput
from benchmarks.accelerator.plan import Piece
from cvae_jax import tasks

# The trainings whose results are missed most; every other config follows.
FIRST_CONFIGS = (
  'mnist',
  'fashion_mnist',
  'mnist_large',
  'cifar10',
  'baseline_fashion_mnist',
  'baseline_cifar10',
  'baseline_celeba',
)
EPOCHS = {'mnist_large': 200}  # where there are to be more than the config has
TRAINING_SECONDS = 120.0
# What max_train_seconds does not count: reading the data and starting, the last checkpoint.
SECONDS_AROUND_TRAINING = 25.0
# Contenders start one after the other: each imports and compiles before it is measured.
MODE_SECONDS = {'eager': 80.0, 'graphs': 240.0, 'compiled': 130.0}
# Rough costs of a sweep: of all, and of each run.
STRATEGY_SECONDS = {'batched': (50.0, 3.0), 'side by side': (50.0, 8.0)}


class Sizes(NamedTuple):
  """How much is measured: on an accelerator, or in a rehearsal on a CPU."""

  title: str  # of the report
  device: str
  batch_sizes: tuple[int, ...]
  compared: tuple[tuple[str, str], ...]  # precision and mode of PyTorch
  sweeps: tuple[int, ...]  # runs
  # Flags of the programs.
  contenders: tuple[str, ...]
  epoch: tuple[str, ...]
  sweep: tuple[str, ...]
  iwae: tuple[str, ...]
  train: tuple[str, ...]
  environment: dict[str, str]
  cost: float  # of a piece, relative to its estimate for an accelerator


ACCELERATOR = Sizes(
  title='On an accelerator',
  device='gpu',
  batch_sizes=(128, 512, 2048),
  compared=tuple(itertools.product(throughput.OURS, MODE_SECONDS)),
  sweeps=(12, 4, 32),
  contenders=(),
  epoch=('--num_epochs=50',),
  sweep=(),
  iwae=('--iwae_samples=5000',),
  train=(),
  environment={},
  cost=1.0,
)
REHEARSAL = Sizes(
  title='A rehearsal on a CPU: tiny problems, whose times mean nothing',
  device='cpu',
  batch_sizes=(8,),
  compared=(*(('float32', mode) for mode in MODE_SECONDS), ('bfloat16', 'eager')),
  sweeps=(2,),
  contenders=('--rounds=1', '--seconds=0.1'),
  epoch=('--num_epochs=2', '--num_images=780'),
  sweep=('--quick',),
  iwae=('--iwae_samples=4', '--max_examples=16'),
  train=(
    '--config.num_epochs=1',
    '--config.batch_size=16',
    '--config.data.max_examples=256',
    '--config.data.validation_examples=16',
    '--config.model.name=mlp',
    '--config.model.norm=none',
    '--config.model.channels=8',
    '--config.model.latent_channels=0',
  ),
  # Compiling takes longer there than all else.
  environment={'TORCH_COMPILE_DISABLE': '1', 'JAX_DISABLE_MOST_OPTIMIZATIONS': '1'},
  cost=0.1,
)


def build(sizes: Sizes, data_dir: Path, work: Path, configs: Sequence[str]) -> list[Piece]:
  """All pieces, the most valuable first: one of each kind, then those of other sizes.

  Args:
    sizes: of the problems.
    data_dir: holds a folder for each data set.
    work: a folder for what the processes write; the runs lie in `work/runs`.
    configs: names of the configs to train.
  """
  of_batches = {
    batch_size: [
      _contenders(sizes, work, batch_size, precision, mode) for precision, mode in sizes.compared
    ]
    for batch_size in sizes.batch_sizes
  }
  sweeps = [
    _sweep(sizes, work, num_runs, strategy)
    for num_runs, strategy in itertools.product(sizes.sweeps, STRATEGY_SECONDS)
  ]
  (eager, graphs, *more_contenders), *others = of_batches.values()
  names = [*(name for name in FIRST_CONFIGS if name in configs)]
  names += sorted(set(configs) - set(names))
  trainings = [training(sizes, data_dir, work, name) for name in names]
  mnist = data_dir / 'mnist'  # else random images, which take as long
  images = [f'--data_dir={mnist}'] if sizes.device == 'gpu' and mnist.is_dir() else []
  pieces = [
    _program(sizes, work, 'self_check', 60.0, 'accelerator.self_check', []),
    eager,
    graphs,
    _program(sizes, work, '50_epochs', 120.0, 'epoch', [*sizes.epoch, *images]),
    _program(sizes, work, 'roofline', 120.0, 'roofline', ['--quick']),
    sweeps[0],
    _iwae(sizes, data_dir, work),
    *trainings[:2],
    *more_contenders,
    *itertools.chain.from_iterable(others),
    *sweeps[1:],
    *trainings[2:],
  ]
  return [piece._replace(seconds=sizes.cost * piece.seconds) for piece in pieces]


def _program(
  sizes: Sizes, work: Path, name: str, seconds: float, module: str, flags: Sequence[str]
) -> Piece:
  """A program of benchmarks/, which writes a JSON file."""
  output = work / f'{name}.json'
  command = ['-m', f'benchmarks.{module}', f'--device={sizes.device}', f'--output={output}', *flags]
  environment = _environment(sizes, work, sizes.device == 'cpu')  # compile times are measured
  return Piece(name, seconds, lambda limit: command, partial(_read_json, output), environment)


def _contenders(sizes: Sizes, work: Path, batch_size: int, precision: str, mode: str) -> Piece:
  flags = [f'--batch_size={batch_size}', f'--precision={precision}', f'--mode={mode}']
  name, module = f'throughput_{batch_size}_{precision}_{mode}', 'accelerator.contenders'
  return _program(sizes, work, name, MODE_SECONDS[mode], module, [*flags, *sizes.contenders])


def _sweep(sizes: Sizes, work: Path, num_runs: int, strategy: str) -> Piece:
  at_least, of_each = STRATEGY_SECONDS[strategy]
  name = f'sweep_{num_runs}_{strategy.replace(" ", "_")}'
  flags = [f'--runs={num_runs}', f'--strategy={strategy}', *sizes.sweep]
  return _program(sizes, work, name, at_least + of_each * num_runs, 'sweep', flags)


def _iwae(sizes: Sizes, data_dir: Path, work: Path) -> Piece:
  """IWAE of the shipped mnist on all test images, by evaluate.py."""
  command = [str(alternate.ROOT / 'evaluate.py'), '--workdir=mnist', '--metrics=likelihood,iwae']
  command += [f'--data_dir={data_dir}', *sizes.iwae]
  folder = work / 'iwae'  # evaluate.py writes into the folder where it runs
  read, environment = partial(_read_bounds, folder / 'shipped'), _environment(sizes, work)
  return Piece('iwae', 120.0, lambda limit: command, read, environment, folder)


def training(sizes: Sizes, data_dir: Path, work: Path, name: str) -> Piece:
  """The whole training of a config by train.py, or as much of it as there is time for."""
  workdir, pictures = work / 'runs' / name, data_dir / name
  flags = [f'--config={alternate.ROOT / "configs" / f"{name}.py"}', f'--workdir={workdir}']
  flags += [f'--config.data.dir={pictures if is_of_pictures(name) else data_dir}']
  flags += ['--config.keep_checkpoints=1']  # and the best: little to carry
  flags += [f'--config.num_epochs={EPOCHS[name]}'] if name in EPOCHS else []

  def command(limit):
    seconds = max(5.0, limit - SECONDS_AROUND_TRAINING)
    limited = [f'--config.max_train_seconds={seconds:.0f}', *sizes.train]
    return [str(alternate.ROOT / 'train.py'), *flags, *limited]

  return Piece(
    f'train_{name}',
    TRAINING_SECONDS,
    command,
    partial(read_run, workdir),
    _environment(sizes, work),
    is_resumable=True,
  )


def trainable(data_dir: Path) -> list[str]:
  """The names of all configs that need nothing else.

  Pictures have to be in `data_dir/<config>`; a second stage needs a trained first one.
  """
  names = {path.stem for path in (alternate.ROOT / 'configs').glob('*.py')} - {'default'}
  return [
    name
    for name in sorted(names)
    if not tasks.is_second_stage(_config(name))
    and (not is_of_pictures(name) or (data_dir / name).is_dir())
  ]


def is_of_pictures(name: str) -> bool:
  """Whether a config takes any folder of pictures for its data."""
  return _config(name).data.name == 'folder'


def _config(name: str) -> ConfigDict:
  return importlib.import_module(f'configs.{name}').get_config()


def _environment(sizes: Sizes, work: Path, is_cached: bool = True) -> dict[str, str]:
  """Memory as it is needed; with `is_cached`, processes find the programs of earlier ones.

  Temporary files lie in `work`, which the call removes. The last line of a traceback is the error,
  not a word of JAX on its length.
  """
  cache = {
    'JAX_ENABLE_COMPILATION_CACHE': str(is_cached).lower(),
    'JAX_COMPILATION_CACHE_DIR': str(work / 'cache'),
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
  }
  return (
    throughput.environment(sizes.device)
    | cache
    | {'JAX_TRACEBACK_FILTERING': 'off', 'TMPDIR': str(work)}
    | sizes.environment
  )


def _read_json(path: Path) -> dict[str, Any]:
  return json.loads(path.read_text(encoding='utf-8'))


def _read_bounds(folder: Path) -> dict[str, Any]:
  """The bounds that evaluate.py has measured: each with value, low, high and protocol."""
  (path,) = folder.glob('*/evaluation/*.json')
  content = _read_json(path)
  if content['unfinished']:
    raise ValueError(f'{path} is unfinished')
  bounds = content['metrics']['likelihood']
  return {name: bounds[name] for name in ('negative_elbo', 'iwae')}


def read_run(workdir: Path) -> dict[str, Any]:
  """Where a run stands.

  Returns:
    finished; step, of the newest checkpoint; epoch and seconds of the last line of metrics.csv;
    the highest images_per_second; best_step, the step of the best validation, and its terms, with
    the score first.

  Raises:
    OSError, ValueError: it has not come to a checkpoint.
  """
  saved = [path.name for path in (workdir / 'checkpoints').iterdir()]
  step = max(int(name) for name in saved if name.isdigit())
  with open(workdir / 'metrics.csv', newline='', encoding='utf-8') as file:
    reader = csv.DictReader(file)
    rows = list(reader)
    names = [name for name in reader.fieldnames or () if name.startswith('validation/')]
  validated = [row for row in rows if row[names[0]]]
  best = min(validated, key=lambda row: float(row[names[0]]), default=None)
  paces = [float(row['images_per_second']) for row in rows if row['images_per_second']]
  return {
    'finished': any((workdir / 'samples').glob('step_*.png')),  # written last
    'step': step,
    'epoch': float(rows[-1]['epoch']) if rows else 0.0,
    'seconds': float(rows[-1]['seconds']) if rows else 0.0,
    'images_per_second': max(paces, default=0.0),
    'best_step': best and int(best['step']),
    'terms': {name.partition('/')[2]: float(best[name]) for name in names if best and best[name]},
  }
