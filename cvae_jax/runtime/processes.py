"""Several processes that train one run together: how they meet, agree, and part.

With one process, which is what there is unless `joined` was asked for more, all of this costs
nothing: nobody is waited for, and nothing is compiled.
"""

import contextlib
import json
import os
import re
import socket
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from cvae_jax.runtime.errors import InputError, LostProcessError

# Of jax.distributed.initialize's arguments, those that --distributed takes, and where each is
# looked for if there is no flag. JAX itself reads only the first of these.
ENVIRONMENT = {
  'coordinator_address': 'JAX_COORDINATOR_ADDRESS',
  'num_processes': 'JAX_NUM_PROCESSES',
  'process_id': 'JAX_PROCESS_ID',
}
MEETING_SECONDS = 300  # for all processes to come; what JAX gives them
NOTICE_SECONDS = 15  # of silence before a word about the waiting
PARTING_SECONDS = 10  # for the others to fail too, before a process that failed ends alone
MESSAGE_BYTES = 1024  # gathered texts are padded to a multiple: each length is a program to compile

Value = TypeVar('Value')


@contextlib.contextmanager
def joined(
  distributed: bool,
  coordinator_address: str | None,
  num_processes: int | None,
  process_id: int | None,
) -> Iterator[None]:
  """Inside the block, this process is one of several; to be entered before JAX is first used.

  Args:
    distributed: whether it is; if not, nothing is done.
    coordinator_address: HOST:PORT of process 0; with the two below from the environment, or from
      the cluster that JAX finds itself in, where None.
    num_processes: how many there are.
    process_id: this one's number, from 0.

  Raises:
    InputError: something is missing or cannot be, or not all processes came.
    LostProcessError: another process has gone.
  """
  given = dict(zip(ENVIRONMENT, (coordinator_address, num_processes, process_id), strict=True))
  if not distributed:
    if surplus := [name for name, value in given.items() if value is not None]:
      raise InputError(
        f'--{surplus[0]} says how several processes find each other: give it together with '
        '--distributed, or leave it out.'
      )
    yield
    return
  _meet(given)
  try:
    _keep_stdout_to_process_0()
    _check_same_device_counts()
    yield
  except Exception as error:
    # Gloo connects CPUs, NCCL GPUs; both name themselves when a connection breaks.
    if is_of_connection(error):
      raise LostProcessError(
        'The connection to another process broke, or that one let the others wait for too long: '
        'what it said last tells why. If it was still reading pictures or downloading, let it do '
        'so alone first, with --smoke and without --distributed '
        f'({" ".join(str(error).split())[:300]}).'
      ) from error
    # Together if all failed together, or JAX would have those that are left abort with a page of
    # text; a process that failed alone does not wait for long.
    with contextlib.suppress(Exception):
      _within(PARTING_SECONDS, jax.distributed.shutdown)
    raise


def is_of_connection(error: Exception) -> bool:
  """Whether the network between the processes is what failed."""
  return isinstance(error, jax.errors.JaxRuntimeError) and bool(
    re.search('gloo|nccl', str(error), re.IGNORECASE)
  )


def _meet(given: dict[str, Any]) -> None:
  given = {name: _from_environment(name) if v is None else v for name, v in given.items()}
  _check(**given)
  # Not Orbax nor anything else here acts on its notices, and with it SIGTERM ends no process.
  jax.config.update('jax_enable_preemption_service', False)
  place = given['coordinator_address'] or 'the address that the cluster gave'
  notice = threading.Timer(
    NOTICE_SECONDS,
    lambda: print(f'Waiting for the other processes at {place} ...', file=sys.stderr, flush=True),
  )
  notice.start()
  try:
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')  # of clusters that JAX knows but cannot ask
      # JAX aborts the process at its own time-out, which therefore comes later than ours.
      done = _within(
        MEETING_SECONDS,
        lambda: jax.distributed.initialize(**given, initialization_timeout=2 * MEETING_SECONDS),
      )
  except Exception as error:
    missing = [name for name, value in given.items() if value is None]
    if isinstance(error, ValueError) and missing:
      flags = ', '.join(f'--{name}' for name in missing)
      variables = ', '.join(ENVIRONMENT[name] for name in missing)
      raise InputError(
        f'--distributed needs {flags} (or {variables} in the environment): JAX finds no SLURM, '
        'Open MPI or cloud TPU job here to learn it from.'
      ) from error
    raise InputError(f'The processes cannot meet: {" ".join(str(error).split())}') from error
  finally:
    notice.cancel()
  if not done:
    raise InputError(
      f'The processes did not meet at {place} within {MEETING_SECONDS} s. Start all of them, with '
      'the same --coordinator_address and --num_processes, and --process_id from 0 on.'
    )


def _from_environment(name: str):
  text = os.environ.get(ENVIRONMENT[name])
  if not text or name == 'coordinator_address':
    return text or None
  if not (text.isascii() and text.isdigit()):
    raise InputError(f'{ENVIRONMENT[name]}={text!r} is not an integer, 0 or more.')
  return int(text)


