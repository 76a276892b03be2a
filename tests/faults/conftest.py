"""What Orbax leaves behind where something of it fails disturbs no other test."""

import gc
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items):
  # It leaves coroutines unfinished, and waits in threads for a loop that is closed.
  for item in items:
    if Path(__file__).parent in item.path.parents:
      item.add_marker(pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning'))


@pytest.fixture(autouse=True, scope='module')
def nothing_left():
  """Those complain when they are collected, which is not to be in a test elsewhere."""
  yield
  for _ in range(3):
    gc.collect()
