"""An evaluation on paper: a table, JSON, CSV, and one HTML file that opens offline."""

import csv
import html
import io
import json
import tempfile
from pathlib import Path

import cvae_jax
from cvae_jax.evaluation import record
from cvae_jax.evaluation.record import Evaluation, Metric
from cvae_jax.inference.model import Model
from cvae_jax.plots import html as page_lib
from cvae_jax.runtime import paths
from cvae_jax.runtime.errors import InputError

COLUMNS = ('group', 'metric', 'value', 'low', 'high', 'unit', 'protocol')


def write(evaluation: Evaluation) -> Path:
  """Writes `evaluation/<name>.json`, `.csv` and `.html`, and the figures as PNG files.

  Returns:
    The HTML file, in the folder of the model's results; each file is written whole or not at all.

  Raises:
    InputError: the folder cannot be written.
  """
  folder = evaluation.model.folder / 'evaluation'
  pictures = {
    folder / evaluation.name / f'{name}.png': picture
    for name, (_, picture) in evaluation.pictures.items()
  }
  content = {'cvae_jax': cvae_jax.__version__} | record.plain(evaluation)
  page = folder / f'{evaluation.name}.html'
  files = pictures | {
    folder / f'{evaluation.name}.json': (json.dumps(content, indent=1) + '\n').encode(),
    folder / f'{evaluation.name}.csv': _csv(evaluation).encode(),
    page: _html(evaluation).encode(),
  }
  try:
    for path, data in files.items():
      with paths.whole(path) as temporary:
        temporary.write_bytes(data)
  except OSError as error:
    raise _cannot_write(folder, error) from error
  return page


def write_unless_finished(evaluation: Evaluation) -> None:
  """Writes an evaluation that is not, where there is no finished one of the same weights."""
  try:
    text = (evaluation.model.folder / 'evaluation' / f'{evaluation.name}.json').read_text('utf-8')
    content = json.loads(text)
    is_finished = content['metrics']['likelihood']['iwae']['value'] is not None
    is_finished &= content['step'] == evaluation.model.step
  except (OSError, ValueError, TypeError, KeyError):
    is_finished = False
  if not is_finished:
    write(evaluation)


def check_writable(model: Model) -> None:
  """Raises InputError where `write` will not be able to."""
  folder = model.folder / 'evaluation'
  try:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
      pass
  except OSError as error:
    raise _cannot_write(folder, error) from error


def _cannot_write(folder: Path, error: OSError) -> InputError:
  return InputError(
    f'Cannot write into {folder}: {error.strerror}. Make it writable, copy the run elsewhere or, '
    'for shipped weights, begin in another folder.'
  )


def table(evaluation: Evaluation) -> str:
  """The numbers as lines of text, a block for each group, the protocols below."""
  lines, protocols = [], []
  for group, metrics in _by_group(evaluation).items():
    lines.append(f'{group}')
    for metric in metrics:
      if metric.value is None:
        lines.append(f'  {metric.name:<36} {metric.protocol}')
        continue
      if metric.protocol not in protocols:
        protocols.append(metric.protocol)
      lines.append(
        f'  {metric.name:<36} {number(metric.value):>10}  {interval(metric):<22} '
        f'{metric.unit:<10} [{protocols.index(metric.protocol) + 1}]'
      )
  lines += ['', *(f'[{count}] {text}' for count, text in enumerate(protocols, start=1))]
  return '\n'.join(lines)


def summary(evaluation: Evaluation) -> str:
  """What was judged, in one line."""
  model = evaluation.model
  averaged = 'moving average of the weights' if model.config.ema_decay else 'weights'
  return (
    f'{model.folder}, {averaged} at step {model.step}, on the {evaluation.split} split of '
    f'{model.config.data.name}: {evaluation.num_images:,} images'
  )


def _by_group(evaluation: Evaluation) -> dict[str, list[Metric]]:
  groups: dict[str, list[Metric]] = {}
  for metric in evaluation.metrics:
    groups.setdefault(metric.group, []).append(metric)
  return groups


def number(value: float) -> str:
  """A value to four digits or so, as tables show it."""
  if value == int(value) and abs(value) < 1e6:
    return str(int(value))
  if abs(value) >= 10:
    return f'{value:.2f}'
  return f'{value:.4f}' if abs(value) >= 0.01 else f'{value:.3g}'


def interval(metric: Metric) -> str:
  """Its 95 % interval as tables show it; nothing where it has none."""
  if metric.low is None:
    return ''
  return f'{number(metric.low)} to {number(metric.high)}'


def _csv(evaluation: Evaluation) -> str:
  buffer = io.StringIO()
  writer = csv.writer(buffer, lineterminator='\n')
  writer.writerow(COLUMNS)
  for m in evaluation.metrics:
    values = [m.group, m.name, m.value, m.low, m.high, m.unit, m.protocol]
    writer.writerow(['' if value is None else value for value in values])
  return buffer.getvalue()


def _html(evaluation: Evaluation) -> str:
  rows = []
  for group, metrics in _by_group(evaluation).items():
    rows.append(f'<tr class="group"><th colspan="5">{html.escape(group)}</th></tr>')
    for metric in metrics:
      value = '–' if metric.value is None else number(metric.value)
      cells = (
        f'<td>{html.escape(metric.name)}</td><td class="number">{value}</td>'
        f'<td class="number">{interval(metric)}</td><td>{html.escape(metric.unit)}</td>'
        f'<td class="protocol">{html.escape(metric.protocol)}</td>'
      )
      rows.append(f'<tr>{cells}</tr>')
  table = (
    '<table>\n<thead><tr><th>metric</th><th>value</th><th>95 % interval</th><th>unit</th>'
    '<th>protocol</th></tr></thead><tbody>\n' + '\n'.join(rows) + '\n</tbody>\n</table>'
  )
  shown = [page_lib.picture(title, picture) for title, picture in evaluation.pictures.values()]
  title = f'{evaluation.model.config.name}: {evaluation.split} split'
  return page_lib.page(title, [page_lib.paragraph(summary(evaluation)), table, *shown])
