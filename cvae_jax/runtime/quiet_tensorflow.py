"""TensorFlow, for TensorBoard and TensorFlow Datasets only: imported late and quietly."""

import contextlib
import io
import logging
import os
import sys

from cvae_jax.runtime import libraries, quiet_matplotlib


def installed(*modules: str) -> bool:
  """Whether TensorFlow and each of `modules` can be imported; imports none of them."""
  return libraries.installed('tensorflow', *modules)


@contextlib.contextmanager
def quiet():
  """Imports TensorFlow without its messages; warnings and progress bars in the block are muted.

  TensorFlow does not see the accelerator, whose memory JAX needs.
  """
  # TensorFlow's C++ code reads them when it is loaded.
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')
  disabled, stderr = logging.root.manager.disable, os.dup(2)
  logging.disable(logging.WARNING)
  sys.stderr.flush()
  try:
    # Of the process, not only of Python: TensorFlow's C++ code writes there too.
    with open(os.devnull, 'w') as nowhere, contextlib.redirect_stderr(io.StringIO()):
      os.dup2(nowhere.fileno(), 2)
      with quiet_matplotlib.first_import():
        import matplotlib  # noqa: F401  Keras does, and fails where it fails
      import tensorflow

      with contextlib.suppress(RuntimeError):  # its devices are initialized already
        tensorflow.config.set_visible_devices([], 'GPU')
      yield
  finally:
    os.dup2(stderr, 2)
    os.close(stderr)
    logging.disable(disabled)
