"""How the commands of this package are called where this process runs, for messages."""

import sys
from collections.abc import Sequence
from pathlib import Path


def called(argv: Sequence[str]) -> list[str]:
  """The words that follow `python` in a call of this process: a script, or -m and its module."""
  spec = getattr(sys.modules['__main__'], '__spec__', None)
  return list(argv) if spec is None else ['-m', spec.name, *argv[1:]]


def of(name: str) -> str:
  """How to call a command: `python sample.py` after train.py, else `python -m cvae_jax.sample`."""
  script, *_ = called(sys.argv)
  beside = Path(script).with_name(f'{name}.py')
  return f'python {beside if beside.is_file() else f"-m cvae_jax.{name}"}'
