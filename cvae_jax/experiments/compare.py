"""Trained runs side by side: one table, one picture, one page."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from cvae_jax import figures, loading, page, paths, progress
from cvae_jax.errors import InputError
from cvae_jax.experiments import comparison, pictures, results
from cvae_jax.inference import Model

FOLDER = Path('runs') / 'comparisons'
MAX_NAME = 100  # characters of the page's folder


def compare(runs: Sequence[str], checkpoint: str, data_dir: str | None) -> Path:
  """Measures models on the same images, and writes `comparison.csv`, pictures and a page.

  Args:
    runs: two or more runs, checkpoints, or names of shipped weights.
    checkpoint: 'best', 'last', or a step, of each.
    data_dir: where their data are; None is where the first was trained on them.

  Returns:
    The page, in runs/comparisons/<names>/.

  Raises:
    InputError: there are too few, one cannot be loaded, or their images are not the same.
  """
  if len(runs) < 2:
    raise InputError(f'--compare takes two runs or more, not {len(runs)}: --compare runs/a runs/b.')
  models = _named([loading.load(run, checkpoint) for run in runs])
  _check_same_images(models)
  first = next(iter(models.values()))
  data = first.data(data_dir)
  measured = {}
  with progress.shown(f'measuring {len(models)} models') as advance:
    for position, (name, model) in enumerate(models.items()):
      measured[name] = comparison.of_model(model, data)
      advance((position + 1) / len(models))
  folder = FOLDER / _file_name(list(models))
  header = ('model', *(measure.name for measure in comparison.measures().values()))
  lines = [(name, *comparison.cells([values])) for name, values in measured.items()]
  told = [
    comparison.protocol(data),
    '–: the model has no such number, as a denoising autoencoder has no samples; weights: '
    + ', '.join(f'{name} at step {model.step}' for name, model in models.items()),
  ]
  progress.say(f'\n{results.as_text(header, lines)}\n\n' + '\n'.join(told) + '\n')
  drawn = {'comparison': ('Side by side', pictures.side_by_side(models, data.test))}
  drawn |= pictures.scatters(models, data.test)
  parts = [page.table(header, lines), *(page.paragraph(text, 'protocol') for text in told)]
  try:
    for name, (title, figure) in drawn.items():
      figures.save({folder / f'{name}.png': figure})
      parts.append(page.picture(title, (folder / f'{name}.png').read_bytes()))
    _write_csv(folder / 'comparison.csv', models, measured)
    with paths.whole(folder / 'comparison.html') as temporary:
      temporary.write_text(page.page(' against '.join(models), parts), encoding='utf-8')
  except OSError as error:
    raise InputError(
      f'Cannot write into {folder}: {error.strerror}. Begin in another folder.'
    ) from error
  return folder / 'comparison.html'


def _named(models: Sequence[Model]) -> dict[str, Model]:
  """Each under the name of its folder, with as much of the path as it takes to tell them apart."""
  for depth in range(1, 10):
    names = ['/'.join(model.folder.resolve().parts[-depth:]) + model.suffix for model in models]
    if len(set(names)) == len(names):
      return dict(zip(names, models, strict=True))
  raise InputError(f'--compare names {models[0].folder} more than once: give different runs.')


def _check_same_images(models: dict[str, Model]) -> None:
  sets = {
    name: (model.config.data.name, model.image_shape, model.class_names)
    for name, model in models.items()
  }
  (first, expected), *others = sets.items()
  for name, given in others:
    if given != expected:
      shown = [
        f'{each} was trained on {data} as {height}×{width}×{channels}'
        for each, (data, (height, width, channels), _) in ((first, expected), (name, given))
      ]
      raise InputError(
        f'{" and ".join(shown)}: they have no images in common. Compare runs on the same ones.'
      )


def _file_name(names: Sequence[str]) -> str:
  joined = '-vs-'.join(name.replace('/', '_') for name in names)
  if len(joined) <= MAX_NAME:
    return joined
  return f'{joined[:MAX_NAME]}-{paths.digest(*names)}'


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
