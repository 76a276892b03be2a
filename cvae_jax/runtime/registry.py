"""Implementations by name: what a config field such as `likelihood` or `prior` may be set to."""

import importlib
import pkgutil
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from cvae_jax.runtime.errors import InputError, did_you_mean

_LOADING = threading.RLock()  # another thread waits until all are registered


class Entry(NamedTuple):
  """One implementation, with its check and traits."""

  value: Any  # a class or function; each registry documents its arguments
  check: Callable[[Any], None] | None  # raises InputError for a config that does not fit
  traits: dict[str, Any]  # facts about it that other code needs


class Registry:
  """The implementations of one config field, each registered where it is written.

  >>> LIKELIHOODS = Registry('likelihood')
  >>> @LIKELIHOODS.register('laplace')
  ... def laplace(config): ...

  Args:
    field: the config field that names an implementation.
    package: its modules register implementations. They are imported when a name is first looked
      up, so a new module of the package is found without being listed anywhere.
  """

  def __init__(self, field: str, package: str | None = None):
    self.field, self._package = field, package
    self._entries: dict[str, Entry] = {}

  def register(self, name: str, check: Callable[[Any], None] | None = None, **traits):
    """A decorator that registers a class or function under `name`.

    Args:
      name: the value of the config field. Registering it again replaces the implementation.
      check: raises InputError for a config with other fields that the implementation cannot use.
      **traits: facts about it that other code needs; see `trait`.
    """

    def add(value):
      self._entries[name] = Entry(value, check, traits)
      return value

    return add

  def __iter__(self) -> Iterator[str]:
    return iter(self._loaded())

  def __getitem__(self, name: str):
    """The implementation called `name`.

    Raises:
      InputError: nothing is registered under this name.
    """
    return self._entry(name).value

  def trait(self, name: str, trait: str, default: Any = None) -> Any:
    """A trait of the implementation called `name`; `default` if it was registered without."""
    return self._entry(name).traits.get(trait, default)

  def check(self, config, name: str) -> None:
    """Raises InputError if `name` is not registered, or does not fit the rest of `config`."""
    if check := self._entry(name).check:
      check(config)

  def _loaded(self) -> dict[str, Entry]:
    with _LOADING:
      if self._package:
        package, self._package = importlib.import_module(self._package), None
        for module in pkgutil.iter_modules(package.__path__, f'{package.__name__}.'):
          importlib.import_module(module.name)
    return self._entries

  def _entry(self, name) -> Entry:
    try:
      return self._loaded()[name]
    except (KeyError, TypeError):
      raise InputError(
        f'{self.field}={name!r} is not one of: {", ".join(self)}.{did_you_mean(name, self)} '
        'If a module of yours registers it, name that module with --import.'
      ) from None
