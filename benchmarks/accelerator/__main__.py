"""Measures on an accelerator what it has time for, and goes on there when it is called again.

  python -m benchmarks.accelerator --minutes 9 --data_dir data --out DIR
  python -m benchmarks.accelerator --rehearse --out DIR    the same on a CPU, tiny, in 5 minutes
  python -m benchmarks.accelerator --print-wheels          what pip must bring to a bare machine

The most valuable comes first: that the device computes what a CPU does, speed beside PyTorch, 50
epochs of MNIST as a command, sweeps, the IWAE bound, then whole trainings. After each piece DIR
holds report.md, results.json, log.txt, and runs as archives: at most 8 files of less than 16 MiB.
A later call with the same DIR skips what is done, tries again what failed or lacked something, and
resumes the trainings, also those that Ctrl-C or SIGTERM ended. unfinished.tar.gz.* is needed for
that; finished-TIME.tar.gz.*, the runs that one call finished, is not.
"""

import argparse
import contextlib
import json
import math
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import alternate, machine, made_images, program
from benchmarks.accelerator import archive, pieces, plan, report
from benchmarks.accelerator.plan import Piece
from cvae_jax.runtime import paths
from cvae_jax.runtime.errors import InputError

# Requirements that a machine with jax, flax, optax, orbax-checkpoint, PyTorch and scikit-image may
# lack. TensorFlow is not among them: it is for TensorBoard and for downloads alone.
WHEELS = ('clu', 'dm-pix', 'ml-collections')
# Kept back from --minutes: a process is asked to end, may write a checkpoint, and is packed.
END_SECONDS = program.GRACE_SECONDS + 10.0
MAX_LINE = 300  # characters of an error
READING_SECONDS = 1.0  # between two readings of the memory in use
# How many parts of an archive.PART_BYTES there may be, besides the three other files.
UNFINISHED_PARTS, FINISHED_PARTS = 3, 2


def wheels() -> list[str]:
  """The lines of requirements.txt that name WHEELS."""
  lines = (alternate.ROOT / 'requirements.txt').read_text(encoding='utf-8').splitlines()
  return [line for line in lines if line.startswith(tuple(f'{name}>' for name in WHEELS))]


