"""What splitting a batch costs: one run on 1, 2, 4 and 8 simulated devices of a CPU.

  python -m benchmarks.scaling [--quick]

The devices share the cores there are. Strong scaling splits one batch of 512 among them, weak
scaling gives each a batch of 64: beside one device that has the same images to itself, what more it
takes is the price of the split, of the sums of gradients and of smaller convolutions.
"""

import argparse
import json
from pathlib import Path

from benchmarks import alternate, machine, throughput

COUNTS = (1, 2, 4, 8)
STRONG_BATCH, WEAK_BATCH = 512, 64


def contender(devices: int, batch_size: int) -> dict:
  """What benchmarks/worker.py is told."""
  flag = f'--xla_force_host_platform_device_count={devices}'
  return {
    'package': 'float32',
    'batch_size': batch_size,
    'device': 'cpu',
    'num_images': 8192,
    'threads': machine.num_cores(),
    'environment': throughput.environment('cpu') | {'XLA_FLAGS': flag},
  }


def main() -> None:
  """Reads the flags, measures, prints the tables, writes the JSON."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--quick', action='store_true', help='2 rounds')
  parser.add_argument('--output', type=Path, help='JSON; benchmarks/results/scaling_cpu.json')
  flags = parser.parse_args()
  rounds = 2 if flags.quick else 7
  strong = {
    f'{count} × {STRONG_BATCH // count}': contender(count, STRONG_BATCH) for count in COUNTS
  }
  weak = {}
  for count in COUNTS[1:]:
    weak[f'{count} × {WEAK_BATCH}'] = contender(count, count * WEAK_BATCH)
    weak[f'1 × {count * WEAK_BATCH}'] = contender(1, count * WEAK_BATCH)
  results = {'machine': machine.describe('cpu'), 'rounds': rounds}
  for name, contenders in (('strong', strong), ('weak', weak)):
    print(name, flush=True)
    results[name] = alternate.measure(contenders, rounds, seconds=2.0)
    lines = ['| devices × images | ms per step | images/s |', '|---|---|---|']
    lines += [
      f'| {row} | {values["ms_per_step"]:.0f} | {values["images_per_second"]:,.0f} |'
      for row, values in results[name].items()
    ]
    print('\n' + '\n'.join(lines) + '\n', flush=True)
  output = flags.output or Path(__file__).parent / 'results' / 'scaling_cpu.json'
  output.parent.mkdir(parents=True, exist_ok=True)
  output.write_text(json.dumps(results, indent=2) + '\n', encoding='utf-8')
  print(output)


if __name__ == '__main__':
  main()
