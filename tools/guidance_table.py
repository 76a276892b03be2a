"""What guidance and steps do to the samples of a second stage: a table for the manual.

  python -m tools.guidance_table runs/fashion_flow --guidance 1,1.5 --steps 10,20
  python -m tools.guidance_table runs/cifar10_flow --guidance 1 --steps 20 --judge resnet

Each row draws samples of all classes, and measures them against the real validation images, to
choose by, and the test images: the Fréchet distance in the features of the reference classifier,
how many it gives their label, and the accuracy of a classifier that was trained on the samples
alone (Ravuri & Vinyals 2019): one like the reference classifier or, with `--judge resnet`, a
ResNet-18 in PyTorch, whose numbers are near those of papers. Rows are printed as they come, and
kept in `--output` as JSON lines.
"""

import argparse
import itertools
import json
import sys
import time
from pathlib import Path

import numpy as np

import cvae_jax
from cvae_jax.data.readers import DATASETS
from cvae_jax.evaluation import accuracy_score, classifier, fidelity, generation, samples
from cvae_jax.evaluation.intervals import proportion
from cvae_jax.runtime.errors import InputError

FRECHET_SAMPLES = 10_000  # at most: the distance depends on their number


def _numbers(text: str) -> list[float]:
  return [float(part) for part in text.split(',')]


def _integers(text: str) -> list[int]:
  return [int(part) for part in text.split(',')]


def _flags() -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('run', help='folder of a run, or the name of shipped weights')
  parser.add_argument('--guidance', type=_numbers, default=[1.0], help='such as 1,1.5,2')
  parser.add_argument('--steps', type=_integers, default=[20], help='such as 5,10,20,50')
  parser.add_argument('--num_samples', type=int, default=20_000, help='to train a classifier on')
  parser.add_argument('--judge', choices=('own', 'resnet'), default='own')
  parser.add_argument('--epochs', type=int, default=0, help='of that classifier; 0: its usual ones')
  parser.add_argument('--real', action='store_true', help='a first row of real training images')
  parser.add_argument('--first_stage', action='store_true', help='a row of their reconstructions')
  parser.add_argument('--data_dir', help='folder of the data')
  parser.add_argument('--output', type=Path, help='file for the rows, as JSON lines')
  return parser.parse_args()


class Measures:
  """Measures images against the real ones of two splits."""

  def __init__(self, model, data, judge: str, epochs: int):
    self._data_name, self._num_classes = model.config.data.name, len(model.class_names)
    self._judge, self._epochs = judge, epochs
    self._reference = classifier.reference(model.config.data, data.train, data.validation)
    self._real = {'validation': data.validation, 'test': data.test}
    self._features = {
      split: self._reference.judge(real.images)[0] for split, real in self._real.items()
    }

  def __call__(self, images: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The numbers of images, bytes, of these classes."""
    first = slice(FRECHET_SAMPLES)
    features, log_probabilities = self._reference.judge(images[first])
    shown = proportion(log_probabilities.argmax(axis=1) == labels[first])
    found = {'num_images': len(images), 'shows_label': shown.mean}
    named = self._named(images, labels)
    for split, real in self._real.items():
      distance = samples.frechet_distance(self._features[split], features)
      score = proportion(named[: len(real.labels)] == real.labels)
      named = named[len(real.labels) :]
      found[f'{split}/frechet_distance'] = distance
      found[f'{split}/{accuracy_score.NAME}'] = score.mean
      found[f'{split}/half_interval'] = (score.high - score.low) / 2
    return found

  def _named(self, images, labels) -> np.ndarray:
    """What a classifier of these images names the real ones, of one split after the other."""
    others = np.concatenate([np.asarray(real.images) for real in self._real.values()])
    mirrored = DATASETS.trait(self._data_name, 'mirrored', False)
    if self._judge == 'resnet':
      from tools import resnet  # late: PyTorch is there for maintainers alone

      epochs = self._epochs or resnet.NUM_EPOCHS
      return resnet.predictions(images, labels, others, mirrored, epochs)
    epochs = self._epochs or accuracy_score.NUM_EPOCHS
    learned = classifier.train(images, labels, self._num_classes, mirrored, epochs)
    return learned.predict(others)


def main() -> None:
  """Prints the rows that the flags ask for."""
  flags = _flags()
  model = cvae_jax.load(flags.run)
  data = model.data(flags.data_dir)
  measures = Measures(model, data, flags.judge, flags.epochs)
  train = data.train.take(slice(flags.num_samples))
  labels = train.labels

  def row(name: str, images: np.ndarray, seconds: float) -> None:
    found = {'images': name, 'seconds_to_draw': round(seconds, 1), **measures(images, labels)}
    print(json.dumps(found), flush=True)
    if flags.output:
      with flags.output.open('a', encoding='utf-8') as file:
        file.write(json.dumps(found) + '\n')

  if flags.real:
    row('real', np.asarray(train.images), 0.0)
  if flags.first_stage:
    row('reconstructions', fidelity.reconstructed(model, train), 0.0)
  conditions = model.conditioning.of(labels, None, len(labels))
  for guidance, steps in itertools.product(flags.guidance, flags.steps):
    began, drawn = time.monotonic(), model.with_flow(guidance=guidance, steps=steps)
    images = generation.draw(drawn, conditions, None, 0, lambda fraction: None)
    row(f'guidance {guidance:g}, {steps} steps', images, time.monotonic() - began)


if __name__ == '__main__':
  try:
    main()
  except InputError as error:
    sys.exit(f'guidance_table: {error}')
