"""The configs that ship, by name."""

import importlib.util
from pathlib import Path

from ml_collections import ConfigDict

import cvae_jax


def shipped_configs() -> tuple[str, ...]:
  """The names of the configs that ship: 'mnist', 'sweeps/kld_weight', ..."""
  folder = _configs()
  return tuple(sorted(str(p.relative_to(folder).with_suffix('')) for p in folder.rglob('*.py')))


def shipped_config(name: str) -> Path:
  """The file of a config that ships."""
  return _configs() / f'{name}.py'


def named(name: str) -> ConfigDict:
  """A config that ships, by its name: `named('mnist')`."""
  spec = importlib.util.spec_from_file_location(f'configs.{name}', shipped_config(name))
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.get_config()


def _configs() -> Path:
  """Their folder: in the package where it was installed, beside it in a clone."""
  package = Path(cvae_jax.__file__).parent
  folders = [folder / 'configs' for folder in (package, package.parent)]
  return next(filter(Path.is_dir, folders))
