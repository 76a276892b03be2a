"""What the commands share: flags, help, user modules, one line per error, the exit status."""

import contextlib
import importlib
import os
import re
import shutil
import signal
import sys
import textwrap
import threading
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from absl import flags
from absl import logging as absl_logging

from cvae_jax.config import FIELDS, default, fields, shipped_config, shipped_configs
from cvae_jax.runtime import commands, errors, output, paths
from cvae_jax.runtime.errors import InputError, did_you_mean

# Their exit status is 1, that of other errors of the user 2.
FAILURES = (
  errors.NonFiniteError | errors.LostProcessError | errors.WriteError | errors.FailedRunsError
)
HELP_FLAGS = {'--help', '-h', '-help', '--helpfull', '--helpshort'}
REPEATED = ';\n    repeat this option to specify a list of values'  # the words of absl
MULTIPLE = ('images', 'compare')  # flags that take several values: --images *.png

_DEBUG = flags.DEFINE_bool('debug', False, 'Show the traceback of an error.')
flags.DEFINE_multi_string(
  'import',
  None,
  'A module of your own, imported first: a .py file or a dotted name. Configs can name what it '
  'registers.',
)


def run(main: Callable[[], None], doc: str, interrupted: str = 'Interrupted.') -> None:
  """Parses the flags, runs `main` and ends the process.

  The exit status is 0, 2 for an error of the user, 1 if training failed, 130 after Ctrl-C, 143 if
  training stopped at a SIGTERM.

  Args:
    main: the command; it reads its flags itself.
    doc: the beginning of --help.
    interrupted: the message after Ctrl-C.
  """
  argv = sys.argv = _normalized(sys.argv)  # ml_collections reads it
  sys.path.append('')  # the current folder: train.py itself may be in another one
  output.tolerate_loss()

  once = threading.Lock()

  def interrupt(*_):
    # Without clean-up: the threads of JAX and Orbax would print pages of tracebacks. Files on disk
    # are complete at every moment.
    if not once.acquire(blocking=False):
      return
    with contextlib.suppress(OSError):
      if sys.stdout.isatty():
        os.write(1, b'\x1b[?25h\n')  # show the cursor, hidden by the progress bar
      os.write(2, f'{Path(argv[0]).name}: {interrupted}\n'.encode())
    os._exit(130)

  _on_interrupt(interrupt)
  status = _status(main, doc, argv)
  sys.stdout.flush()
  sys.stderr.flush()
  if status:
    os._exit(status)  # without clean-up, as above: the error is the last line
  sys.exit(0)


def _on_interrupt(interrupt: Callable[..., None]) -> None:
  """Calls `interrupt` at once after Ctrl-C, unless another handler has taken its place.

  Python calls a handler in the main thread alone, and not before a compilation there has ended.
  """
  signal.signal(signal.SIGINT, interrupt)
  reader, writer = os.pipe()
  os.set_blocking(writer, False)
  signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

  def watch():
    while number := os.read(reader, 1):
      if number[0] == signal.SIGINT and signal.getsignal(signal.SIGINT) is interrupt:
        interrupt()

  threading.Thread(target=watch, daemon=True).start()


def check_alone(modes: Mapping[str, Sequence[str]]) -> flags.FlagValues:
  """Returns all flags, if at most one of several modes is given, without flags that it ignores.

  Args:
    modes: maps the flag of a mode to the flags that it ignores.

  Raises:
    InputError: two modes are given, or a mode with a flag that it ignores.
  """
  given = [name for name in modes if flags.FLAGS[name].value not in (None, False)]
  if len(given) > 1:
    raise InputError(f'{" and ".join(f"--{name}" for name in given)} exclude each other.')
  for mode in given:
    for name in modes[mode]:
      if flags.FLAGS[name].present:
        raise InputError(f'--{mode} does not use --{name}: leave it out.')
  return flags.FLAGS


def _status(main, doc, argv) -> int:
  """Runs the command and prints its error; returns its exit status."""
  absl_logging.set_verbosity(absl_logging.FATAL)  # no log lines of Orbax and JAX
  # After a failed read, Orbax's other reads fail later, where nothing can catch their errors.
  sys.unraisablehook = lambda _: None
  script = Path(argv[0]).name
  try:
    _import_modules(argv)
    if set(argv[1:]) & HELP_FLAGS:
      _print_help(main, doc, argv)
    else:
      _parse(argv)
      main()
  except errors.StoppedError as stop:
    print(f'{script}: {stop}', file=sys.stderr)
    return stop.status
  except Exception as error:
    message = _message(error, argv)
    if message is None or (_DEBUG.value if flags.FLAGS.is_parsed() else '--debug' in argv):
      traceback.print_exc()
    if message is None:
      return 1
    print(f'{script}: {" ".join(message.splitlines())}', file=sys.stderr)
    return 1 if isinstance(error, FAILURES) else 2
  return 0


