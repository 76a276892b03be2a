"""A tiny model of a table of conditions, and images that show them."""

from pathlib import Path

import numpy as np

from cvae_jax.config import Column
from cvae_jax.data.readers import Source, Split
from cvae_jax.training import loop
from tiny import tiny_config

NAMES = ('left', 'right', 'up, down')
COLUMNS = (
  Column('side', 'category', NAMES),
  Column('bar', 'flag'),
  Column('grey', 'number', unit='%'),
)


def train(workdir: Path, missing: str, num_epochs: int) -> None:
  """A category, a flag and a number; every third cell of one of them is empty."""
  config = tiny_config(
    num_epochs=num_epochs,
    latent_dim=2,
    likelihood='gaussian',
    sigma=0.1,
    data__name='arrays',
    data__num_classes=0,
    data__conditions='all',
    data__max_examples=0,
    model__channels=(16, 32),
    model__embed_dim=16,
  )
  splits = {'train': split(600, 0, missing), 'test': split(60, 1, missing)}
  loop.train(config, workdir, source=Source(splits, NAMES, True, COLUMNS))


def split(count: int, seed: int, missing: str = '') -> Split:
  """Images that show their conditions.

  The side is where a field of the grey value lies, the flag a bright last row; the rest is noise.
  """
  random = np.random.RandomState(seed)
  cells = np.stack(
    [random.randint(0, 3, count), random.randint(0, 2, count), random.uniform(40, 90, count)],
    axis=1,
  )
  images = random.randint(0, 30, (count, 8, 8, 1))
  fields = (slice(0, 6), slice(0, 3)), (slice(0, 6), slice(5, 8)), (slice(2, 4), slice(0, 8))
  for image, (side, bar, grey) in zip(images, cells, strict=True):
    image[fields[int(side)]] = 255 * grey / 100
    image[7] = 255 * bar
  labels = cells[:, 0].astype(np.int32)
  for number, column in enumerate(COLUMNS):
    if column.name == missing:
      cells[::3, number] = np.nan
  labels[np.isnan(cells[:, 0])] = -1
  return Split(images.astype(np.uint8), labels, cells.astype(np.float32))
