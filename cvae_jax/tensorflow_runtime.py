"""TensorFlow, which serves TensorBoard and TensorFlow Datasets only: found late, loaded quietly."""

import contextlib
import importlib.util
import io
import logging
import os


def installed(*modules: str) -> bool:
  """Whether TensorFlow and each of `modules` can be imported; imports none of them."""
  return all(importlib.util.find_spec(name) is not None for name in ('tensorflow', *modules))


@contextlib.contextmanager
def quiet():
  """Imports TensorFlow, without its start-up chatter, and mutes warnings and bars inside the block.

  It is kept off the accelerator, whose memory belongs to JAX.
  """
  # Read by TensorFlow's C++ side when it is loaded, so set before.
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')
  previous = logging.root.manager.disable
  logging.disable(logging.WARNING)
  try:
    with contextlib.redirect_stderr(io.StringIO()):
      import tensorflow

      with contextlib.suppress(RuntimeError):  # too late: it has initialized its devices already
        tensorflow.config.set_visible_devices([], 'GPU')
      yield
  finally:
    logging.disable(previous)
