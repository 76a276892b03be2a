"""Runs the benchmarks of one device: throughput, epoch, roofline and sweep.

python -m benchmarks [--device cpu|gpu] [--quick]
"""

import sys

from benchmarks import alternate, machine, program

NUM_EPOCHS = {'cpu': 3, 'gpu': 50}


def main() -> None:
  """Runs each program; exit status 1 if one of them failed."""
  parser = program.parser(__doc__)
  parser.add_argument('--device', choices=('cpu', 'gpu'), default='cpu', help='default cpu')
  parser.add_argument('--quick', action='store_true', help='smaller problems, fewer rounds')
  flags = parser.parse_args()
  machine.require(flags.device)
  machine.require_jax(flags.device)
  statuses = []
  for name in ('throughput', 'epoch', 'roofline', 'sweep'):
    command = [sys.executable, '-m', f'benchmarks.{name}', '--device', flags.device]
    command += ['--quick'] if flags.quick else []
    if name == 'epoch':
      command += ['--num_epochs', str(NUM_EPOCHS[flags.device])]
    print(f'\n## {name}\n', flush=True)
    with program.process(command, cwd=alternate.ROOT) as process:
      statuses.append(process.wait())
  sys.exit(any(statuses))


if __name__ == '__main__':
  program.run(main)
