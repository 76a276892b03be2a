"""Reads of Orbax that fail leave complaints behind, which must not reach other tests."""

import gc
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items):
  # Coroutines stay unfinished, and threads wait for an event loop that is closed.
  for item in items:
    if Path(__file__).parent in item.path.parents:
      item.add_marker(pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning'))


@pytest.fixture(autouse=True, scope='module')
def nothing_left():
  """They complain when they are collected: here, not in a test elsewhere."""
  gc.freeze()  # all that is older is passed over
  yield
  for _ in range(3):
    gc.collect()
  gc.unfreeze()
