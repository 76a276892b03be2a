"""Runs the benchmarks of one device: throughput, epoch, roofline and sweep.

python -m benchmarks [--device cpu|gpu] [--quick]
"""

import argparse
import subprocess
import sys

from benchmarks import alternate, machine

NUM_EPOCHS = {'cpu': 3, 'gpu': 50}


def main() -> None:
  """Runs each program; exit status 1 if one of them failed."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--device', choices=('cpu', 'gpu'), default='cpu')
  parser.add_argument('--quick', action='store_true')
  flags = parser.parse_args()
  machine.require(flags.device)
  statuses = []
  for program in ('throughput', 'epoch', 'roofline', 'sweep'):
    command = [sys.executable, '-m', f'benchmarks.{program}', '--device', flags.device]
    command += ['--quick'] if flags.quick else []
    if program == 'epoch':
      command += ['--num_epochs', str(NUM_EPOCHS[flags.device])]
    print(f'\n## {program}\n', flush=True)
    statuses.append(subprocess.run(command, cwd=alternate.ROOT, check=False).returncode)
  sys.exit(any(statuses))


if __name__ == '__main__':
  main()