def _message(error: Exception, argv) -> str | None:
  """The message for the user; None for a bug of this package, which shows its traceback."""
  if isinstance(error, errors.OccupiedError):
    places = {'workdir': error.free_workdir}
    if error.resume_from:
      places['resume_from'] = error.resume_from
    return f'{error} Choose a free folder: {_with_places(argv, places)}'
  if isinstance(error, InputError | FAILURES):
    return str(error)
  if isinstance(error, OSError) and error.strerror:
    place = f'{str(error.filename)[:100]}: ' if error.filename else 'Writing failed: '
    return f'{place}{error.strerror}.'
  if errors.is_of_backend(error):
    given = os.environ.get('JAX_PLATFORMS', '')
    return (
      f'JAX cannot start with JAX_PLATFORMS={given!r} ({_first_line(error)[:150]}). Install what '
      "it needs, e.g. pip install 'jax[cuda13]', or set JAX_PLATFORMS=cpu."
    )
  if errors.is_of_jax_settings(error):
    return f'JAX refuses a variable of the environment ({_first_line(error)}). Correct or unset it.'
  if isinstance(error, OSError):  # a library's, e.g. Matplotlib's without any folder to write to
    return ' '.join(str(error).split())
  if errors.is_out_of_memory(error):
    return f'Out of memory: {_first_line(error)[:150]}. Choose a smaller batch or model.'
  return None


def _import_modules(argv) -> None:
  """Imports the modules of --import, before the config file is read and checked."""
  for name in _values(argv, 'import'):
    try:
      path = paths.from_user(name) if name.endswith('.py') else None
      if path:
        sys.path.append(str(path.parent))
      module = importlib.import_module(path.stem if path else name)
      if path and not path.samefile(getattr(module, '__file__', None) or os.devnull):
        raise ImportError(f'{path.stem!r} is already the name of another module. Rename the file')
    except (Exception, SystemExit) as error:
      advice = ''
      if isinstance(error, ImportError | OSError):
        advice = ' Give a .py file, or a module that Python finds from the current folder.'
      raise InputError(f'--import={name!r} fails: {_described(error)}.{advice}') from error


def _parse(argv) -> None:
  """Sets the flags; raises InputError for any mistake in them."""
  path = ''.join(_values(argv, 'config'))  # one at most
  if path:
    # What follows a colon is the argument of get_config.
    if not (file := paths.from_user(path.partition(':')[0])).is_file():
      reason = 'is not a file' if file.exists() else 'does not exist'
      known = [*shipped_configs(), *map(str, sorted(Path('configs').glob('*.py')))]
      raise InputError(
        f'Config file {path!r} {reason}.{did_you_mean(path, known)} Give a file, or one of these '
        f'names: {", ".join(shipped_configs())}.'
      )
  elif 'config' in flags.FLAGS:
    raise InputError('--config is missing: name an experiment, e.g. --config digits.')
  try:
    with warnings.catch_warnings():  # ml_collections loads the file in a way that Python deprecates
      warnings.simplefilter('ignore', DeprecationWarning)
      rest = flags.FLAGS(argv)
  except flags.Error as error:
    message = ' '.join(str(error).split())
    if 'Error whilst parsing config file' in message:  # with the traceback, whose end is the error
      message = f'Config file {path!r} fails: {str(error).strip().splitlines()[-1]}'
    match = re.match(r'flag --config\.([\w.]+)=(.*?): ', str(error), re.DOTALL)
    if match and match[1] in FIELDS:
      message = f'{match[1]}={match[2]!r} is not {FIELDS[match[1]].rule.expected}.'
    raise InputError(message) from error
  except (Exception, SystemExit) as error:  # of the config file, or ml_collections at a wrong field
    matches = (re.match(r'--?(?:no)?config\.([\w.]+)', argument) for argument in argv[1:])
    unknown = (match[1] for match in matches if match and match[1] not in FIELDS)
    if field := next(unknown, None):
      hint = did_you_mean(field, FIELDS) or ' If a module of yours adds it, give it with --import.'
      message = f'Unknown config field {field!r}.{hint}'
    else:
      message = f'Config file {path!r} fails: {_described(error)}.'
    raise InputError(message) from error
  if len(rest) > 1:
    raise InputError(f'Unexpected argument {rest[1]!r}: flags begin with --, see --help.')


