"""What the programs of this folder share: flags, and one line for each way to end early."""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from cvae_jax.runtime import commands, errors, output, paths
from cvae_jax.runtime.errors import InputError

MISTAKE = 2  # exit status for a mistake in what was given, as that of the commands
GRACE_SECONDS = 10.0  # in which a process that is asked to end may still write
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_held: list[int] | None = None  # signals that came while `process` starts one


class Stopped(KeyboardInterrupt):
  """A signal asks this program to end; `status` is its exit status."""

  def __init__(self, number: int):
    cause = 'Ctrl-C' if number == signal.SIGINT else signal.Signals(number).name
    super().__init__(f'ended by {cause}')
    self.status = 128 + number


class Parser(argparse.ArgumentParser):
  """Says a mistake in one line."""

  def error(self, message: str):
    """Ends the program."""
    self.exit(MISTAKE, f'{self.prog}: {message}. See --help.\n')


def name() -> str:
  """How this program is called, e.g. `python -m benchmarks.growth`."""
  return ' '.join(['python', *commands.called(sys.argv[:1])]).removesuffix('.__main__')


def parser(doc: str) -> Parser:
  """A parser without flags."""
  return Parser(prog=name(), description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)


def measuring_parser(doc: str, quick: str = '', device: str = 'cpu') -> Parser:
  """A parser for --device (with its default), --output and, if its help is given, --quick."""
  made = parser(doc)
  made.add_argument('--device', choices=('cpu', 'gpu'), default=device, help=f'default {device}')
  if quick:
    made.add_argument('--quick', action='store_true', help=quick)
  made.add_argument('--output', type=path, help='JSON file; default benchmarks/results/*.json')
  return made


def path(text: str) -> Path:
  """The type of a flag that names a file or a folder."""
  if not text:
    raise argparse.ArgumentTypeError('it is empty, expected a path')
  try:
    return paths.from_user(text)
  except InputError as error:
    raise argparse.ArgumentTypeError(str(error).removesuffix('.')) from error


def at_least(low: int) -> Callable[[str], int]:
  """The type of a flag that is an integer of `low` or more."""

  def integer(text: str) -> int:
    if not text.isdecimal() or int(text) < low:
      raise argparse.ArgumentTypeError(f'{text!r} is not an integer of {low} or more')
    return int(text)

  return integer


def check_folder(folder: Path) -> None:
  """Makes a folder that files can be written to; raises InputError where that fails."""
  with paths.writing(folder):
    with contextlib.suppress(FileExistsError):  # if it is a file, the next line says so
      folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()


def check_file(file: Path) -> None:
  """Raises InputError if a file cannot be written."""
  check_folder(file.parent)
  if file.exists():
    with paths.writing(file, 'Name another file.'):
      open(file, 'ab').close()


def run(main: Callable[[], None]) -> None:
  """Runs a program; a mistake of the user, a full disk and a signal get one line.

  SIGINT, SIGTERM and SIGHUP raise `Stopped`, so that what was begun is ended and removed.
  """
  for number in SIGNALS:
    if signal.getsignal(number) != signal.SIG_IGN:  # as nohup does
      signal.signal(number, _stop)
  output.tolerate_loss()  # a closed terminal is no reason to write nothing
  try:
    main()
  except Stopped as stopped:
    _end(stopped, stopped.status)
  except InputError as error:
    _end(error, MISTAKE)
  except OSError as error:
    _end(f'{error.filename}: {error.strerror}' if error.filename else error, 1)
  except Exception as error:
    if not errors.is_of_backend(error):
      raise
    _end(f'JAX cannot start: {" ".join(str(error).split())[:150]}', MISTAKE)


def _stop(number: int, frame) -> None:
  if _held is None:
    raise Stopped(number)
  _held.append(number)


def _end(reason, status: int) -> None:
  print(f'{name()}: {str(reason).removesuffix(".")}.', file=sys.stderr)
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(status)  # Python's own end waits for the threads of JAX, or crashes beside them


@contextlib.contextmanager
def process(
  command: Sequence[str], grace_seconds: float = GRACE_SECONDS, **options
) -> Iterator[subprocess.Popen]:
  """Starts a process; at the end of the block it is asked to end, and all it started is killed.

  Args:
    command: a program and its arguments.
    grace_seconds: in which it may still write; 0 kills it at once.
    **options: of `subprocess.Popen`.
  """
  global _held
  _held = []  # no signal may come between the start and `try`
  try:
    started = subprocess.Popen(command, start_new_session=True, **options)
    try:
      held, _held = _held, None
      if held:
        raise Stopped(held[0])
      yield started
    finally:
      try:
        if grace_seconds and started.poll() is None:
          _signal_group(started, signal.SIGTERM)
          with contextlib.suppress(subprocess.TimeoutExpired):
            started.wait(grace_seconds)
      finally:
        _signal_group(started, signal.SIGKILL)
        started.wait()
  finally:
    _held = None


def _signal_group(started: subprocess.Popen, number: int) -> None:
  with contextlib.suppress(ProcessLookupError):
    os.killpg(started.pid, number)
