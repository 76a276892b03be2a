"""A contender in a process of its own, which computes on request.

It prints JSON lines: {"ready": ...} once compiled, then a result for each line that it reads:
a number of seconds to compute.
"""

import json
import math
import signal
import sys
import time

import numpy as np

from benchmarks import machine

WARMUP_CALLS = 3


def main(contender: dict) -> None:
  """Serves `contender`: {"package": precision} or {"pytorch": options}, batch_size, device, ..."""
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program that started it
  rng = np.random.RandomState(0)
  images = rng.randint(0, 256, (contender['num_images'], 28, 28, 1), dtype=np.uint8)
  labels = rng.randint(0, 10, contender['num_images']).astype(np.int32)
  if 'package' in contender or contender.get('keep_freed_memory'):
    from cvae_jax.runtime import devices

    devices.keep_freed_memory()  # as train.py does
  make = _package if 'package' in contender else _pytorch
  run, steps_per_call, peak_bytes = make(contender, images, labels)
  began = time.perf_counter()
  run(1)
  first_seconds = time.perf_counter() - began
  run(WARMUP_CALLS)
  began = time.perf_counter()
  run(1)
  call_seconds = time.perf_counter() - began
  _send({'ready': True, 'compile_seconds': first_seconds - call_seconds})
  for line in sys.stdin:
    calls = max(1, math.ceil(float(line) / call_seconds))
    began = time.perf_counter()
    loss = run(calls)
    seconds = time.perf_counter() - began
    if not math.isfinite(loss):
      raise FloatingPointError(f'loss {loss}: this was no training')
    call_seconds = seconds / calls
    _send({'steps': calls * steps_per_call, 'seconds': seconds, 'peak_bytes': peak_bytes()})


def _package(contender, images, labels):
  from benchmarks import package_training

  prog = package_training.build(images, labels, contender['batch_size'], contender['package'])
  run, steps_per_call = package_training.make_run(prog)
  return run, steps_per_call, package_training.peak_bytes


def _pytorch(contender, images, labels):
  import torch

  from benchmarks import pytorch_training

  device = contender['device']
  run = pytorch_training.make_run(
    pytorch_training.Options(**contender['pytorch']),
    torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(),
    torch.from_numpy(labels).long(),
    contender['batch_size'],
    device,
    contender['threads'],
  )
  return run, 1, machine.peak_of_process if device == 'cpu' else torch.cuda.max_memory_allocated


def _send(message: dict) -> None:
  print(json.dumps(message), flush=True)


if __name__ == '__main__':
  main(json.loads(sys.argv[1]))