class Session:
  """One call: its folder, its pieces, and what is known of them."""

  def __init__(self, out: Path, work: Path, listed: Sequence[Piece], sizes: pieces.Sizes):
    """Reads what earlier calls have left in `out`, and unpacks their unfinished runs.

    Raises:
      InputError: results.json is damaged, or of another device.
    """
    self._out, self._work, self._pieces, self._sizes = out, work, listed, sizes
    self._path, self._log = out / 'results.json', out / 'log.txt'
    self._machine = machine.describe(sizes.device)
    self._finished = f'finished-{time.strftime("%Y%m%d-%H%M%S")}'  # name of its archive
    self._finished_runs = b''
    self.tried: list[str] = []  # pieces of this call: each is run once
    self.records: dict[str, dict[str, Any]] = self._read_records()
    self._write()
    try:
      archive.unpack(archive.read(out, 'unfinished'), work / 'runs')
    except (OSError, tarfile.TarError, EOFError, zlib.error) as error:
      shutil.rmtree(work / 'runs', ignore_errors=True)
      print(f'The unfinished runs in {out} cannot be read ({error}): they begin anew.', flush=True)

  def _read_records(self) -> dict[str, dict[str, Any]]:
    if not self._path.exists():
      return {}
    try:
      content = json.loads(self._path.read_bytes())
      device, records = content['device'], dict(content['pieces'])
      report.markdown('', self._pieces, records)  # which reads all of them
    except (ValueError, TypeError, LookupError, AttributeError) as error:
      raise InputError(
        f'{self._path} cannot be read ({type(error).__name__}: {error}). Bring back a whole copy; '
        'or delete it, and all begins anew.'
      ) from error
    if device != self._sizes.device:
      raise InputError(f'{self._out} holds results of a {device}: name another folder with --out.')
    return records

  def next(self, seconds_left: float) -> Piece | None:
    """The piece to run now; None where nothing fits."""
    possible = [piece for piece in self._pieces if piece.name not in self.tried]
    return plan.choose(possible, self.records, seconds_left)

  def run(self, piece: Piece, seconds_left: float) -> None:
    """Runs one piece within the seconds that are left, and writes what is known then.

    Raises:
      program.Stopped: a signal ended it; that is written, too.
    """
    self.tried.append(piece.name)
    before = self.records.get(piece.name, {})
    limit = plan.seconds_allowed(piece, before, seconds_left)
    print(f'{piece.name}: at most {limit:.0f} s', flush=True)
    began = time.monotonic()
    ended, last_line, peak_mib = self._process(piece, limit)
    seconds = time.monotonic() - began
    if isinstance(ended, program.Stopped) or (ended is None and limit >= seconds_left):
      status = plan.UNFINISHED
    else:
      status = plan.WAITING if ended == program.MISTAKE else plan.FAILED
    result, error = None, f'ended after {limit:.0f} s' if ended is None else last_line
    with contextlib.suppress(OSError, LookupError, ValueError):
      result = piece.read()
    record = plan.after(before, seconds, result, error, status)
    record |= {'machine': self._machine, 'peak_mib': peak_mib or before.get('peak_mib')}
    self.records[piece.name] = record
    if piece.is_resumable and record['result']:
      self._pack(piece, record)
    self._write()
    note = f': {record["error"]}' if 'error' in record else ''
    print(f'{piece.name}: {record["status"]} after {seconds:.0f} s{note}', flush=True)
    if isinstance(ended, program.Stopped):
      raise ended

  def _process(
    self, piece: Piece, limit: float
  ) -> tuple[int | program.Stopped | None, str, int | None]:
    """Runs the process of a piece.

    Returns:
      its exit status, None if its time was over, or the signal that came meanwhile; its last line;
      the peak in MiB.
    """
    folder = piece.folder or alternate.ROOT
    folder.mkdir(parents=True, exist_ok=True)
    peak, ended = None, None
    with open(self._log, 'ab') as log:
      log.write(f'\n=== {piece.name}\n'.encode())
      log.flush()
      begin = log.tell()
      ends = time.monotonic() + limit
      options = {'stdin': subprocess.DEVNULL, 'stdout': log, 'stderr': subprocess.STDOUT}
      environment = os.environ | piece.environment
      with program.process(
        [sys.executable, *piece.command(limit)], cwd=folder, env=environment, **options
      ) as process:  # train.py, asked to end, writes a checkpoint
        try:
          while ended is None and (left := ends - time.monotonic()) > 0:
            with contextlib.suppress(subprocess.TimeoutExpired):
              ended = process.wait(min(READING_SECONDS, left))
            if self._sizes.device == 'gpu':  # memory is taken as it is needed
              peak = max(peak or 0, machine.memory_in_use() or 0) or None
        except program.Stopped as stopped:
          ended = stopped
    with open(self._log, 'rb') as log:
      log.seek(begin)
      lines = log.read().decode(errors='replace').split('\n')
    last = next((line.strip() for line in reversed(lines) if line.strip()), 'it printed nothing')
    return ended, last[:MAX_LINE], peak

  def _pack(self, piece: Piece, record: dict[str, Any]) -> None:
    """Puts the run that has moved on into the archives."""
    runs = self._work / 'runs'
    if record['status'] == plan.DONE:
      run = runs / piece.name.removeprefix('train_')
      content = self._finished_runs + archive.packed(run, record['result']['best_step'])
      if archive.write(self._out, self._finished, content, FINISHED_PARTS):
        self._finished_runs = content
      else:
        record['error'] = 'its weights are left out: too large'
    unfinished = b''.join(
      archive.packed(folder)
      for one in self._pieces
      if self.records.get(one.name, {}).get('status') == plan.UNFINISHED
      and (folder := runs / one.name.removeprefix('train_')).is_dir()
    )
    if not archive.write(self._out, 'unfinished', unfinished, UNFINISHED_PARTS):
      record['error'] = 'its checkpoint is too large to be carried: a later call begins it anew'

  def _write(self) -> None:
    """Writes results.json and report.md."""
    content = {'device': self._sizes.device, 'pieces': self.records}
    paths.write(self._path, json.dumps(content, indent=1) + '\n')
    text = report.markdown(self._sizes.title, self._pieces, self.records)
    paths.write(self._out / 'report.md', text)

  def summary(self) -> str:
    """How many pieces are in which state, in one line."""
    found = (self.records.get(piece.name, {}).get('status', 'to do') for piece in self._pieces)
    counts = Counter(found)
    done = f'{counts.pop(plan.DONE, 0)} of {len(self._pieces)} pieces are done'
    return ', '.join([done, *(f'{count} {status}' for status, count in counts.items())]) + '.'

  def least_needed(self) -> tuple[float, str] | None:
    """The fewest seconds that a piece needs that is not done, and its name; None if all are."""
    needs = [
      (plan.seconds_needed(piece, record), piece.name)
      for piece in self._pieces
      if (record := self.records.get(piece.name, {})).get('status') != plan.DONE
    ]
    return min(needs, default=None)


