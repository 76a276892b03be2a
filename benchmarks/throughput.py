"""Training speed of the default model here and in PyTorch, in one run.

python -m benchmarks.throughput                        on a CPU, about 15 minutes
python -m benchmarks.throughput --device gpu
python -m benchmarks.throughput --quick                batch 128, few rounds
"""

import sys

from benchmarks import alternate, machine, program

NUM_IMAGES = 55_000  # MNIST's training images without validation
OURS = {precision: f'cvae_jax {precision}' for precision in ('float32', 'bfloat16')}


def contenders(device: str, batch_size: int) -> dict[str, dict]:
  """Maps names to arguments of benchmarks/worker.py."""

  def pytorch(**options):
    return {'pytorch': options}

  found = {name: {'package': precision} for precision, name in OURS.items()}
  found |= {
    'PyTorch eager, DataLoader': pytorch(loader=True),
    'PyTorch eager, data on the device': pytorch(),
    'PyTorch eager, channels_last': pytorch(channels_last=True),
    'PyTorch eager, autocast bfloat16': pytorch(autocast=True),
    'PyTorch compiled': pytorch(compile_mode='default'),
    'PyTorch compiled, channels_last': pytorch(compile_mode='default', channels_last=True),
    'PyTorch compiled, channels_last, autocast bfloat16': pytorch(
      compile_mode='default', channels_last=True, autocast=True
    ),
  }
  if device == 'cpu' and batch_size <= 128:  # all must fit into memory, 24 GB
    # With the memory setting of train.py, to separate its effect from that of XLA.
    kept = {'keep_freed_memory': True}
    found['PyTorch eager, freed memory kept'] = pytorch() | kept
    found['PyTorch eager, channels_last, freed memory kept'] = pytorch(channels_last=True) | kept
  if device == 'gpu':
    graphs = {'compile_mode': 'max-autotune'}  # with CUDA graphs
    found |= {
      'PyTorch max-autotune': pytorch(**graphs),
      'PyTorch max-autotune, channels_last': pytorch(**graphs, channels_last=True),
      'PyTorch max-autotune, autocast bfloat16': pytorch(**graphs, autocast=True),
      'PyTorch max-autotune, channels_last, autocast bfloat16': pytorch(
        **graphs, channels_last=True, autocast=True
      ),
    }
  return found


def environment(device: str) -> dict[str, str]:
  """Environment variables of the contenders."""
  return {
    'JAX_PLATFORMS': 'cpu' if device == 'cpu' else 'cuda',
    # Several processes share the GPU, and memory is measured.
    'XLA_PYTHON_CLIENT_PREALLOCATE': 'false',
    # Compile times must not depend on earlier runs.
    'TORCHINDUCTOR_FORCE_DISABLE_CACHES': '1',
    'JAX_ENABLE_COMPILATION_CACHE': 'false',
  }


def measure(
  device: str, batch_size: int, rounds: int, seconds: float, chosen: dict[str, dict] | None = None
) -> dict[str, dict]:
  """Measures one batch size, see `alternate.measure`; `ratios` of a row are our speed over its.

  `chosen` are some of `contenders`; all of them, if not given.
  """
  if chosen is None:
    chosen = contenders(device, batch_size)
  common = {
    'batch_size': batch_size,
    'device': 'cpu' if device == 'cpu' else 'cuda',
    'num_images': NUM_IMAGES,
    'threads': machine.num_cores(),
    'environment': environment(device),
  }
  print(f'batch {batch_size}', flush=True)
  found = {name: arguments | common for name, arguments in chosen.items()}
  rows = alternate.measure(found, rounds, seconds)
  for row in rows.values():
    row['ratios'] = {
      precision: rows[name]['images_per_second'] / row['images_per_second']
      for precision, name in OURS.items()
      if name in rows
    }
  return rows


def table(rows: dict[str, dict], batch_size: int) -> str:
  """The Markdown table of benchmarks/README.md."""
  lines = [
    f'| batch {batch_size} | images/s | ms per step | compiling, s | peak MB | our float32 is × '
    '| our bfloat16 is × |',
    '|---|---|---|---|---|---|---|',
  ]
  for name, row in rows.items():
    ratios = [f'{row["ratios"][name]:.2f}' if name in row['ratios'] else '' for name in OURS]
    lines.append(
      f'| {name} | {row["images_per_second"]:,.0f} | {row["ms_per_step"]:,.4g} | '
      f'{row["compile_seconds"]:.1f} | {row["peak_bytes"] / 1e6:,.0f} | {" | ".join(ratios)} |'
    )
  return '\n'.join(lines)


def main() -> None:
  """Reads the flags, measures, prints the tables, writes the JSON."""
  flags = program.measuring_parser(__doc__, 'only batch 128, 5 rounds of 2 seconds').parse_args()
  output = flags.output or machine.RESULTS / f'throughput_{flags.device}.json'
  program.check_file(output)
  machine.require(flags.device)
  machine.require_pytorch(flags.device)
  batch_sizes, rounds, seconds = ((128,), 5, 2.0) if flags.quick else ((128, 1024), 7, 3.0)
  results = {'machine': machine.describe(flags.device), 'rounds': rounds, 'batches': {}}
  for batch_size in batch_sizes:
    rows = measure(flags.device, batch_size, rounds, seconds)
    results['batches'][batch_size] = rows
    print(f'\n{table(rows, batch_size)}\n', flush=True)
    machine.write(results, output)
  print(f'{", ".join(f"{name} {value}" for name, value in results["machine"].items())}\n{output}')
  every_row = results['batches'].values()
  if missing := [name for name in OURS.values() if not all(name in rows for rows in every_row)]:
    sys.exit(f'Not measured: {", ".join(missing)}.')


if __name__ == '__main__':
  program.run(main)
