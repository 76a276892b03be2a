"""Makes the shipped weights from evaluated runs, and the reference classifiers.

  python -m tools.ship_weights runs/mnist "2 CPU cores"        writes cvae_jax/shipped/mnist/
  python -m tools.ship_weights runs/mnist "..." test-iwae100   with the numbers of that evaluation
  python -m tools.ship_weights --classifier mnist DIR          trains its reference classifier
  python -m tools.ship_weights --front_matter mnist            renews that of the shipped card

A model becomes `config.json`, `weights.safetensors` (the moving average of the best checkpoint),
`prior.safetensors` (the fitted prior), `conditions.safetensors` (rows of the table of conditions,
if it has one), `first_stage/` (of a second stage) and a card, `README.md`, with the numbers of
evaluate.py for the same step. Its front matter is what model hubs read: licence, tags, data and the
numbers of the table.
"""

import csv
import json
import re
import shutil
import sys
from pathlib import Path

from clu import parameter_overview

import cvae_jax
from cvae_jax import config as config_lib
from cvae_jax.data import datasets
from cvae_jax.data.readers import DATASETS
from cvae_jax.evaluation import classifier, generation
from cvae_jax.exporting import cards
from cvae_jax.inference import loading, shipped
from cvae_jax.inference.model import Model
from cvae_jax.models import fitted_prior
from cvae_jax.models.classifier import SHIPPED
from cvae_jax.runtime import progress, tensor_files
from cvae_jax.runtime.errors import InputError
from cvae_jax.training import first_stage, training_table

CARD = """# {name}

{what} {averaged} at step {step}, float32, {parameters:,} parameters.

    {command}

{epochs}, batch {batch_size}, {minutes} on {machine}, cvae_jax {version}; of the
checkpoint that was best on the {validation:,} validation images. {prior}

`python evaluate.py --workdir {name}{flags}`, {split} split of {data}, {num_images:,} images:

{table}
"""


def ship(run: Path, machine: str, name: str = 'test') -> Path:
  """Writes the weights of a run to a folder with the name of its config.

  Args:
    run: folder of a run that was evaluated on its test split.
    machine: where it was trained, for the card.
    name: of the evaluation, `evaluation/<name>.json`.

  Returns:
    The folder.

  Raises:
    InputError: the run has no such evaluation, or only of another step.
  """
  model, saved = loading.load(run), config_lib.read(run)
  config, flow = saved.config.copy_and_resolve_references(), model.prior.flow
  try:
    text = (run / 'evaluation' / f'{name}.json').read_text(encoding='utf-8')
    evaluation = json.loads(text) | {'name': name}
  except (OSError, ValueError) as error:
    raise InputError(
      f'{run} has no evaluation/{name}.json: run evaluate.py on it first.'
    ) from error
  if unfinished := evaluation.get('unfinished'):
    raise InputError(
      f'The evaluation {name!r} of {run} has no {", ".join(unfinished)}: run evaluate.py again.'
    )
  if evaluation['step'] != model.step:
    raise InputError(
      f'{run} was evaluated at step {evaluation["step"]}, but its best checkpoint is of step '
      f'{model.step}: run evaluate.py on it again.'
    )
  groups = [generation.group_of(model, prior) for prior in generation.priors(model)]
  measured = {group for group in evaluation['metrics'] if group.startswith(generation.GROUP)}
  if measured and not set(groups) <= measured:
    raise InputError(f'{run} was evaluated with other priors: run evaluate.py on it again.')
  variables = model.variables if flow is None else flow.variables
  card = _card(run, model, config, variables, evaluation, machine)
  text = cards.with_front_matter(card, config)
  folder = shipped.FOLDER / config.name
  shutil.rmtree(folder, ignore_errors=True)  # of earlier weights
  folder.mkdir(parents=True)
  config.data.dir = ''  # a folder of this machine only
  config.first_stage = Path(config.first_stage).name
  config_lib.save(folder, saved._replace(config=config, data_parts=None))
  if model.conditioning.has_table:
    shutil.copyfile(run / training_table.FILE_NAME, folder / training_table.FILE_NAME)
  tensor_files.save(folder / shipped.WEIGHTS_FILE, variables, step=model.step)
  if flow is not None:
    first = first_stage.of_run(run)
    first.saved.config.data.dir = ''
    first_stage.save(folder, first._replace(saved=first.saved._replace(data_parts=None)))
  if model.prior.fitted is not None:
    fitted_prior.save(folder, model.prior.fitted, model.variables)
  (folder / cards.FILE_NAME).write_text(text, encoding='utf-8')
  return folder