def _normalized(argv) -> list[str]:
  """The command line as absl and ml_collections need it, each flag and its value in one word."""
  groups = []  # [['train.py'], ['--workdir', 'x'], ['--smoke']]
  for word in argv:
    if word.startswith('-') or not groups:
      groups.append([word])
    else:
      groups[-1].append(word)
  normalized = groups[0]
  for flag, *values in groups[1:]:
    name = flag.lstrip('-')
    if name in MULTIPLE:
      normalized += [f'--{name}={value}' for value in values or ['']]
    elif name == 'find_batch_size' and not values:
      normalized.append(f'{flag}=power')
    elif '=' in flag or flag in HELP_FLAGS or (name in flags.FLAGS and flags.FLAGS[name].boolean):
      normalized += [flag, *values]
    else:
      normalized += ['='.join([flag, *values[:1]]), *values[1:]]
  # ml_collections appends one tuple to another; of any other flag the last value counts.
  for field, (value, *_) in FIELDS.items():
    if isinstance(value, tuple) and (texts := _values(normalized, f'config.{field}')):
      normalized = [*_without(normalized, f'config.{field}'), f'--config.{field}={texts[-1]}']
  if given := _values(normalized, 'config'):  # it accepts fields only after --config
    script, *rest = _without(normalized, 'config')
    name, colon, argument = given[-1].partition(':')
    file = shipped_config(name) if name in shipped_configs() and not Path(name).is_file() else name
    normalized = [script, f'--config={file}{colon}{argument}', *rest]
  return normalized


def _values(argv, flag: str) -> list[str]:
  return [word.partition('=')[2] for word in argv if word.lstrip('-').startswith(f'{flag}=')]


def _without(argv, flag: str) -> list[str]:
  return [word for word in argv if not word.lstrip('-').startswith(f'{flag}=')]


def _with_places(argv, places: Mapping[str, Path]) -> str:
  """The same command with other values of these flags, as text for a shell."""
  python = Path(sys.executable)
  if shutil.which('python') == sys.executable:
    python = 'python'
  elif python.is_relative_to(Path.cwd()):
    python = python.relative_to(Path.cwd())
  for flag in places:
    argv = _without(argv, flag)
  names = {f'--config={shipped_config(name)}': f'--config={name}' for name in shipped_configs()}
  argv = [names.get(word, word) for word in argv]
  words = [python, *commands.called(argv), *(f'--{flag}={path}' for flag, path in places.items())]
  return ' '.join(map(paths.quoted, words))


def _print_help(main, doc: str, argv) -> None:
  """Prints what the command does, its flags and, for train.py, the fields of the config."""
  doc = (doc or '').strip()  # python -OO has no docstrings
  for name in ('train', 'evaluate', 'sample', 'export'):
    doc = doc.replace(f'python {name}.py', commands.of(name))
  print(doc)
  print('\nFlags:')
  module = argv[0] if main.__module__ == '__main__' else main.__module__  # as absl names it
  own = flags.FLAGS.get_key_flags_for_module(module)
  for flag in [*own, flags.FLAGS['import'], flags.FLAGS['debug']]:
    text = flag.help.replace(REPEATED, ' Can be repeated.')
    value = '' if flag.value is None or flag.value is False else f' (default {flag.value})'
    line = f'  --{flag.name:<20} {text}{value}'
    print(textwrap.fill(line, 100, subsequent_indent=' ' * 25))
  if 'config' not in flags.FLAGS:
    return
  rest = [argument for argument in argv if argument not in HELP_FLAGS]
  path = ''.join(_values(rest, 'config'))
  if path:
    _parse(rest)
  values = dict(fields(flags.FLAGS.config if path else default()))
  print(f'\nConfig fields, with their values in {path or "configs/default.py"}:')
  for field in sorted(values, key=[*FIELDS, *values].index):
    value = values[field]
    shown = ','.join(map(str, value)) if isinstance(value, tuple) else value
    text = f'--config.{field}={shown}'
    print(f'  {text:<46} {FIELDS[field].help if field in FIELDS else ""}')


def _described(error: BaseException) -> str:
  return f'{type(error).__name__}: {_first_line(error).removesuffix(".")}'


def _first_line(error: BaseException) -> str:
  return (str(error).strip().splitlines() or ['no reason given'])[0]
