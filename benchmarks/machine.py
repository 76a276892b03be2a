"""The machine and the versions of a measurement."""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
from pathlib import Path

RESULTS = Path(__file__).parent / 'results'
PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'torch', 'numpy')


def describe(device: str) -> dict[str, str]:
  """Date, processor, cores, GPU with its driver, and versions."""
  description = {
    'date': datetime.date.today().isoformat(),
    'processor': _processor(),
    'cores': str(num_cores()),
    'memory': f'{os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30:.0f} GiB',
    'python': platform.python_version(),
  }
  if device == 'gpu':
    query = ['nvidia-smi', '--query-gpu=name,driver_version', '--format=csv,noheader']
    done = subprocess.run(query, capture_output=True, text=True, check=True)
    description['gpu and driver'] = done.stdout.strip().replace('\n', '; ')
  for package in PACKAGES:
    try:
      description[package] = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      description[package] = 'not installed'
  return description


def parser(doc: str, quick: str) -> argparse.ArgumentParser:
  """A parser for --device, --quick (with its help) and --output."""
  parser = argparse.ArgumentParser(
    description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--device', choices=('cpu', 'gpu'), default='cpu')
  parser.add_argument('--quick', action='store_true', help=quick)
  parser.add_argument('--output', type=Path, help='JSON file; default benchmarks/results/*.json')
  return parser


def write(results: dict, output: Path) -> None:
  """Writes `results` as JSON."""
  output.parent.mkdir(parents=True, exist_ok=True)
  output.write_text(json.dumps(results, indent=2) + '\n', encoding='utf-8')


def require(device: str) -> None:
  """Ends the program if there is no such device."""
  if device == 'gpu' and not shutil.which('nvidia-smi'):
    sys.exit('--device gpu: no NVIDIA GPU here (nvidia-smi is not found). Use --device cpu.')


def num_cores() -> int:
  """Cores that this process may use."""
  return len(os.sched_getaffinity(0))


def peak_of_process() -> int:
  """The largest memory of this process so far, in bytes."""
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _processor() -> str:
  for line in Path('/proc/cpuinfo').read_text().splitlines():
    if line.startswith('model name'):
      return line.partition(':')[2].strip()
  return platform.machine()
