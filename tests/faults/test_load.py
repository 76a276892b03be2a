"""A run of very many steps takes no more memory and open files than one of a few."""

import os
import sys
import time
from pathlib import Path

import pytest

from long_run import LongRun, last_step

STEPS = 200_000
RUN = LongRun(
  num_epochs=STEPS // 100,
  tensorflow=True,
  batch_size=1,
  log_every_steps=1_000,
  eval_every_epochs=100,
  checkpoint_every_epochs=100,
)


@pytest.mark.faults
@pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')
def test_200_000_steps_take_no_more_memory_or_files_than_the_first_40_000(tmp_path):
  process, seen = RUN.begin(tmp_path, 'run'), []
  own, page = Path('/proc') / str(process.pid), os.sysconf('SC_PAGE_SIZE')
  while process.poll() is None:
    step = last_step(tmp_path / 'run')
    try:
      pages = int((own / 'statm').read_text().split()[1])
      seen.append((step, pages * page, len(os.listdir(own / 'fd'))))
    except (OSError, IndexError):  # it has just ended
      break
    time.sleep(0.3)
  _, errors = process.communicate()
  assert (process.returncode, errors) == (0, '')
  assert last_step(tmp_path / 'run') == STEPS
  # Without the final pictures and the fitted prior.
  steady = [entry for entry in seen if 20_000 <= entry[0] < STEPS]
  assert len(steady) > 20
  warm = max(memory for step, memory, _ in steady if step <= 40_000)
  assert max(memory for _, memory, _ in steady) < 1.05 * warm
  # The median: a checkpoint may be open.
  usual = sorted(number for _, _, number in steady)[len(steady) // 2]
  last = [number for step, _, number in steady if step > 150_000]
  assert min(last) <= usual <= max(last)
  assert sorted(last)[len(last) // 2] == usual
