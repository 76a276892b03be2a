"""Several processes that train one run: how they connect, exchange values and fail together.

With one process, all of this costs nothing: it neither waits nor compiles.
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
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from cvae_jax.runtime.errors import InputError, LostProcessError

# Arguments of jax.distributed.initialize, and the variable of each if it has no flag. JAX itself
# reads only the first one.
ENVIRONMENT = {
  'coordinator_address': 'JAX_COORDINATOR_ADDRESS',
  'num_processes': 'JAX_NUM_PROCESSES',
  'process_id': 'JAX_PROCESS_ID',
}
CONNECT_SECONDS = 300  # for all processes to connect; JAX's default
NOTICE_SECONDS = 15  # before a message about the waiting
PARTING_SECONDS = 10  # for the others to fail too, before a failed process ends alone
MESSAGE_BYTES = 1024  # gathered texts are padded to a multiple: JAX compiles once per length


@contextlib.contextmanager
def joined(
  distributed: bool,
  coordinator_address: str | None,
  num_processes: int | None,
  process_id: int | None,
) -> Iterator[None]:
  """Connects this process with the others of a run; enter it before JAX is used.

  Args:
    distributed: whether there are others; if not, nothing is done.
    coordinator_address: HOST:PORT of process 0. None takes this and the two below from the
      environment or from the cluster that JAX detects.
    num_processes: of the run.
    process_id: of this process, from 0.

  Raises:
    InputError: an argument is missing or wrong, or not all processes connected.
    LostProcessError: the connection to another process broke.
  """
  given = dict(zip(ENVIRONMENT, (coordinator_address, num_processes, process_id), strict=True))
  if not distributed:
    if surplus := [name for name, value in given.items() if value is not None]:
      raise InputError(f'--{surplus[0]} needs --distributed: add that, or leave it out.')
    yield
    return
  _connect(given)
  try:
    _keep_stdout_to_process_0()
    _check_same_device_counts()
    yield
  except Exception as error:
    if is_of_connection(error):
      raise LostProcessError(
        'The connection to another process broke or timed out; its last lines say why. If it was '
        'still decoding pictures or downloading, do that first: start once without --distributed, '
        f'up to its first step ({" ".join(str(error).split())[:300]}).'
      ) from error
    # If all failed, they shut down together: otherwise JAX aborts the others with a page of text.
    # A process that failed alone does not wait for long.
    with contextlib.suppress(Exception):
      within(PARTING_SECONDS, jax.distributed.shutdown)
    raise


def is_of_connection(error: Exception) -> bool:
  """Whether the network between the processes failed: Gloo connects CPUs, NCCL GPUs."""
  return isinstance(error, jax.errors.JaxRuntimeError) and bool(
    re.search('gloo|nccl', str(error), re.IGNORECASE)
  )


def _connect(given: dict[str, Any]) -> None:
  for name, variable in ENVIRONMENT.items():
    if given[name] is None and (text := os.environ.get(variable)):
      is_number = name != 'coordinator_address'
      if is_number and not text.isdecimal():
        raise InputError(f'{variable}={text!r} is not an integer, 0 or more.')
      given[name] = int(text) if is_number else text
  _check(**given)
  # Nothing here uses its notices, and it would keep SIGTERM from ending a process.
  jax.config.update('jax_enable_preemption_service', False)
  place = given['coordinator_address'] or 'the address given by the cluster'
  waiting = f'Waiting for the other processes at {place} ...'
  notice = threading.Timer(NOTICE_SECONDS, print, [waiting], {'file': sys.stderr, 'flush': True})
  notice.start()
  # JAX aborts the process at its own time-out, so that one must come later.
  initialize = partial(
    jax.distributed.initialize, **given, initialization_timeout=2 * CONNECT_SECONDS
  )
  try:
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')  # of clusters that JAX knows but cannot query
      in_time = within(CONNECT_SECONDS, initialize)
  except Exception as error:
    missing = [name for name, value in given.items() if value is None]
    if isinstance(error, ValueError) and missing:
      flags = ', '.join(f'--{name}' for name in missing)
      variables = ', '.join(ENVIRONMENT[name] for name in missing)
      raise InputError(
        f'--distributed needs {flags} (or the variables {variables}): JAX finds no SLURM, Open MPI '
        'or cloud TPU job here.'
      ) from error
    raise InputError(f'The processes cannot connect: {" ".join(str(error).split())}') from error
  finally:
    notice.cancel()
  if not in_time:
    raise InputError(
      f'Not all processes connected to {place} within {CONNECT_SECONDS} s. Start all of them with '
      'the same --coordinator_address and --num_processes, and with --process_id from 0 on.'
    )


def _check(coordinator_address, num_processes, process_id):
  """Raises InputError for arguments with which JAX would crash."""
  if coordinator_address is not None:
    match = re.fullmatch(r'[^/\s]+:([0-9]{1,5})', coordinator_address)
    if not match or not 0 < int(match[1]) < 65536:
      raise InputError(
        f'coordinator_address={coordinator_address!r} is not HOST:PORT, e.g. 10.0.0.1:1234 or '
        '127.0.0.1:1234.'
      )
    if process_id == 0:
      try:
        socket.create_server(('', int(match[1]))).close()
      except OSError as error:
        raise InputError(
          f'Process 0 cannot listen at {coordinator_address} ({error.strerror}): give all '
          'processes another port, and --process_id=0 only to one.'
        ) from error
  if None not in (num_processes, process_id) and process_id >= num_processes:
    raise InputError(
      f'process_id={process_id} is not from 0 to {num_processes - 1}: num_processes is '
      f'{num_processes}.'
    )


def within(seconds: float, action: Callable[[], None]) -> bool:
  """Runs `action` in a thread, as nothing can interrupt JAX or a socket while it waits.

  Returns:
    Whether `action` ended in time. What it raises is raised here.
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
  """Only process 0 prints, and without the messages of Gloo, which writes to the descriptor."""
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
      f'The processes have different numbers of devices ({listed}): a batch is split evenly, so '
      'give each the same number.'
    )


