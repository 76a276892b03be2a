"""The notebook runs from top to bottom, in a kernel of its own."""

import os

import nbformat
import pytest
from nbclient import NotebookClient

from conftest import ROOT

PATH = ROOT / 'notebooks' / 'latent_playground.ipynb'


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore')  # of Jupyter's own libraries
def test_the_notebook_runs_from_top_to_bottom(monkeypatch):
  monkeypatch.setenv('PYTHONPATH', os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')]))
  notebook = nbformat.read(PATH, as_version=4)
  assert not any(cell.get('outputs') for cell in notebook.cells)  # committed without
  # The kernel of this Python, whatever is registered under the name that people's have.
  NotebookClient(
    notebook, timeout=180, kernel_name='python3', resources={'metadata': {'path': PATH.parent}}
  ).execute()
  shown = [
    kind
    for cell in notebook.cells
    for output in cell.get('outputs', ())
    for kind in output.get('data', ())
  ]
  assert shown.count('image/png') >= 7
  assert 'application/vnd.jupyter.widget-view+json' in shown
  text = str(notebook)
  assert 'active units' in text
  assert 'negative_elbo' in text
  assert '120/120' in text  # the bar of the training, in a widget
  assert all(f'epoch {epoch:3d}/10  validation' in text for epoch in range(1, 11))
