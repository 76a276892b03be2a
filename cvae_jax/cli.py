"""What the commands share: flags in, an exit status out, and every error in one line."""

import ast
import os
import re
import shlex
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from absl import flags
from absl import logging as absl_logging

from cvae_jax.config import FIELDS, default, fields
from cvae_jax.runtime import paths
from cvae_jax.runtime.errors import (
  FailedRunsError,
  InputError,
  LostProcessError,
  NonFiniteError,
  OccupiedError,
  StoppedError,
  WriteError,
  did_you_mean,
  is_out_of_memory,
)

INPUT_ERROR = 2
# Of training, with status 1.
FAILURES = NonFiniteError | LostProcessError | WriteError | FailedRunsError
HELP_FLAGS = ('--help', '-h', '-help', '--helpfull', '--helpshort')

_DEBUG = flags.DEFINE_bool('debug', False, 'Show the traceback of an error.')


def run(main: Callable[[], None], doc: str, interrupted: str = 'Interrupted.') -> None:
  """Parses the flags, runs `main`, and ends the process.

  The exit status is 0, 2 for something the user gave, 1 where training failed, 130 after Ctrl-C,
  143 where training ended at a SIGTERM.

  Args:
    main: the command, which reads its flags itself.
    doc: what --help begins with.
    interrupted: what is said after Ctrl-C.
  """
  argv = _with_method(_spread(_as_ml_collections_needs(sys.argv)))
  sys.argv = argv  # which ml_collections reads itself
  for stream in (sys.stdout, sys.stderr):
    stream.reconfigure(errors='replace')  # a terminal without β is no reason to stop
  script = Path(argv[0]).name

  def interrupt(*_):
    # At once and without clean-up, which the threads of JAX and Orbax would turn into pages of
    # tracebacks. What is on disk is whole at every moment.
    if sys.stdout.isatty():
      os.write(sys.stdout.fileno(), b'\x1b[?25h\n')  # the progress bar had hidden the cursor
    os.write(sys.stderr.fileno(), f'{script}: {interrupted}\n'.encode())
    os._exit(130)

  signal.signal(signal.SIGINT, interrupt)
  if any(argument in HELP_FLAGS for argument in argv[1:]):
    status = _run(lambda: _print_help(doc, argv), argv)
  else:
    status = _run(lambda: (_parse(argv), main()), argv)
  sys.stdout.flush()
  sys.stderr.flush()
  if status:
    os._exit(status)  # no clean-up here either: the one line is the last
  sys.exit(0)


def check_alone(modes: Mapping[str, Sequence[str]]) -> flags.FlagValues:
  """Raises InputError where two of these flags are given, or one beside flags it does not heed.

  Args:
    modes: flag -> the flags that mean nothing to it.

  Returns:
    All flags.
  """
  given = [name for name in modes if flags.FLAGS[name].value not in (None, False)]
  if len(given) > 1:
    raise InputError(f'{" and ".join(f"--{name}" for name in given)}: give one of them.')
  for mode in given:
    for name in modes[mode]:
      if flags.FLAGS[name].present:
        raise InputError(f'--{name} means nothing to --{mode}: leave it out.')
  return flags.FLAGS


def _run(action, argv) -> int:
  # Orbax and JAX tell their own story otherwise.
  absl_logging.set_verbosity(absl_logging.FATAL)
  # Where one of Orbax's reads fails, so do the others, later and with no one to catch it.
  sys.unraisablehook = lambda _: None
  try:
    action()
    return 0
  except BrokenPipeError:  # the reader, `| head` say, has had enough
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
  except StoppedError as stop:
    print(f'{Path(argv[0]).name}: {stop}', file=sys.stderr)
    return stop.status
  except Exception as error:
    message = _message(error, argv)
    if message is None:
      traceback.print_exc()  # a mistake of this package, not of its user
      return 1
    if _DEBUG.value if flags.FLAGS.is_parsed() else '--debug' in argv:
      traceback.print_exc()
    print(f'{Path(argv[0]).name}: {" ".join(message.splitlines())}', file=sys.stderr)
    return 1 if isinstance(error, FAILURES) else INPUT_ERROR


def _message(error: Exception, argv) -> str | None:
  """What to tell the user of an error; None where it is none of the user's."""
  if isinstance(error, OccupiedError):
    return f'{error} Choose a free folder: {_with_workdir(argv, error.free_workdir)}'
  if isinstance(error, InputError | FAILURES):
    return str(error)
  if isinstance(error, OSError) and error.strerror:
    place = f'{str(error.filename)[:100]}: ' if error.filename else 'Writing failed: '
    return f'{place}{error.strerror}.'
  if is_out_of_memory(error):
    return f'Out of memory: {_first_line(error)[:150]}. Choose a smaller batch or model.'
  return None


