"""Cards of models: README.md with a front matter that model hubs read."""

import contextlib
import csv
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from clu import parameter_overview

from cvae_jax.evaluation import report
from cvae_jax.evaluation.report import Metric
from cvae_jax.inference import loading, shipped
from cvae_jax.inference.model import Model
from cvae_jax.models import fitted_prior
from cvae_jax.tasks.task import TASKS
from cvae_jax.training import run_folder

FILE_NAME = 'README.md'
FILE_FORMATS = ('arrays', 'folder', 'idx', 'parquet')  # data of a user's own: no hub knows them
HEAD = '| group | metric | value | 95 % interval | unit | protocol |\n|---|---|---|---|---|---|\n'
CARD = """# {name}

{what} {averaged} at step {step}, float32, {parameters:,} parameters. {prior}

```python
import cvae_jax

model = cvae_jax.load('hf://OWNER/NAME')  # or this folder
images = {example}  # floats in [0, 1]
```

{measured}
"""
VALIDATION = 'validation/'  # before its columns in metrics.csv


class Measured(NamedTuple):
  """Numbers of a model, for its card."""

  split: str  # of the data
  title: str
  table: str


def card(model: Model) -> str:
  """The card that came with a model or, of a run, one with the numbers that are in its folder."""
  folder = model.folder
  is_shipped = folder.parent == loading.SHIPPED_RESULTS and folder.name in shipped.available()
  if is_shipped and not run_folder.holds_run(folder):
    return (shipped.FOLDER / folder.name / FILE_NAME).read_text(encoding='utf-8')
  if (folder / shipped.WEIGHTS_FILE).is_file() and (folder / FILE_NAME).is_file():
    return (folder / FILE_NAME).read_text(encoding='utf-8')
  measured = _evaluation(folder, model.step) or _validation(folder, model.step)
  text = _card_of_run(model, measured)
  return with_front_matter(text, model.config, None, measured.split if measured else '')


def with_front_matter(
  card: str, config, licence: str | None = 'apache-2.0', split: str = 'test'
) -> str:
  """A card below its front matter in YAML, made anew from the config and the card's table.

  The numbers are those of the table, as rounded there; https://huggingface.co/docs/hub/model-cards
  describes the fields.

  Args:
    card: its text.
    config: the model's.
    licence: of the weights; None leaves it to their owner.
    split: the images of the table.
  """
  body = re.sub(r'\A---\n.*?\n---\n\n?', '', card, flags=re.DOTALL)
  metrics = []
  for line in body.splitlines():
    group, name, value, *_ = [*re.split(r'(?<!\\)\|', line.strip('|')), '', '', '']
    with contextlib.suppress(ValueError):  # the header, what was not measured, other lines
      metrics.append(
        {'type': name.strip(), 'name': f'{group.strip()}: {name.strip()}', 'value': float(value)}
      )
  kinds = ['vae', 'variational-autoencoder', *['conditional-vae'] * config.conditional]
  if not getattr(TASKS[config.objective], 'is_generative', True):
    kinds = ['denoising-autoencoder']
  dataset = {'name': config.data.name, 'type': config.data.name, 'split': split}
  result = {'task': {'type': 'image-generation'}, 'dataset': dataset, 'metrics': metrics}
  fields = {
    **({} if licence is None else {'license': licence}),
    'library_name': 'cvae_jax',
    'tags': ['jax', 'flax', *kinds, 'image-generation'],
    **({} if config.data.name in FILE_FORMATS else {'datasets': [config.data.name]}),
    **({'model-index': [{'name': config.name, 'results': [result]}]} if metrics else {}),
  }
  text = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=100)
  return f'---\n{text}---\n\n{body}'


def table(metrics: Mapping[str, Mapping[str, Any]]) -> str:
  """The metrics of an evaluation's JSON file, as a table in Markdown."""
  rows = []
  for group, named in metrics.items():
    for name, fields in named.items():
      metric = Metric(group, name, **fields)
      value = '–' if metric.value is None else report.number(metric.value)
      warning = f' **Warning: {metric.warning}.**' if metric.warning else ''
      protocol = (metric.protocol + warning).replace('|', '\\|')
      cells = (group, name, value, report.interval(metric), metric.unit, protocol)
      rows.append(f'| {" | ".join(cells)} |')
  return HEAD + '\n'.join(rows)


def description(model: Model) -> str:
  """What kind of model it is, of which data and conditions."""
  config = model.config
  kind = 'Conditional' if model.conditional else 'Unconditional'
  name = 'VAE' if model.has_prior else 'denoising autoencoder'
  what = f'{kind} {config.model.name} {name} of {config.data.name}, latent {config.latent_dim}'
  if model.conditioning.has_table:
    what += f', given {", ".join(model.conditioning.names)}'
  return f'{what}.'


def priors(model: Model) -> str:
  """The priors that its latents are drawn from."""
  if not model.has_prior:
    return 'Its latents have no prior.'
  own = f'Trained with z ~ {model.prior.describe("model")}'
  if (flow := model.prior.flow) is not None:
    count = parameter_overview.count_parameters(flow.variables['params'])
    return f'{own}; latents are drawn by a second stage, {flow}, of {count:,} parameters.'
  if model.prior.fitted is None:
    return f'{own}.'
  return f'{own}; fitted afterwards, in `{fitted_prior.FILE_NAME}`: {model.prior.fitted}.'


def averaged(config) -> str:
  """Whose values the weights are."""
  return 'Moving average of the weights' if config.ema_decay else 'Weights'


def _card_of_run(model: Model, measured: Measured | None) -> str:
  classes = list(model.class_names[:2])
  example = f'model.sample({classes if model.has_classes else "num_images=2"})'
  if not model.has_prior:
    example = 'model.reconstruct(pictures)'
  return CARD.format(
    name=model.config.name,
    what=description(model),
    averaged=averaged(model.config),
    step=model.step,
    parameters=parameter_overview.count_parameters(model.variables['params']),
    prior=priors(model),
    example=example,
    measured=f'{measured.title}\n\n{measured.table}' if measured else 'Not evaluated.',
  )


def _evaluation(run: Path, step: int) -> Measured | None:
  """The largest evaluation of these weights on disk."""
  largest, most = None, 0
  for path in sorted((run / 'evaluation').glob('*.json')):
    # A file of something else is none.
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
      content = json.loads(path.read_text(encoding='utf-8'))
      split, count = content['split'], sum(map(len, content['metrics'].values()))
      if content['step'] == step and count > most:
        images = f'{split} split of {content["data"]}, {content["num_images"]:,} images'
        title = f'Measured with evaluate.py, {images}:'
        largest, most = Measured(split, title, table(content['metrics'])), count
  return largest


def _validation(run: Path, step: int) -> Measured | None:
  """What the run's log says of its validation images at a step."""
  try:
    with open(run / 'metrics.csv', newline='', encoding='utf-8') as file:
      rows = [row for row in csv.DictReader(file) if row.get('step') == str(step)]
  except OSError:
    return None
  of_term = {'unit': '', 'protocol': 'of the validation images, as the run logged it'}
  metrics = {
    name.removeprefix(VALIDATION): of_term | {'value': float(value)}
    for row in rows
    for name, value in row.items()
    if name.startswith(VALIDATION) and value
  }
  title = 'Not evaluated on test images. The validation at this step of the training:'
  return Measured('validation', title, table({'validation': metrics})) if metrics else None
