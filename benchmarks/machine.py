"""The machine and the versions of a measurement."""

import datetime
import importlib.metadata
import importlib.util
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
from pathlib import Path

from cvae_jax.runtime.errors import InputError

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
    gpus = _nvidia_smi('name,driver_version').stdout
    description['gpu and driver'] = gpus.strip().replace('\n', '; ')
  for package in PACKAGES:
    try:
      description[package] = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      description[package] = 'not installed'
  return description


def write(results: dict, output: Path) -> None:
  """Writes `results` as JSON."""
  output.parent.mkdir(parents=True, exist_ok=True)
  output.write_text(json.dumps(results, indent=2) + '\n', encoding='utf-8')


def require(device: str, instead: str = '--device cpu') -> None:
  """Raises InputError if there is no such device here; `instead` are the flags to use then."""
  if device != 'gpu':
    return
  if not shutil.which('nvidia-smi'):
    raise InputError(f'No NVIDIA GPU here (nvidia-smi is not found). Use {instead}.')
  done = _nvidia_smi('name')
  if done.returncode:
    reason = ' '.join((done.stdout + done.stderr).split())[:150]
    raise InputError(f'No NVIDIA GPU here: nvidia-smi fails ({reason}). Use {instead}.')


def require_jax(device: str) -> None:
  """Raises InputError if JAX does not see the device; another process tries, to leave it free."""
  if device == 'gpu':
    done = subprocess.run(
      [sys.executable, '-c', 'import jax; jax.local_devices(backend="cuda")'],
      env=os.environ | {'JAX_PLATFORMS': 'cuda,cpu', 'XLA_PYTHON_CLIENT_PREALLOCATE': 'false'},
      capture_output=True,
      text=True,
      check=False,
    )
    if done.returncode:
      reason = (done.stderr.strip().splitlines() or ['no reason given'])[-1][:150]
      raise InputError(
        f"JAX sees no GPU ({reason}). Install it for NVIDIA: pip install 'jax[cuda13]', or "
        'jax[cuda12] for older drivers.'
      )


def require_pytorch(device: str) -> None:
  """Raises InputError if PyTorch is not installed, or does not see the device."""
  if importlib.util.find_spec('torch') is None:
    raise InputError('PyTorch, to compare with, is not installed: pip install torch.')
  if device == 'gpu':
    import torch

    if not torch.cuda.is_available():
      raise InputError(
        f'PyTorch {torch.__version__} sees no GPU: install one for CUDA, see '
        'https://pytorch.org/get-started/locally/.'
      )


def memory_in_use() -> int | None:
  """MiB in use on the fullest GPU, or None if nvidia-smi does not tell."""
  words = _nvidia_smi('memory.used').stdout.split()
  return max((int(word) for word in words if word.isdecimal()), default=None)


def _nvidia_smi(fields: str) -> subprocess.CompletedProcess:
  query = ['nvidia-smi', f'--query-gpu={fields}', '--format=csv,noheader,nounits']
  return subprocess.run(query, capture_output=True, text=True, check=False)


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