def _flags() -> argparse.Namespace:
  parser = program.parser(__doc__)
  parser.add_argument(
    '--minutes',
    type=float,
    metavar='N',
    help='the call ends within this many minutes; default 9, with --rehearse 5',
  )
  parser.add_argument(
    '--out',
    type=program.path,
    metavar='DIR',
    help='folder for the results; one with results of earlier calls is continued',
  )
  parser.add_argument(
    '--data_dir',
    type=program.path,
    metavar='DIR',
    help='folder that holds mnist/, fashion_mnist/, ...; default data, if it is there',
  )
  parser.add_argument(
    '--rehearse', action='store_true', help='run the same list on a CPU with tiny problems'
  )
  parser.add_argument(
    '--print-wheels',
    action='store_true',
    help='print the packages that a machine with JAX and PyTorch may lack, and end',
  )
  flags = parser.parse_args()
  if flags.print_wheels:
    return flags
  if flags.out is None:
    parser.error('--out is missing: name a folder for the results')
  if flags.data_dir and not flags.data_dir.is_dir():
    parser.error(f'--data_dir {flags.data_dir} is no folder: name the one that holds mnist/, ...')
  if flags.minutes is None:
    flags.minutes = 5.0 if flags.rehearse else 9.0
  if not 1 <= flags.minutes <= 24 * 60:
    parser.error(f'--minutes {flags.minutes:g}: expected 1 to {24 * 60}')
  return flags


def main() -> None:
  """Reads the flags and runs pieces until nothing fits; exit status 1 if one of them failed."""
  began, flags = time.monotonic(), _flags()
  if flags.print_wheels:
    print('\n'.join(wheels()))
    return
  sizes = pieces.REHEARSAL if flags.rehearse else pieces.ACCELERATOR
  out, deadline = flags.out.absolute(), began + 60 * flags.minutes - END_SECONDS
  program.check_folder(out)
  machine.require(sizes.device, instead='--rehearse, which needs none')
  machine.require_jax(sizes.device)
  with tempfile.TemporaryDirectory(prefix='accelerator-', ignore_cleanup_errors=True) as folder:
    work, data_dir = Path(folder), (flags.data_dir or Path('data')).absolute()
    if flags.rehearse:
      data_dir = tiny_data(work / 'data')
    listed = pieces.build(sizes, data_dir, work, pieces.trainable(data_dir))
    session = Session(out, work, listed, sizes)
    while piece := session.next(deadline - time.monotonic()):
      session.run(piece, deadline - time.monotonic())
  print((out / 'report.md').read_text(encoding='utf-8'))
  print(session.summary())
  least = session.least_needed()
  if least and not session.tried:
    seconds, name = least
    minutes = math.ceil((seconds + END_SECONDS + time.monotonic() - began) / 60)
    raise InputError(
      f'Nothing fits into --minutes {flags.minutes:g}: {name} needs about {seconds:.0f} s, and '
      f'{END_SECONDS:.0f} s are kept for the end. Give --minutes {minutes} or more.'
    )
  if any(session.records[name]['status'] == plan.FAILED for name in session.tried):
    sys.exit(1)


def tiny_data(folder: Path) -> Path:
  """Makes random images as MNIST and Fashion-MNIST; the other data sets are missing."""
  for name in ('mnist', 'fashion_mnist'):
    (folder / name).mkdir(parents=True)
    made_images.write(folder / name, 5_200, num_test=433)  # the shipped mnist holds out 5,000
  return folder


if __name__ == '__main__':
  program.run(main)
