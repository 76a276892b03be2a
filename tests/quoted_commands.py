"""Commands that documents quote, and what the flags of today make of them.

As a program, `python tests/quoted_commands.py train.py` reads lists of arguments from its input, as
JSON, and writes what train.py would parse of each, without running anything.
"""

import importlib
import json
import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
SCRIPTS = ('train.py', 'evaluate.py', 'sample.py', 'export.py')
FENCED = re.compile(r'^ *```[^\n]*\n(.*?)^ *```', re.MULTILINE | re.DOTALL)
INLINE = re.compile(r'`([^`\n]+)`')
# Words of a shell after which a command is over.
ENDS = {'&', ';', '|', '&&', '||', '>', '2>', '<'}
BEGINNING = re.compile(
  r'(?:\S*bin/)?python3? '
  r'(?:(?:train|evaluate|sample|export)\.py|-m cvae_jax\.(?:train|evaluate|sample|export))'
  r'(?= |$)|make(?= |$)'
)
# Names that stand for one of the reader's own, by what they are replaced with to be parsed.
PLACEHOLDERS = (
  (r'configs/sweeps/(?:<\w+>|NAME)', 'configs/sweeps/kld_weight'),
  (r'configs/(?:<\w+>|NAME)', 'configs/digits'),
)


class Command(NamedTuple):
  """A command, and the document that quotes it."""

  document: str
  text: str

  @property
  def words(self) -> list[str]:
    """The command without its python, its comment, and what a shell does after it."""
    text = self.text
    for placeholder, name in PLACEHOLDERS:
      text = re.sub(placeholder, name, text)
    text = re.sub(r'-m cvae_jax\.(\w+)', r'\1.py', text)
    words = shlex.split(text, comments=True)
    end = next((i for i, word in enumerate(words) if word in ENDS), len(words))
    words = [word.rstrip(';') for word in words[:end]]
    return words if words[0] == 'make' else words[1:]


def quoted(document: str, text: str) -> Iterator[Command]:
  """The commands in the code of a document: lines of fenced blocks, and inline code."""
  for block in FENCED.findall(text):
    variables = {}
    for line in block.replace('\\\n', ' ').splitlines():
      line = line.strip().removeprefix('$ ')
      if match := re.fullmatch(r'(\w+)=("?)(.*)\2', line):
        variables[match[1]] = match[3]
      for name, value in variables.items():
        line = re.sub(rf'\${name}\b', lambda _, value=value: value, line)
      # After other words too: srun …, CUDA_VISIBLE_DEVICES=0 …
      if match := re.search(rf'(?:^|(?<=\s))(?:{BEGINNING.pattern})', line.partition(' #')[0]):
        is_first = match.start() == 0
        if is_first or not match[0].startswith('make'):
          yield Command(document, line[match.start() :])
  for code in INLINE.findall(FENCED.sub('', text)):
    if BEGINNING.match(code) and '…' not in code and '...' not in code:
      yield Command(document, code)


def _parsed(script: str, arguments: list[str], alone: dict) -> dict:
  """The flags and the config that `script` would see, or the error that it would print."""
  from absl import flags

  from cvae_jax import cli
  from cvae_jax.runtime.errors import InputError

  argv = cli._normalized([script, *arguments])
  if set(argv) & cli.HELP_FLAGS:
    argv = [word for word in argv if word not in cli.HELP_FLAGS]
    if len(argv) == 1:
      return {}
  # A module of the reader's own is not here, nor what it registers.
  imports = [word for word in argv if word.startswith('--import=')]
  sys.argv = argv = [word for word in argv if word not in imports]  # ml_collections reads it
  try:
    cli._parse(argv)
    cli.check_alone(alone)
  except InputError as error:
    return {'error': str(error)}
  given = {name: flags.FLAGS[name].value for name in flags.FLAGS if name.isidentifier()}
  config = given.pop('config', None)
  return {'flags': given, 'config': config and config.to_dict(), 'imports': len(imports)}


def _each_in_a_process(script: str, commands: list[list[str]], alone: dict) -> list[dict]:
  """`_parsed` of each; flags can be parsed once in a process, and its imports take the time."""
  results = []
  for arguments in commands:
    reader, writer = os.pipe()
    if os.fork() == 0:
      status = 1
      try:
        with os.fdopen(writer, 'w') as file:
          json.dump(_parsed(script, arguments, alone), file)
        status = 0
      finally:
        os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as file:
      results.append(json.loads(file.read() or '{"error": "it cannot be parsed"}'))
    os.wait()
  return results


if __name__ == '__main__':
  name = sys.argv[1]
  sys.path.insert(0, str(ROOT))
  os.chdir(ROOT)
  sys.argv = [name]
  importlib.import_module('configs.default')  # once, and not in each process
  alone = getattr(importlib.import_module(f'cvae_jax.{Path(name).stem}'), 'ALONE', {})
  json.dump(_each_in_a_process(name, json.load(sys.stdin), alone), sys.stdout)
