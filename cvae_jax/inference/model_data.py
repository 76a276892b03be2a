"""The data set that a trained model was trained on."""

from ml_collections import ConfigDict

from cvae_jax import config as config_lib
from cvae_jax.data import datasets
from cvae_jax.data.datasets import Splits
from cvae_jax.data.readers import DATASETS, Source
from cvae_jax.inference.conditions import Conditioning
from cvae_jax.runtime.errors import InputError


def load(
  trained_with: ConfigDict,
  conditioning: Conditioning,
  class_names: tuple[str, ...],
  fingerprint: str | None,
  data_dir: str | None = None,
) -> Splits:
  """See `Model.data`.

  Args:
    trained_with: the model's config.
    conditioning: what it is conditioned on.
    class_names: of its labels.
    fingerprint: of its training and validation images, if the run kept it.
    data_dir: folder of the data; None is that of the training.
  """
  config = trained_with.copy_and_resolve_references()
  config.batch_size = 1  # a dataset may be too small to train on
  if data_dir is not None:
    config.data.dir = data_dir
  try:
    splits = datasets.load(config, source=_source(trained_with, config.data))
  except InputError as error:  # with the flags of train.py
    raise InputError(
      f'{error} The config of a trained model is fixed, but --data_dir replaces its data.dir.'
    ) from error
  if conditioning.has_table:
    theirs = tuple(column.name for column in splits.train.columns)
    _check_same('columns', theirs, conditioning.names)
  if conditioning.columns:
    _check_same('classes', splits.train.class_names, class_names)
  if fingerprint not in (None, datasets.fingerprint(splits.train, splits.validation)):
    print('Note: these are not the images that the model was trained on.')
  if conditioning.has_table and splits.train.columns != conditioning.columns:
    return Splits(
      *(split._replace(table=split.table.as_in(conditioning.columns)) for split in splits)
    )
  return splits


def _check_same(kind: str, theirs: tuple[str, ...], mine: tuple[str, ...]) -> None:
  if theirs != mine:
    raise InputError(
      f'The {kind} of the data are {", ".join(theirs)[:100]}, those of the model '
      f'{", ".join(mine)[:100]}. Name its data with --data_dir.'
    )


def _source(trained_with: ConfigDict, data: ConfigDict) -> Source:
  """The data set that `data` names; of a model of arrays in memory, with images to test on."""
  source = None if config_lib.is_in_memory(data) else DATASETS[data.name](data)
  has_test = source is not None and 'test' in source.splits
  if config_lib.is_in_memory(trained_with.data) and not has_test:
    raise InputError(
      'This model was trained on arrays in memory. Save these, and images to test on that are '
      'not among them, with numpy.savez(FILE, train_images=..., train_labels=..., '
      'test_images=..., test_labels=...), with val_... if you gave validation images, and with '
      'train_<column>=..., test_<column>=... of conditions; and name that file.'
    )
  return source
