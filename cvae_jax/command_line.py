"""What the commands share: flags in, an exit status out, and every error in one line."""

import ast
import os
import re
import shlex
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from absl import flags
from absl import logging as absl_logging

from cvae_jax.config import RULES, fields
from cvae_jax.errors import InputError, NonFiniteError, OccupiedError, did_you_mean

INPUT_ERROR = 2
HELP_FLAGS = ('--help', '-h', '-help', '--helpfull', '--helpshort')

_DEBUG = flags.DEFINE_bool('debug', False, 'Show the traceback of an error.')


def run(main: Callable[[], None], doc: str, interrupted: str = 'Interrupted.') -> None:
  """Parses the flags, runs `main`, and ends the process.

  The exit status is 0, 2 for something the user gave, 1 where training failed, 130 after Ctrl-C.

  Args:
    main: the command, which reads its flags itself.
    doc: what --help begins with.
    interrupted: what is said after Ctrl-C.
  """
  # ml_collections reads sys.argv itself, and refuses a field that stands before --config.
  argv = sys.argv = _with_config_first(sys.argv)
  for stream in (sys.stdout, sys.stderr):
    stream.reconfigure(errors='replace')  # a terminal without β is no reason to stop
  wants_help = any(argument in HELP_FLAGS for argument in argv[1:])
  try:
    if wants_help:
      sys.exit(_run(lambda: _print_help(doc, argv), argv))
    sys.exit(_run(lambda: (_parse(argv), main()), argv))
  except KeyboardInterrupt:
    print(f'{Path(argv[0]).name}: {interrupted}', file=sys.stderr)
    sys.exit(130)


def _run(action, argv) -> int:
  # Orbax and JAX tell their own story otherwise.
  absl_logging.set_verbosity(absl_logging.ERROR)
  try:
    action()
    return 0
  except BrokenPipeError:  # the reader, `| head` say, has had enough
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
  except (InputError, NonFiniteError) as error:
    if _DEBUG.value if flags.FLAGS.is_parsed() else '--debug' in argv:
      traceback.print_exc()
    message = str(error)
    if isinstance(error, OccupiedError):
      message += f' Choose a free folder: {_with_workdir(argv, error.free_workdir)}'
    print(f'{Path(argv[0]).name}: {" ".join(message.split())}', file=sys.stderr)
    return INPUT_ERROR if isinstance(error, InputError) else 1


def _parse(argv) -> None:
  """Gives the flags their values, with every mistake as an InputError."""
  if path := _value(argv, 'config'):
    _check_config_file(Path(path))
  elif _unknown_field(argv, known=()):
    raise InputError('--config is missing: name an experiment, e.g. --config configs/digits.py.')
  try:
    rest = flags.FLAGS(argv)
  except flags.Error as error:
    raise InputError(_explain(error)) from error
  except Exception as error:  # whatever the config file, or ml_collections at a wrong field, raises
    if field := _unknown_field(argv):
      message = f'Unknown config field {field!r}.{did_you_mean(field, RULES)}'
    else:
      message = f'Config file {path!r} fails: {type(error).__name__}: {_first_line(error)}'
    raise InputError(message) from error
  if len(rest) > 1:
    raise InputError(f'Unexpected argument {rest[1]!r}: flags begin with --, see --help.')


def _check_config_file(path: Path) -> None:
  if not path.is_file():
    known = sorted(str(other) for other in Path('configs').glob('*.py'))
    raise InputError(
      f'Config file {str(path)!r} is not there.'
      f'{did_you_mean(str(path), known)} See configs/ for those that exist.'
    )
  try:
    tree = ast.parse(path.read_text(encoding='utf-8'))
  except (SyntaxError, ValueError) as error:
    raise InputError(f'Config file {str(path)!r} is no Python: {_first_line(error)}.') from error
  if not any(isinstance(node, ast.FunctionDef) and node.name == 'get_config' for node in tree.body):
    raise InputError(
      f'Config file {str(path)!r} has no function get_config(): see configs/mnist.py.'
    )


def _explain(error: flags.Error) -> str:
  """absl's message, in a config's own words where it is about one of its fields."""
  if match := re.match(r'flag --config\.([\w.]+)=(.*?): ', str(error), re.DOTALL):
    field, text = match.groups()
    if field in RULES:
      return f'{field}={text!r} is not {RULES[field].expected}.'
  return _first_line(error)


def _unknown_field(argv, known=RULES) -> str | None:
  """The first --config.FIELD on the command line that is not among the known ones."""
  for argument in argv[1:]:
    match = re.match(r'--?(?:no)?config\.([\w.]+)', argument)
    if match and match[1] not in known:
      return match[1]
  return None


def _value(argv, flag: str) -> str | None:
  """The value of --flag VALUE or --flag=VALUE, as it stands on the command line."""
  value = None
  for position, argument in enumerate(argv):
    name, equals, text = argument.lstrip('-').partition('=')
    if argument.startswith('-') and name == flag:
      value = text if equals else (argv[position + 1] if position + 1 < len(argv) else None)
  return value


def _without(argv, flag: str) -> list[str]:
  """The command line without --flag VALUE and --flag=VALUE."""
  kept, skip = [], False
  for argument in argv:
    if not skip and not re.match(rf'--?{flag}(=|$)', argument):
      kept.append(argument)
    skip = bool(re.match(rf'--?{flag}$', argument))
  return kept


def _with_config_first(argv) -> list[str]:
  if not (path := _value(argv, 'config')):
    return argv
  script, *rest = _without(argv, 'config')
  return [script, f'--config={path}', *rest]


def _with_workdir(argv, workdir: Path) -> str:
  """The same command with another --workdir, to be pasted into a shell."""
  return shlex.join(['python', *_without(argv, 'workdir'), f'--workdir={workdir}'])


def _print_help(doc: str, argv) -> None:
  """What the command does, its flags, and for train.py the fields of the config that was named."""
  print(doc.strip())
  print('\nFlags:')
  own = [*flags.FLAGS.get_key_flags_for_module(argv[0]), flags.FLAGS['debug']]
  for flag in own:
    default = '' if flag.value in (None, False) else f' (default {flag.value})'
    print(f'  --{flag.name:<14} {" ".join(flag.help.split())}{default}')
  if 'config' in flags.FLAGS:
    _print_fields(argv)


def _print_fields(argv) -> None:
  """Each field with its value in the config named, and the comment that default.py gives it."""
  default = Path(argv[0]).resolve().parent / 'configs' / 'default.py'
  asked = [argument for argument in argv if argument not in HELP_FLAGS]
  named = _value(asked, 'config')
  _parse(asked if named else [*asked[:1], f'--config={default}'])
  values = dict(fields(flags.FLAGS.config))
  print(f'\nConfig fields, with their values in {named or "configs/default.py"}:')
  for field, comment in re.findall(
    r'^  config\.([\w.]+) = .*?  # (.*)$', default.read_text(encoding='utf-8'), re.MULTILINE
  ):
    text = f'--config.{field}={values[field]}'.replace(' ', '')
    print(f'  {text:<46} {comment}')


def _first_line(error: Exception) -> str:
  return str(error).strip().splitlines()[0]