def is_main() -> bool:
  """Whether this is process 0, which writes and prints."""
  return jax.process_index() == 0


def gather(value: Any) -> list[Any]:
  """The values of all processes, which JSON must be able to hold, in order; all must call it."""
  if jax.process_count() == 1:
    return [value]
  text = np.frombuffer(json.dumps(value).encode(), np.uint8)
  lengths = multihost_utils.process_allgather(np.int32(len(text)))
  padded = np.zeros(-(-int(lengths.max()) // MESSAGE_BYTES) * MESSAGE_BYTES, np.uint8)
  padded[: len(text)] = text
  rows = multihost_utils.process_allgather(padded)
  return [json.loads(bytes(row[:length])) for row, length in zip(rows, lengths, strict=True)]


def from_main(value: Any) -> Any:
  """The value of process 0, on all processes; JSON must be able to hold it."""
  return gather(value if is_main() else None)[0]


def check_same(values: Mapping[str, Any]) -> None:
  """Raises InputError on all processes if their values, by names that a user knows, differ."""
  first, *others = gather(dict(values))
  for number, other in enumerate(others, start=1):
    for name in first | other:
      if first.get(name) != other.get(name):
        raise InputError(
          f'{name} is {first.get(name)!r} in process 0, {other.get(name)!r} in process {number}: '
          'start all with the same data and the same command, except for --process_id.'
        )


@contextlib.contextmanager
def together() -> Iterator[None]:
  """A block that all processes leave together; if it fails on one, it fails on all.

  Processes must not wait for each other inside the block.

  Raises:
    InputError: another process failed; a process that failed itself raises its own error.
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


def main_first(action: Callable[[], Any]) -> Any:
  """Runs `action` on process 0, then on the others: they find what it downloaded or decoded."""
  result = None
  for turn in (True, False):
    with together():
      if is_main() == turn:
        result = action()
  return result
