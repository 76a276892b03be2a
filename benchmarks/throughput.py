"""Training speed of the default model, beside PyTorch's, in one run.

python -m benchmarks.throughput                        on a CPU, about 15 minutes
python -m benchmarks.throughput --device gpu
python -m benchmarks.throughput --quick                batch 128, few rounds
"""

import argparse
import json
import sys
from pathlib import Path

from benchmarks import alternate, machine

NUM_IMAGES = 55_000  # of MNIST's 60,000, those that are not held out
OURS = {precision: f'cvae_jax {precision}' for precision in ('float32', 'bfloat16')}


def contenders(device: str, batch_size: int) -> dict[str, dict]:
  """Name -> what benchmarks/worker.py is told."""

  def pytorch(**ways):
    return {'pytorch': ways}

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
  if device == 'cpu' and batch_size <= 128:  # all of them wait in 24 GB
    # What train.py does, which no user of PyTorch does: what is owed to XLA, what to the C library?
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
  """What the contenders' processes need to know beside their command."""
  return {
    'JAX_PLATFORMS': 'cpu' if device == 'cpu' else 'cuda',
    # Several processes share the GPU, and its memory is measured.
    'XLA_PYTHON_CLIENT_PREALLOCATE': 'false',
    # Else the time of compiling would depend on what was compiled before.
    'TORCHINDUCTOR_FORCE_DISABLE_CACHES': '1',
    'JAX_ENABLE_COMPILATION_CACHE': 'false',
  }


def measure(device: str, batch_size: int, rounds: int, seconds: float) -> dict[str, dict]:
  """One batch size; see `alternate.measure`. Each row gets `ratios`: ours against it."""
  common = {
    'batch_size': batch_size,
    'device': 'cpu' if device == 'cpu' else 'cuda',
    'num_images': NUM_IMAGES,
    'threads': machine.num_cores(),
    'environment': environment(device),
  }
  print(f'batch {batch_size}', flush=True)
  found = {name: how | common for name, how in contenders(device, batch_size).items()}
  rows = alternate.measure(found, rounds, seconds)
  for row in rows.values():
    row['ratios'] = {
      precision: rows[name]['images_per_second'] / row['images_per_second']
      for precision, name in OURS.items()
      if name in rows
    }
  return rows


def table(rows: dict[str, dict], batch_size: int) -> str:
  """Markdown."""
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
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--device', choices=('cpu', 'gpu'), default='cpu')
  parser.add_argument('--quick', action='store_true', help='batch 128 alone, 5 rounds of 2 seconds')
  parser.add_argument('--output', type=Path, help='JSON; benchmarks/results/throughput_DEVICE.json')
  flags = parser.parse_args()
  machine.require(flags.device)
  batch_sizes, rounds, seconds = ((128,), 5, 2.0) if flags.quick else ((128, 1024), 7, 3.0)
  results = {'machine': machine.describe(flags.device), 'rounds': rounds, 'batches': {}}
  default = Path(__file__).parent / 'results' / f'throughput_{flags.device}.json'
  output = flags.output or default
  output.parent.mkdir(parents=True, exist_ok=True)
  for batch_size in batch_sizes:
    rows = measure(flags.device, batch_size, rounds, seconds)
    results['batches'][batch_size] = rows
    print(f'\n{table(rows, batch_size)}\n', flush=True)
    output.write_text(json.dumps(results, indent=2) + '\n', encoding='utf-8')  # while it is there
  print(f'{", ".join(f"{name} {value}" for name, value in results["machine"].items())}\n{output}')
  every_row = results['batches'].values()
  if missing := [name for name in OURS.values() if not all(name in rows for rows in every_row)]:
    sys.exit(f'Not measured: {", ".join(missing)}.')


if __name__ == '__main__':
  main()