def _parse(argv) -> None:
  """Gives the flags their values, with every mistake as an InputError."""
  path = _value(argv, 'config')
  if path:
    _check_config_file(paths.from_user(path))
  elif path == '':
    raise InputError('--config is empty: name an experiment, e.g. --config configs/digits.py.')
  elif 'config' in flags.FLAGS:
    raise InputError('--config is missing: name an experiment, e.g. --config configs/digits.py.')
  try:
    rest = flags.FLAGS(argv)
  except flags.Error as error:
    raise InputError(_explain(error)) from error
  except (Exception, SystemExit) as error:
    # Whatever the config file raises, or ml_collections at a wrong field.
    if field := _unknown_field(argv):
      message = f'Unknown config field {field!r}.{did_you_mean(field, FIELDS)}'
    else:
      message = f'Config file {path!r} fails: {type(error).__name__}: {_first_line(error)}'
    raise InputError(message) from error
  if len(rest) > 1:
    raise InputError(f'Unexpected argument {rest[1]!r}: flags begin with --, see --help.')


def _check_config_file(path: Path) -> None:
  if not path.is_file():
    known = sorted(str(other) for other in Path('configs').glob('*.py'))
    raise InputError(
      f'Config file {str(path)!r} is {"no file" if path.exists() else "not there"}.'
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
    if field in FIELDS:
      return f'{field}={text!r} is not {FIELDS[field].rule.expected}.'
  return ' '.join(str(error).split())


def _unknown_field(argv, known=FIELDS) -> str | None:
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


def _with_method(argv) -> list[str]:
  """--find_batch_size alone as --find_batch_size=power."""
  given = []
  for position, argument in enumerate(argv):
    follows = argv[position + 1] if position + 1 < len(argv) else '-'
    if argument in ('--find_batch_size', '-find_batch_size') and follows.startswith('-'):
      argument += '=power'
    given.append(argument)
  return given


def _spread(argv) -> list[str]:
  """--images A B C as --images=A --images=B --images=C, so that a shell may list the files."""
  listed = {flag for flag in ('images', 'compare') if flag in flags.FLAGS}
  spread, inside = [], None
  for argument in argv:
    if inside and not argument.startswith('-'):
      if spread[-1] == f'--{inside}':
        spread.pop()
      spread.append(f'--{inside}={argument}')
      continue
    inside = argument.lstrip('-') if argument.startswith('-') else None
    inside = inside if inside in listed else None
    if inside:
      argument = f'--{inside}=' if argument is argv[-1] else f'--{inside}'
    spread.append(argument)
  return spread


def _as_ml_collections_needs(argv) -> list[str]:
  # It would append one tuple to another, where any other flag's last value counts.
  if widths := _value(argv, 'config.model.channels'):
    argv = [*_without(argv, r'config\.model\.channels'), f'--config.model.channels={widths}']
  # It refuses a field that stands before --config.
  if not (path := _value(argv, 'config')):
    return argv
  script, *rest = _without(argv, 'config')
  return [script, f'--config={path}', *rest]


def _with_workdir(argv, workdir: Path) -> str:
  """The same command with another --workdir, to be pasted into a shell."""
  python = Path(sys.executable)
  if shutil.which('python') == sys.executable:
    python = 'python'
  elif python.is_relative_to(Path.cwd()):
    python = python.relative_to(Path.cwd())
  return shlex.join([str(python), *_without(argv, 'workdir'), f'--workdir={workdir}'])


def _print_help(doc: str, argv) -> None:
  """What the command does, its flags, and for train.py the fields of the config that was named."""
  print(doc.strip())
  print('\nFlags:')
  own = [*flags.FLAGS.get_key_flags_for_module(argv[0]), flags.FLAGS['debug']]
  for flag in own:
    default = '' if flag.value is None or flag.value is False else f' (default {flag.value})'
    print(f'  --{flag.name:<20} {" ".join(flag.help.split())}{default}')
  if 'config' in flags.FLAGS:
    _print_fields(argv)


def _print_fields(argv) -> None:
  """Each field with its value in the named config, and its line of help."""
  asked = [argument for argument in argv if argument not in HELP_FLAGS]
  named = _value(asked, 'config')
  values = dict(fields(default()))
  if named:
    _parse(asked)
    values = dict(fields(flags.FLAGS.config))
  print(f'\nConfig fields, with their values in {named or "configs/default.py"}:')
  for field in [*FIELDS, *(field for field in values if field not in FIELDS)]:
    value = values[field]
    shown = ','.join(map(str, value)) if isinstance(value, tuple) else value
    text = f'--config.{field}={shown}'
    print(f'  {text:<46} {FIELDS[field].help if field in FIELDS else ""}')


def _first_line(error: BaseException) -> str:
  return (str(error).strip().splitlines() or ['no reason given'])[0]
