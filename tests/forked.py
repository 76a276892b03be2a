"""Commands as processes that start at once, forked from one that has imported the libraries."""

import multiprocessing
import os
import runpy
import subprocess
import sys
from pathlib import Path

_FORKED = multiprocessing.get_context('forkserver')
_FORKED.set_forkserver_preload(
  [
    'cvae_jax.evaluation.comparison',
    'cvae_jax.evaluation.experiment',
    'cvae_jax.evaluation.suite',
    'cvae_jax.inference.sampling',
    'cvae_jax.training.loop',
    'sklearn.datasets',
  ]
)


def run(words, folder, environment, outputs, timeout):
  """Runs a script as `subprocess.run` does, where TensorFlow is not installed.

  What libraries read when they are imported, as JAX its settings, they have read before.

  Args:
    words: path of the script, and its arguments.
    folder: where it runs.
    environment: all of its variables.
    outputs: a folder for what it prints.
    timeout: seconds until it is killed.
  """
  paths = [outputs / 'stdout', outputs / 'stderr']
  process = _FORKED.Process(target=_become, args=(words, folder, environment, paths))
  process.start()
  process.join(timeout)
  process.kill()
  process.join()
  return subprocess.CompletedProcess(words, process.exitcode, *(p.read_text() for p in paths))


def _become(words, folder, environment, paths):
  """Runs a script in this process."""
  os.chdir(folder)
  os.environ.clear()
  os.environ.update(environment)
  for number, path in enumerate(paths, 1):
    with open(path, 'w') as file:
      os.dup2(file.fileno(), number)
  runpy.run_path(str(Path(__file__).parent / 'without_tensorflow' / 'sitecustomize.py'))
  sys.argv, sys.path[0] = words, str(Path(words[0]).parent)
  runpy.run_path(words[0], run_name='__main__')
