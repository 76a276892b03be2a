"""The whole path of two stages from the command line, on digits; it trains for minutes."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from conftest import ROOT


@pytest.mark.slow
def test_two_stages_from_the_command_line_to_samples_and_bounds(tmp_path):
  def command(name, *arguments):
    done = subprocess.run(
      [sys.executable, str(ROOT / f'{name}.py'), *arguments],
      cwd=tmp_path,
      capture_output=True,
      text=True,
      check=False,
    )
    assert (done.returncode, done.stderr) == (0, '')
    return done.stdout

  first = {
    'objective': 'autoencoder',
    'conditional': False,
    'beta': 0.1,
    'beta_schedule': 'constant',
    'latent_dim': 8,
    'num_epochs': 40,
    'model.name': 'mlp',
    'model.norm': 'none',
  }
  second = {
    'first_stage': 'runs/first',
    'data.name': 'digits',
    'data.validation_examples': 200,
    'data.augment.flip_probability': 0,
    'batch_size': 128,
    'num_epochs': 100,
    'velocity.width': 128,
    'velocity.depth': 2,
  }
  for config, name, fields in (('digits', 'first', first), ('latent_flow', 'second', second)):
    flags = [f'--config.{field}={value}' for field, value in fields.items()]
    command('train', '--config', config, *flags, f'--workdir=runs/{name}')
  command('sample', '--workdir=runs/second', '--digit=3', '--guidance=1.5', '--output=three.png')
  with Image.open(tmp_path / 'three.png') as picture:
    assert np.asarray(picture).std() > 20
  evaluate = ['evaluate', '--workdir=runs/second', '--iwae_samples=10']
  command(*evaluate, '--metrics=likelihood,generation,iwae', '--guidance=1.5')
  command(*evaluate, '--metrics=likelihood,iwae', '--prior=model')

  def metrics(name):
    path = tmp_path / f'runs/second/evaluation/{name}.json'
    return json.loads(path.read_text())['metrics']

  found = metrics('test-iwae10-guidance1.5-only-likelihood-generation-iwae')
  own = metrics('test-iwae10-model_prior-only-likelihood-iwae')['likelihood']
  bounds, flow = found['likelihood'], found['generation, z ~ flow matching, 20 steps, guidance 1.5']
  # What is known of the path on these digits: 88 % at guidance 1, 8 % from N(0, I).
  assert flow['conditional_accuracy']['value'] > 0.75
  assert found['generation, z ~ N(0, I)']['conditional_accuracy']['value'] < 0.4
  assert bounds['reconstruction']['value'] == pytest.approx(
    own['reconstruction']['value'], rel=1e-4
  )
  assert bounds['negative_elbo']['value'] < own['negative_elbo']['value'] - 5
  assert bounds['iwae']['value'] < bounds['negative_elbo']['value']
  assert bounds['iwae']['value'] < own['iwae']['value'] - 5