def _card(run: Path, model: Model, config, variables: dict, evaluation: dict, machine: str) -> str:
  try:
    with open(run / 'metrics.csv', newline='', encoding='utf-8') as file:
      last = list(csv.DictReader(file))[-1]
    seconds, epochs = float(last['seconds']), float(last['epoch'])
  except (OSError, ValueError, LookupError) as error:
    raise InputError(f'{run} has no metrics.csv with its training time.') from error
  samples = re.search(r'-iwae(\d+)', evaluation['name'])
  groups = re.search(r'-only-([a-z-]+)', evaluation['name'])
  flags = f' --iwae_samples {samples[1]}' if samples else ''
  flags += f' --metrics {groups[1].replace("-", ",")}' if groups else ''
  return CARD.format(
    name=config.name,
    what=cards.description(model),
    averaged=cards.averaged(config),
    step=model.step,
    parameters=parameter_overview.count_parameters(variables['params']),
    command=f'python train.py --config configs/{config.name}.py '
    f'--config.num_epochs={config.num_epochs}',
    flags=flags,
    epochs=f'{epochs:g} epochs'
    if epochs == config.num_epochs
    else f'{epochs:g} of {config.num_epochs} epochs',
    batch_size=config.batch_size,
    minutes=f'{max(1, round(seconds / 60))} minute{"" if seconds < 90 else "s"}',
    machine=machine,
    version=cvae_jax.__version__,
    validation=config.data.validation_examples,
    prior=cards.priors(model),
    split=evaluation['split'],
    data=config.data.name,
    num_images=evaluation['num_images'],
    table=cards.table(evaluation['metrics']),
  )


def renew_front_matter(name: str) -> Path:
  """Makes the front matter of a shipped card anew, from its table; returns the card."""
  path = shipped.FOLDER / name / 'README.md'
  config = config_lib.read(path.parent).config
  card = cards.with_front_matter(path.read_text(encoding='utf-8'), config)
  path.write_text(card, encoding='utf-8')
  return path


def ship_classifier(name: str, data_dir: str) -> float:
  """Trains and writes the reference classifier of a dataset.

  Args:
    name: of the dataset, and of its config.
    data_dir: folder of the data.

  Returns:
    Its accuracy on the test split.
  """
  config = config_lib.named(name)
  config.data.dir = data_dir
  data = datasets.load(config)
  with progress.shown(f'training the reference classifier of {name}') as advance:
    trained = classifier.train(
      data.train.images,
      data.train.labels,
      len(data.train.class_names),
      DATASETS.trait(name, 'mirrored', False),
      advance=advance,
    )
  # What it is held to on the images of a user; see `classifier.reference`.
  accuracy = trained.accuracy(data.validation.images, data.validation.labels)
  path = SHIPPED / f'{name}.safetensors'
  tensor_files.save(path, trained.variables, accuracy=f'{accuracy:.4f}')
  return trained.accuracy(data.test.images, data.test.labels)


if __name__ == '__main__':
  try:
    match sys.argv[1:]:
      case ['--classifier', name, data_dir]:
        print(f'accuracy {ship_classifier(name, data_dir):.4f}')
      case ['--front_matter', name]:
        print(renew_front_matter(name))
      case [run, machine, *name] if len(name) < 2:
        print(ship(Path(run), machine, *name))
      case _:
        sys.exit(__doc__)
  except InputError as error:
    sys.exit(f'ship_weights: {error}')
