"""Whether optional libraries are installed, without importing them."""

import importlib.util
from importlib import metadata


def installed(*modules: str) -> bool:
  """Whether Python finds all of them; a folder of that name beside the user's files is no library.

  Weights & Biases, for one, makes a folder wandb/ where it runs.
  """
  specs = map(importlib.util.find_spec, modules)
  return all(spec is not None and spec.origin is not None for spec in specs)


def has_distribution(name: str) -> bool:
  """Whether pip has installed this package: others may have a module of the same name."""
  try:
    metadata.distribution(name)
  except metadata.PackageNotFoundError:
    return False
  return True
