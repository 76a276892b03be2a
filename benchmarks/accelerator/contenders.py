"""The speed of training steps of one batch size and precision, here and in one way of PyTorch.

  python -m benchmarks.accelerator.contenders --batch_size 128 --precision float32 --mode eager

`graphs` is torch.compile(mode='max-autotune'), which captures CUDA graphs. Each call measures this
package beside PyTorch, in turns, so that a way that hangs or fails costs only its own call.
"""

import os
import sys

from benchmarks import machine, program, throughput

COMPILE_MODES = {'eager': None, 'compiled': 'default', 'graphs': 'max-autotune'}


def chosen(batch_size: int, precision: str, mode: str) -> dict[str, dict]:
  """The contenders of `throughput` of a precision and a mode; the first is this package."""

  def is_chosen(contender):
    if 'package' in contender:
      return contender['package'] == precision
    options = contender['pytorch']
    is_bfloat16 = options.get('autocast', False)
    is_of_mode = options.get('compile_mode') == COMPILE_MODES[mode]
    return is_of_mode and is_bfloat16 == (precision == 'bfloat16')

  found = throughput.contenders('gpu', batch_size)
  # So PyTorch compiles nothing, in a rehearsal.
  note = ', not compiled' if os.environ.get('TORCH_COMPILE_DISABLE') == '1' else ''
  return {
    f'{name}{note if contender.get("pytorch", {}).get("compile_mode") else ""}': contender
    for name, contender in found.items()
    if is_chosen(contender)
  }


def main() -> None:
  """Reads the flags, measures, prints the table, writes the JSON."""
  parser = program.measuring_parser(__doc__, device='gpu')
  parser.add_argument('--batch_size', type=program.at_least(1), default=128)
  parser.add_argument('--precision', choices=tuple(throughput.OURS), default='float32')
  parser.add_argument('--mode', choices=tuple(COMPILE_MODES), default='eager')
  parser.add_argument('--rounds', type=program.at_least(1), default=5)
  parser.add_argument('--seconds', type=float, default=2.0, help='of a contender in a round')
  flags = parser.parse_args()
  machine.require(flags.device)
  machine.require_pytorch(flags.device)
  found = chosen(flags.batch_size, flags.precision, flags.mode)
  rows = throughput.measure(flags.device, flags.batch_size, flags.rounds, flags.seconds, found)
  print(throughput.table(rows, flags.batch_size))
  if len(rows) < 2 or throughput.OURS[flags.precision] not in rows:
    sys.exit(f'Nothing to compare: of {", ".join(found)} ran {", ".join(rows) or "none"}.')
  if flags.output:
    missing = [name for name in found if name not in rows]
    content = {'batch_size': flags.batch_size, 'contenders': rows, 'missing': missing}
    machine.write(content, flags.output)


if __name__ == '__main__':
  program.run(main)
