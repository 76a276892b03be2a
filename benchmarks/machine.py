"""Where and with what something was measured."""

import datetime
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

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


def require(device: str) -> None:
  """Ends the command where there is no such device."""
  if device == 'gpu' and not shutil.which('nvidia-smi'):
    sys.exit('--device gpu: no NVIDIA GPU here (nvidia-smi is not found). Use --device cpu.')


def num_cores() -> int:
  """Cores that this process may use."""
  return len(os.sched_getaffinity(0))


def _processor() -> str:
  for line in Path('/proc/cpuinfo').read_text().splitlines():
    if line.startswith('model name'):
      return line.partition(':')[2].strip()
  return platform.machine()
