"""Measures on an accelerator what it has time for, and goes on there when it is called again.

  python -m benchmarks.accelerator --minutes 9 --data_dir data --out DIR
  python -m benchmarks.accelerator --rehearse --out DIR    the same on a CPU, tiny, in 5 minutes
  python -m benchmarks.accelerator --print-wheels          what pip must bring to a bare machine

The most valuable comes first: that the device computes what a CPU does, speed beside PyTorch, 50
epochs of MNIST as a command, sweeps, the IWAE bound, then whole trainings. After each piece DIR
holds report.md, results.json, log.txt, and runs as archives: at most 8 files of less than 16 MiB.
A later call with the same DIR skips what is done and resumes the trainings. unfinished.tar.gz.* is
needed for that, finished.tar.gz.* is not.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import alternate, machine, made_images
from benchmarks.accelerator import archive, pieces, plan, report
from benchmarks.accelerator.plan import Piece
from cvae_jax.runtime import paths

# Requirements that a machine with jax, flax, optax, orbax-checkpoint, PyTorch and scikit-image may
# lack. TensorFlow is not among them: it is for TensorBoard and for downloads alone.
WHEELS = ('clu', 'dm-pix', 'ml-collections')
# Kept back from --minutes: a process is asked to end, may write a checkpoint, and is packed.
GRACE_SECONDS = 10.0
END_SECONDS = 10.0
MAX_LINE = 300  # characters of an error
READING_SECONDS = 1.0  # between two readings of the memory in use
# How many parts of an archive.PART_BYTES there may be, besides the three other files.
UNFINISHED_PARTS, FINISHED_PARTS = 3, 2
MISTAKE = 2  # exit status of the commands for a mistake in what was given, e.g. missing data


def wheels() -> list[str]:
  """The lines of requirements.txt that name WHEELS."""
  lines = (alternate.ROOT / 'requirements.txt').read_text(encoding='utf-8').splitlines()
  return [line for line in lines if line.startswith(tuple(f'{name}>' for name in WHEELS))]


class Session:
  """One call: its folder, its pieces, and what is known of them."""

  def __init__(self, out: Path, work: Path, listed: Sequence[Piece], device: str):
    """Reads what earlier calls have left in `out`, and unpacks their unfinished runs."""
    self._out, self._work, self._pieces = out, work, listed
    self._path, self._log = out / 'results.json', out / 'log.txt'
    self._device, self._machine = device, machine.describe(device)
    self._refused: set[str] = set()  # ended with MISTAKE: of no use before that is mended
    self.records: dict[str, dict[str, Any]] = {}
    if self._path.is_file():
      content = json.loads(self._path.read_text(encoding='utf-8'))
      if content['device'] != device:
        sys.exit(f'{out} holds results of a {content["device"]}: name another folder with --out.')
      self.records = content['pieces']
    try:
      archive.unpack(archive.read(out, 'unfinished'), work / 'runs')
    except (OSError, tarfile.TarError, EOFError, zlib.error) as error:
      print(f'The unfinished runs in {out} cannot be read ({error}): they begin anew.', flush=True)

  def next(self, seconds_left: float) -> Piece | None:
    """The piece to run now; None where nothing fits."""
    possible = [piece for piece in self._pieces if piece.name not in self._refused]
    return plan.choose(possible, self.records, seconds_left)

  def run(self, piece: Piece, seconds_left: float) -> None:
    """Runs one piece within the seconds that are left, and writes what is known then."""
    record = self.records.get(piece.name, {})
    limit = plan.seconds_allowed(piece, record, seconds_left)
    print(f'{piece.name}: at most {limit:.0f} s', flush=True)
    began = time.monotonic()
    status, last_line, peak_mib = self._process(piece, limit)
    seconds, was_ended = time.monotonic() - began, status is None
    if status == MISTAKE:
      self._refused.add(piece.name)
    result, error = None, f'ended after {limit:.0f} s' if was_ended else last_line
    with contextlib.suppress(OSError, KeyError, ValueError):
      result = piece.read()
    is_out_of_time = was_ended and limit >= seconds_left
    record = plan.after(record, seconds, result, error, is_out_of_time)
    record |= {'machine': self._machine, 'peak_mib': peak_mib or record.get('peak_mib')}
    self.records[piece.name] = record
    note = f': {record["error"]}' if 'error' in record else ''
    print(f'{piece.name}: {record["status"]} after {seconds:.0f} s{note}', flush=True)
    if piece.is_resumable and record.get('result'):
      self._pack(piece, record)
    self.write()

  def _process(self, piece: Piece, limit: float) -> tuple[int | None, str, int | None]:
    """Runs the process: its status, None where it had to be ended; its last line; peak MiB."""
    folder = piece.folder or alternate.ROOT
    folder.mkdir(parents=True, exist_ok=True)
    peak, was_ended = None, False
    with open(self._log, 'ab') as log:
      log.write(f'\n=== {piece.name}\n'.encode())
      log.flush()
      begin = log.tell()
      process = subprocess.Popen(
        [sys.executable, *piece.command(limit)],
        cwd=folder,
        env=os.environ | piece.environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
      )
      ends = time.monotonic() + limit
      try:
        while process.poll() is None and not was_ended:
          with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, min(READING_SECONDS, ends - time.monotonic())))
          peak = max((mib for mib in (peak, self._memory_in_use()) if mib), default=None)
          was_ended = process.poll() is None and time.monotonic() >= ends
        if was_ended:  # train.py writes a checkpoint then
          _signal_group(process, signal.SIGTERM)
          with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)
      finally:
        _signal_group(process, signal.SIGKILL)
        process.wait()
    with open(self._log, 'rb') as log:
      log.seek(begin)
      lines = log.read().decode(errors='replace').split('\n')
    last = next((line.strip() for line in reversed(lines) if line.strip()), 'it printed nothing')
    return None if was_ended else process.returncode, last[:MAX_LINE], peak

  def _memory_in_use(self) -> int | None:
    """MiB of the GPU's memory; processes take it as they need it, so the highest is the peak."""
    if self._device != 'gpu':
      return None
    query = ['nvidia-smi', '--query-gpu=memory.used', '--format=csv,noheader,nounits']
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    return max(map(int, done.stdout.split()), default=None) if done.returncode == 0 else None

  def _pack(self, piece: Piece, record: dict[str, Any]) -> None:
    """Puts the run that has moved on into the archives."""
    runs = self._work / 'runs'
    run = runs / piece.name.removeprefix('train_')
    if record['status'] == plan.DONE:
      content = archive.read(self._out, 'finished')
      content += archive.packed(run, record['result']['best_step'])
      if not archive.write(self._out, 'finished', content, FINISHED_PARTS):
        record['error'] = 'its weights are left out: move finished.tar.gz.* elsewhere before'
    unfinished = b''.join(
      archive.packed(folder)
      for one in self._pieces
      if self.records.get(one.name, {}).get('status') == plan.UNFINISHED
      and (folder := runs / one.name.removeprefix('train_')).is_dir()
    )
    if not archive.write(self._out, 'unfinished', unfinished, UNFINISHED_PARTS):
      record['error'] = 'its checkpoint is too large to be carried: a later call begins it anew'

  def write(self) -> None:
    """Writes results.json and report.md."""
    content = {'device': self._device, 'pieces': self.records}
    paths.write(self._path, json.dumps(content, indent=1) + '\n')
    paths.write(self._out / 'report.md', report.markdown(self._pieces, self.records))


