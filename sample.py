"""Draws images from a trained conditional VAE, as one PNG grid.

  Examples:
  python sample.py --digit 3                             64 images of the digit 3
  python sample.py --label trouser --workdir runs/fashion_mnist
  python sample.py                                       all classes, a row each
  python sample.py --digit 8 --temperature 0.8 --seed 1 --num_images 100 --output eights.png

Without --workdir it takes the run under runs/ that was written last.
"""

from pathlib import Path

from absl import flags

from cvae_jax import command_line
from cvae_jax.errors import InputError

_WORKDIR = flags.DEFINE_string('workdir', None, 'The run; the newest under runs/ if not given.')
_CHECKPOINT = flags.DEFINE_string(
  'checkpoint', 'best', 'best (by validation ELBO), last, or a step.'
)
_LABEL = flags.DEFINE_string(
  'label', None, 'The class to draw: its name or number; all if not given.'
)
_DIGIT = flags.DEFINE_string('digit', None, 'The same as --label.')
_NUM_IMAGES = flags.DEFINE_integer(
  'num_images', None, 'How many of one class (64 if not given), or of each (10).', 1, 10_000
)
_SEED = flags.DEFINE_integer('seed', 0, 'The same seed gives the same picture.', 0, 2**32 - 1)
_TEMPERATURE = flags.DEFINE_float('temperature', 1.0, 'Standard deviation of the prior.', 0.0)
_DRAW = flags.DEFINE_bool('draw', False, "Sample the pixels, instead of the decoder's means.")
_OUTPUT = flags.DEFINE_string(
  'output', None, "The PNG to write; in the run's samples/ if not given."
)

MAX_COLUMNS = 16


def main() -> None:
  if _LABEL.value is not None and _DIGIT.value is not None:
    raise InputError('--label and --digit say the same: give one of them.')
  wanted = _DIGIT.value if _LABEL.value is None else _LABEL.value
  # Late, so that --help and mistyped flags do not wait for JAX.
  import numpy as np

  import cvae_jax
  from cvae_jax import devices, grids, paths
  from cvae_jax.training import run_folder

  devices.use_compilation_cache()
  workdir = paths.from_user(_WORKDIR.value) if _WORKDIR.value else run_folder.newest(Path('runs'))
  model = cvae_jax.load(workdir, _CHECKPOINT.value)
  print(f'{workdir}, weights of step {model.step}')
  labels, subject, columns = None, 'all', None
  num_images = _NUM_IMAGES.value or 64
  if wanted is not None:
    labels = np.full(num_images, model.label(wanted))
    subject = str(labels[0])
  elif model.conditional:
    columns = _NUM_IMAGES.value or 10
    labels = np.repeat(np.arange(len(model.class_names)), columns)
  images = model.sample(
    labels,
    _TEMPERATURE.value,
    _SEED.value,
    draw=_DRAW.value,
    num_images=num_images if labels is None else None,
  )
  columns = columns or min(MAX_COLUMNS, int(np.ceil(np.sqrt(len(images)))))
  folder = workdir if run_folder.holds_run(workdir) else run_folder.locate(workdir).run
  options = {'n': _NUM_IMAGES.value, 't': _TEMPERATURE.value if _TEMPERATURE.value != 1 else None}
  name = f'{subject}-seed{_SEED.value}'
  name += ''.join(f'-{key}{value:g}' for key, value in options.items() if value is not None)
  name += '-draw' if _DRAW.value else ''
  output = paths.from_user(_OUTPUT.value or folder / 'samples' / f'{name}.png')
  try:
    grids.save_png(output, grids.grid(images, columns))
  except OSError as error:
    raise InputError(f'Cannot write {output}: {error.strerror}. Name another --output.') from error
  print(f'{len(images)} images: {output}')


if __name__ == '__main__':
  command_line.run(main, __doc__)
