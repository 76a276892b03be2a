"""Exports trace functions for batches of any size, which jaxtyping cannot compare."""

import jaxtyping
import pytest


@pytest.fixture(autouse=True)
def unchecked_annotations():
  """Without the checks of annotations while a test runs."""
  jaxtyping.config.update('jaxtyping_disable', True)
  yield
  jaxtyping.config.update('jaxtyping_disable', False)