def _signal_group(process: subprocess.Popen, number: int) -> None:
  """Signals a process and those it has started, as far as they are still there."""
  with contextlib.suppress(ProcessLookupError):
    os.killpg(process.pid, number)


def _flags() -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog='python -m benchmarks.accelerator',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument('--minutes', type=float, help='the call ends within them; default 9, or 5')
  parser.add_argument('--out', type=Path, help='folder for the results, and of earlier ones')
  parser.add_argument(
    '--data_dir', type=Path, default=Path('data'), help='holds mnist/, ...; default data'
  )
  parser.add_argument('--rehearse', action='store_true', help='on a CPU, with tiny problems')
  parser.add_argument(
    '--print-wheels', action='store_true', help='print the requirements that a machine may lack'
  )
  flags = parser.parse_args()
  if not flags.print_wheels and flags.out is None:
    parser.error('--out is missing: name a folder for the results')
  if flags.minutes is None:
    flags.minutes = 5.0 if flags.rehearse else 9.0
  if not 1 <= flags.minutes <= 24 * 60:
    parser.error(f'--minutes {flags.minutes:g}: expected 1 to {24 * 60}')
  return flags


def main() -> None:
  """Reads the flags and runs pieces until nothing fits into the time left."""
  began, flags = time.monotonic(), _flags()
  if flags.print_wheels:
    print('\n'.join(wheels()))
    return
  sizes = pieces.REHEARSAL if flags.rehearse else pieces.ACCELERATOR
  machine.require(sizes.device)
  if not flags.rehearse and not flags.data_dir.is_dir():
    sys.exit(f'--data_dir {flags.data_dir}: no such folder. Name the one that holds mnist/, ...')
  out, deadline = flags.out.absolute(), began + 60 * flags.minutes - END_SECONDS - GRACE_SECONDS
  out.mkdir(parents=True, exist_ok=True)
  signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
  with tempfile.TemporaryDirectory(prefix='accelerator-') as folder:
    work, data_dir = Path(folder), flags.data_dir.absolute()
    if flags.rehearse:
      data_dir = tiny_data(work / 'data')
    listed = pieces.build(sizes, data_dir, work, pieces.trainable(data_dir))
    session = Session(out, work, listed, sizes.device)
    session.write()
    while piece := session.next(deadline - time.monotonic()):
      session.run(piece, deadline - time.monotonic())
  print((out / 'report.md').read_text(encoding='utf-8'))


def tiny_data(folder: Path) -> Path:
  """Makes random images as MNIST and Fashion-MNIST; the other data sets are missing."""
  for name in ('mnist', 'fashion_mnist'):
    (folder / name).mkdir(parents=True)
    made_images.write(folder / name, 5_200, num_test=433)  # the shipped mnist holds out 5,000
  return folder


if __name__ == '__main__':
  main()
