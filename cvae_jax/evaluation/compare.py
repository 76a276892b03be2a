"""Trained runs side by side: one table, one picture, one page."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from cvae_jax.evaluation import comparison
from cvae_jax.evaluation import comparison_pictures as pictures
from cvae_jax.evaluation import sweep_results as results
from cvae_jax.inference import loading
from cvae_jax.inference.model import Model
from cvae_jax.plots import html as page
from cvae_jax.runtime import paths, progress
from cvae_jax.runtime.errors import InputError
from cvae_jax.training import run_folder

FOLDER = Path('runs') / 'comparisons'
MAX_NAME_BYTES = 150  # of the page's folder


def compare(runs: Sequence[str], checkpoint: str, data_dir: str | None) -> Path:
  """Measures models on the same images, and writes `comparison.csv`, pictures and a page.

  Args:
    runs: two or more runs, checkpoints, or names of shipped weights; a folder of runs, as that of
      a sweep, stands for all of them that have a checkpoint.
    checkpoint: 'best', 'last', or a step, of each.
    data_dir: where their data are; None is where the first was trained on them.

  Returns:
    The page, in runs/comparisons/<names>/.

  Raises:
    InputError: there are too few, one cannot be loaded, or their images are not the same.
  """
  runs = [run for given in runs for run in _runs_of(given)]
  models = _named([loading.load(run, checkpoint) for run in runs])
  if len(models) < 2:
    raise InputError(f'--compare takes two runs or more, not only {runs[0]}.')
  _check_same_images(models)
  first = next(iter(models.values()))
  data = first.data(data_dir)
  measured = {}
  with progress.shown(f'measuring {len(models)} models') as advance:
    for position, (name, model) in enumerate(models.items()):
      measured[name] = comparison.of_model(model, data)
      advance((position + 1) / len(models))
  folder = FOLDER / _file_name(models)
  header = ('model', *(measure.name for measure in comparison.measures().values()))
  lines = [(name, *comparison.cells([values])) for name, values in measured.items()]
  told = [
    comparison.protocol(data),
    '–: there is no such number: a denoising autoencoder has no samples, a conditional encoder is '
    'given the class, a set may have none. Weights: '
    + ', '.join(f'{name} at step {model.step}' for name, model in models.items()),
  ]
  progress.say(f'\n{results.as_text(header, lines)}\n\n' + '\n'.join(told) + '\n')
  drawn = {'comparison': ('Side by side', pictures.side_by_side(models, data.test))}
  drawn |= pictures.scatters(models, data.test)
  parts = [page.table(header, lines), *(page.paragraph(text, 'protocol') for text in told)]
  try:
    parts += pictures.written(folder, drawn)
    _write_csv(folder / 'comparison.csv', models, measured)
    with paths.whole(folder / 'comparison.html') as temporary:
      temporary.write_text(page.page(' against '.join(models), parts), encoding='utf-8')
  except OSError as error:
    raise InputError(
      f'Cannot write into {folder}: {error.strerror}. Begin in another folder.'
    ) from error
  return folder / 'comparison.html'


def _runs_of(given: str) -> list[str]:
  """The runs in a folder of runs, by the numbers in their names; anything else as it is."""
  folder = paths.from_user(given)
  if not folder.is_dir() or run_folder.holds_run(folder):
    return [given]
  inside = sorted(filter(run_folder.holds_run, folder.iterdir()), key=_by_number)
  found = [run for run in inside if run_folder.has_checkpoint(run)]
  if missing := [run.name for run in inside if run not in found]:
    progress.say(f'without a checkpoint, and left out: {", ".join(missing)}')
  if begun := [run.name for run in found if not any(run.glob(f'{run_folder.SAMPLES}/step_*.png'))]:
    progress.say(f'not trained to their end, and compared all the same: {", ".join(begun)}')
  return [str(run) for run in found] or [given]


def _by_number(run: Path) -> list[tuple[float, str]]:
  """A key that puts beta=2 before beta=10."""
  parts = re.split(r'(\d+(?:\.\d+)?(?:e[-+]?\d+)?)', run.name)
  return [(float(part), '') if part[:1].isdigit() else (0.0, part) for part in parts]


def _named(models: Sequence[Model]) -> dict[str, Model]:
  """Each under the name of its folder, with as much of the path as it takes to tell them apart."""
  for depth in range(1, 10):
    names = ['/'.join(model.folder.resolve().parts[-depth:]) + model.suffix for model in models]
    if len(set(names)) == len(names):
      return dict(zip(names, models, strict=True))
  twice = next(model for model, name in zip(models, names, strict=True) if names.count(name) > 1)
  raise InputError(f'--compare names {twice.folder} more than once: give different runs.')


def _check_same_images(models: dict[str, Model]) -> None:
  """Raises InputError unless all have the same test images."""
  (first, expected), *others = (
    (name, comparison.test_images(model)) for name, model in models.items()
  )
  for name, given in others:
    for field, value in given.items():
      if value != expected[field]:
        raise InputError(
          f'{name} has {field}={value!r}, but {first} {field}={expected[field]!r}: they have no '
          'test images in common. Compare runs on the same ones.'
        )


def _file_name(models: dict[str, Model]) -> str:
  joined = '-vs-'.join(name.replace('/', '_') for name in models)
  short = joined.encode()[:MAX_NAME_BYTES].decode(errors='ignore')
  # Runs of the same names elsewhere are another comparison.
  told = (f'{model.folder.resolve()}{model.suffix}' for model in models.values())
  return f'{short}-{paths.digest(*told)}'


def _write_csv(path: Path, models: dict[str, Model], measured: dict[str, dict]) -> None:
  buffer = io.StringIO()
  writer = csv.writer(buffer, lineterminator='\n')
  names = list(comparison.measures())
  writer.writerow(['model', 'folder', 'step', *names])
  for name, model in models.items():
    numbers = [measured[name].get(measure, '') for measure in names]
    writer.writerow([name, model.folder, model.step, *numbers])
  with paths.whole(path) as temporary:
    temporary.write_text(buffer.getvalue(), encoding='utf-8')