def _check(
  coordinator_address: str | None, num_processes: int | None, process_id: int | None
) -> None:
  """Raises InputError for what JAX would answer with a traceback or a crash."""
  if coordinator_address is not None:
    host, _, port = coordinator_address.rpartition(':')
    is_host = bool(host) and not re.search(r'[/\s]', host)
    if not is_host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
      raise InputError(
        f'coordinator_address={coordinator_address!r} is not HOST:PORT, e.g. 10.0.0.1:1234 or '
        '127.0.0.1:1234.'
      )
    if process_id == 0:
      _check_free(coordinator_address)
  if None not in (num_processes, process_id) and process_id >= num_processes:
    raise InputError(
      f'process_id={process_id} is not one of {num_processes} processes: expected 0 to '
      f'{num_processes - 1}.'
    )


def _check_free(address: str) -> None:
  try:
    socket.create_server(('', int(address.rpartition(':')[2]))).close()
  except OSError as error:
    raise InputError(
      f'Process 0 cannot listen at {address} ({error.strerror}): choose another port, and give it '
      'to all processes. Only one of them has --process_id=0.'
    ) from error


def _within(seconds: float, action: Callable[[], None]) -> bool:
  """Whether `action` ended in time; what it raises is raised here.

  In a thread, for neither Ctrl-C nor a time-out of ours would end JAX's waiting.
  """
  failures = []

  def run():
    try:
      action()
    except Exception as error:
      failures.append(error)

  thread = threading.Thread(target=run, daemon=True)
  thread.start()
  thread.join(seconds)
  if failures:
    raise failures[0]
  return not thread.is_alive()


def _keep_stdout_to_process_0() -> None:
  """What is printed is printed once; Gloo, which counts its connections there, is not heard."""
  nowhere = os.open(os.devnull, os.O_WRONLY)
  sys.stdout.flush()
  shown = os.dup(sys.stdout.fileno()) if is_main() else nowhere
  os.dup2(nowhere, sys.stdout.fileno())
  sys.stdout = open(shown, 'w', encoding=sys.stdout.encoding, errors='replace')  # noqa: SIM115


def _check_same_device_counts() -> None:
  counts = Counter(device.process_index for device in jax.devices())
  if len(set(counts.values())) > 1:
    listed = ', '.join(f'{counts[number]} in process {number}' for number in sorted(counts))
    raise InputError(
      f'The processes see different numbers of devices ({listed}), expected the same in each: a '
      'batch is split evenly.'
    )


def is_main() -> bool:
  """Whether this is process 0, the one that writes and prints."""
  return jax.process_index() == 0


def gather(value: Any) -> list[Any]:
  """The values that all processes bring, in order of their numbers; to be called by all.

  Args:
    value: what JSON can hold.
  """
  if jax.process_count() == 1:
    return [value]
  text = np.frombuffer(json.dumps(value).encode(), np.uint8)
  lengths = multihost_utils.process_allgather(np.int32(len(text)))
  padded = np.zeros(-(-int(lengths.max()) // MESSAGE_BYTES) * MESSAGE_BYTES, np.uint8)
  padded[: len(text)] = text
  rows = multihost_utils.process_allgather(padded)
  return [json.loads(bytes(row[:length])) for row, length in zip(rows, lengths, strict=True)]


def from_main(value: Any) -> Any:
  """Process 0's value, for all to decide alike; JSON must be able to hold it."""
  return gather(value if is_main() else None)[0]


def check_same(values: Mapping[str, Any]) -> None:
  """Raises InputError, on all processes, where they do not bring the same.

  Args:
    values: what JSON can hold, by the names that the user knows them by.
  """
  first, *others = gather(dict(values))
  for number, other in enumerate(others, start=1):
    for name in first | other:
      if first.get(name) != other.get(name):
        raise InputError(
          f'{name} is {first.get(name)!r} in process 0, {other.get(name)!r} in process {number}: '
          'start all processes with the same command and data, but for --process_id.'
        )


@contextlib.contextmanager
def together() -> Iterator[None]:
  """A block that no process leaves before all have come to its end, or that fails on all.

  A process that failed raises its own error, the others what that was. Inside the block processes
  must not wait for each other.

  Raises:
    InputError: another process failed.
  """
  if jax.process_count() == 1:
    yield
    return
  failure = None
  try:
    yield
  except Exception as error:
    failure = error
  messages = gather(failure and (str(failure) or type(failure).__name__))
  if failure is not None:
    raise failure
  for number, message in enumerate(messages):
    if message is not None:
      raise InputError(f'Process {number} stopped: {message}')


def main_first(action: Callable[[], Value]) -> Value:
  """`action()` of every process, after that of process 0.

  So what is downloaded or decoded is so once, and the others find it.
  """
  result = None
  for turn in (True, False):
    with together():
      if is_main() == turn:
        result = action()
  return result
