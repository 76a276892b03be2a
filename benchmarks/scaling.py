"""The cost of splitting a batch: one run on 1, 2, 4 and 8 simulated devices of a CPU.

  python -m benchmarks.scaling [--quick]

The devices share the cores. Strong scaling splits one batch of 512, weak scaling gives each device
a batch of 64. The extra time over one device with the same images is the cost of the split, of the
sums of gradients and of smaller convolutions.
"""

from benchmarks import alternate, machine, program, throughput

COUNTS = (1, 2, 4, 8)
STRONG_BATCH, WEAK_BATCH = 512, 64


def contender(devices: int, batch_size: int) -> dict:
  """Arguments of benchmarks/worker.py."""
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
  parser = program.measuring_parser(__doc__, '2 rounds')
  flags = parser.parse_args()
  if flags.device == 'gpu':
    parser.error('--device gpu: the devices are simulated on a CPU')
  output = flags.output or machine.RESULTS / 'scaling_cpu.json'
  program.check_file(output)
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
  machine.write(results, output)
  print(output)


if __name__ == '__main__':
  program.run(main)
