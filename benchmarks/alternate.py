"""Measures contenders in turns, so that disturbances of the machine affect all of them alike."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]


class Worker:
  """A process of benchmarks/worker.py; it computes on request."""

  def __init__(self, contender: dict):
    self._errors = tempfile.TemporaryFile('w+')  # noqa: SIM115 (closed by `close`)
    self._process = subprocess.Popen(
      [sys.executable, '-m', 'benchmarks.worker', json.dumps(contender)],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=self._errors,
      text=True,
      cwd=ROOT,
      env=os.environ | contender['environment'],
    )

  def answer(self) -> dict:
    """Its next message.

    Raises:
      RuntimeError: the process ended; the message is the end of its stderr.
    """
    for line in self._process.stdout:
      if line.startswith('{'):
        return json.loads(line)
    self._errors.seek(0)
    raise RuntimeError(' '.join(self._errors.read().split())[-300:])

  def compute(self, seconds: float) -> dict:
    """Trains for about `seconds`; returns steps, seconds and peak_bytes."""
    print(seconds, file=self._process.stdin, flush=True)
    return self.answer()

  def close(self) -> None:
    """Ends the process."""
    self._process.kill()
    self._process.communicate()
    self._errors.close()


@contextmanager
def workers(contenders: Mapping[str, dict]) -> Iterator[dict]:
  """Starts a worker for each contender in turn; gives name -> (worker, compile seconds).

  A contender that cannot run here is printed with the reason and left out.
  """
  with ExitStack() as stack:
    ready = {}
    for name, contender in contenders.items():
      worker = Worker(contender)
      stack.callback(worker.close)
      try:
        ready[name] = worker, worker.answer()['compile_seconds']
        print(f'  {name}: ready, {ready[name][1]:.1f} s', flush=True)
      except RuntimeError as error:
        print(f'  {name} cannot run: {error}', flush=True)
    yield ready


def measure(contenders: Mapping[str, dict], rounds: int, seconds: float) -> dict[str, dict]:
  """Medians over rounds in which each contender computes for about `seconds`.

  Args:
    contenders: maps names to arguments of benchmarks/worker.py, and `environment`, the variables of
      its process.
    rounds: number of rounds.
    seconds: of each contender in each round.

  Returns:
    name -> images_per_second, ms_per_step, ms_of_rounds, compile_seconds, peak_bytes.
  """
  with workers(contenders) as ready:
    rows = {
      name: {'ms_of_rounds': [], 'compile_seconds': compile_seconds, 'peak_bytes': 0}
      for name, (_, compile_seconds) in ready.items()
    }
    for _ in range(rounds):
      for name, (worker, _) in ready.items():
        if name not in rows:
          continue
        try:
          done = worker.compute(seconds)
        except (RuntimeError, OSError) as error:
          print(f'  {name} has ended: {error}', flush=True)
          del rows[name]
          continue
        rows[name]['ms_of_rounds'].append(1e3 * done['seconds'] / done['steps'])
        rows[name]['peak_bytes'] = max(rows[name]['peak_bytes'], done['peak_bytes'])
  for name, row in rows.items():
    row['ms_per_step'] = statistics.median(row['ms_of_rounds'])
    row['images_per_second'] = 1e3 * contenders[name]['batch_size'] / row['ms_per_step']
  return rows
