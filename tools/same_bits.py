"""Trains short runs in this tree and in an older one, and compares what they leave, bit for bit.

  python tools/same_bits.py OLD_CHECKOUT

Weights (variables, average, optimizer) of every checkpoint, the numbers of metrics.csv but for the
clock's, and the sample pictures of each run must be equal. Each tree runs in processes of its own.
"""

import csv
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parents[1]
SMALL = '--config.num_epochs=2 --config.log_every_steps=3 --config.beta_warmup_epochs=1'
TINY = (
  f'{SMALL} --config.data.image_size=16 --config.data.max_examples=400 --config.batch_size=32 '
  '--config.data.validation_examples=64 --config.model.channels=8,16 --config.latent_dim=4'
)
DIGITS = '--config configs/digits.py'
# Name -> commands, one after the other, with {workdir} and {pictures} filled in.
RUNS = {
  'digits': [f'{DIGITS} --config.num_epochs=2'],
  'cyclical, free bits, batch norm, resumed': [
    f'{DIGITS} {TINY} --config.beta_schedule=cyclical --config.free_bits=0.1 '
    '--config.model.norm=batch --config.checkpoint_every_steps=5 --config.max_train_seconds=0.001',
    f'{DIGITS} {TINY} --config.beta_schedule=cyclical --config.free_bits=0.1 '
    '--config.model.norm=batch --config.checkpoint_every_steps=5',
  ],
  'flow': [f'{DIGITS} {TINY} --config.prior=flow --config.model.pool=False'],
  'iwae': [f'{DIGITS} {TINY} --config.num_importance_samples=5'],
  'conv': [
    f'--config configs/convvae_mnist.py {SMALL} --config.data.dir={{pictures}} '
    '--config.data.validation_examples=32 --config.data.num_classes=10'
  ],
  'dae': [f'{DIGITS} {TINY} --config.objective=dae --config.conditional=False'],
  'streamed': [f'{DIGITS} {TINY} --config.data.placement=stream'],
  'sweep': [f'{DIGITS} {TINY} --sweep beta=0.5,2 --sweep seed=0,1'],
}
CLOCK = ('seconds', 'images_per_second')


def train(tree: Path, workdir: Path, command: str, pictures: Path) -> None:
  """Runs train.py of a tree; ends this program where it fails."""
  words = command.format(pictures=pictures).split()
  done = subprocess.run(
    [sys.executable, 'train.py', *words, f'--workdir={workdir}'],
    cwd=tree,
    capture_output=True,
    text=True,
    check=False,
  )
  if done.returncode not in (0, 143):
    sys.exit(f'{tree}: {command}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}')


def write_pictures(folder: Path) -> None:
  """A folder of PNG files per class, from scikit-learn's digits."""
  from sklearn import datasets

  digits = datasets.load_digits()
  for row in range(200):
    image = np.round(digits.images[row] * (255 / 16)).astype(np.uint8).repeat(4, 0).repeat(4, 1)
    path = folder / ('training' if row < 160 else 'testing') / str(digits.target[row])
    path.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path / f'{row:03d}.png')


def arrays(run: Path) -> dict[str, np.ndarray]:
  """All numbers of all checkpoints of a run, by name."""
  import jax
  import orbax.checkpoint as ocp

  found = {}
  for path in sorted(run.glob('**/checkpoints/*/*')):
    if path.name in ('model', 'ema', 'optimizer') and path.is_dir():
      tree = ocp.StandardCheckpointer().restore(path.absolute())
      for name, leaf in jax.tree_util.tree_leaves_with_path(tree):
        found[f'{path.relative_to(run)}{jax.tree_util.keystr(name)}'] = np.asarray(leaf)
  return found


def metrics(run: Path) -> list[dict[str, str]]:
  """The rows of all metrics.csv, without empty values and those of the clock."""
  rows = []
  for path in sorted(run.glob('**/metrics.csv')):
    with open(path, newline='') as file:
      rows += [
        {name: value for name, value in row.items() if value and name not in CLOCK}
        for row in csv.DictReader(file)
      ]
  return rows


def pictures_of(run: Path) -> dict[str, bytes]:
  """The sample pictures, decoded."""
  return {
    str(path.relative_to(run)): np.asarray(Image.open(path)).tobytes()
    for path in sorted(run.glob('**/samples/*.png'))
  }


def compare(old: Path, new: Path) -> list[str]:
  """What differs between two folders of runs."""
  different = []
  before, after = arrays(old), arrays(new)
  if before.keys() != after.keys():
    different.append(f'arrays: {sorted(before.keys() ^ after.keys())[:5]}')
  unequal = [n for n in before.keys() & after.keys() if not np.array_equal(before[n], after[n])]
  if unequal:
    worst = max(np.abs(np.float64(before[n]) - np.float64(after[n])).max() for n in unequal)
    different.append(f'{len(unequal)} of {len(before)} arrays, by at most {worst:.3g}')
  rows_before, rows_after = metrics(old), metrics(new)
  if rows_before != rows_after:
    names = {
      name
      for one, other in zip(rows_before, rows_after, strict=False)
      for name in one | other
      if one.get(name) != other.get(name)
    }
    different.append(f'metrics.csv: {len(rows_before)} and {len(rows_after)} rows, {sorted(names)}')
  if pictures_of(old) != pictures_of(new):
    different.append('pictures')
  if not before or not rows_before or not pictures_of(old):
    different.append('nothing to compare')
  return different


def main() -> None:
  """Trains and compares all runs, or those named after the checkout."""
  old_tree, chosen = Path(sys.argv[1]).resolve(), sys.argv[2:] or list(RUNS)
  failed = False
  with tempfile.TemporaryDirectory() as folder:
    write_pictures(Path(folder) / 'pictures')
    for name in chosen:
      runs = []
      for label, tree in (('old', old_tree), ('new', HERE)):
        run = Path(folder) / name.replace(' ', '_').replace(',', '') / label / 'run'
        for command in RUNS[name]:
          train(tree, run, command, Path(folder) / 'pictures')
        runs.append(run)
      different = compare(*runs)
      count = len(arrays(runs[0]))
      failed |= bool(different)
      result = '; '.join(different) or f'equal: {count} arrays, {len(metrics(runs[0]))} rows'
      print(f'{name}: {result}', flush=True)
  sys.exit(failed)


if __name__ == '__main__':
  main()
