"""Whole runs on a table of conditions, with classes that are missing."""

import csv

import jax
import numpy as np
import pytest

from cvae_jax import config as config_lib
from cvae_jax.data.readers import Source, Split
from cvae_jax.training import finish, loop, program
from tiny import rows, state_at, stopped_at, tiny_config

CHANGES = {
  'data__conditions': 'slant,digit',
  'data__num_labels': 40,
  'condition_dropout': 0.2,
  'checkpoint_every_steps': 2,
  'keep_checkpoints': 10,
}
CONFIG = tiny_config(**CHANGES)


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  workdir = tmp_path_factory.mktemp('runs') / 'table'
  loop.train(CONFIG, workdir)
  return workdir


def test_config_json_describes_the_columns(run):
  saved = config_lib.read(run)
  assert saved.config.data.columns == ('number', 'category:10?')
  slant, digit = saved.columns
  assert slant.measured
  assert slant.std > 0
  assert slant.low < slant.mean < slant.high
  assert (digit.names, digit.has_empty) == (tuple('0123456789'), True)
  assert saved.class_names == digit.names
  assert config_lib.differences(saved.config, CONFIG) == []


def test_the_terms_of_missing_classes_are_logged(run):
  lines = rows(run)
  assert [row['step'] for row in lines] == ['2', '3', '4', '6']
  for row in lines:
    assert float(row['train/class_kl']) >= 0
    assert float(row['train/cross_entropy']) > 0
  validated = [row for row in lines if row['validation/negative_elbo']]
  assert len(validated) == 2
  for row in validated:
    terms = [float(row[f'validation/{name}']) for name in ('reconstruction', 'kl', 'class_kl')]
    assert float(row['validation/negative_elbo']) == pytest.approx(sum(terms), rel=1e-5)
    assert terms[2] == 0  # the validation keeps its labels


def test_the_projector_shows_every_column(run):
  with open(run / 'projector' / 'labels.tsv', newline='') as file:
    table = list(csv.DictReader(file, delimiter='\t'))
  validation = program.build(CONFIG).validation
  assert len(table) == 50
  assert [row['digit'] for row in table] == [str(label) for label in validation.labels]
  slant = validation.columns[0]
  expected = slant.mean + slant.std * np.asarray(validation.conditions)[:, 0]
  np.testing.assert_allclose([float(row['slant']) for row in table], expected, atol=1e-3)
  assert (run / 'checkpoints' / '6' / 'prior.safetensors').is_file()
  assert (run / 'samples' / 'step_6.png').is_file()


def test_it_resumes_bit_for_bit(run, tmp_path):
  stopped_at(run, tmp_path / 'stopped', 4)
  loop.train(CONFIG, tmp_path / 'stopped')
  states = (state_at(workdir, CONFIG, 6) for workdir in (run, tmp_path / 'stopped'))
  jax.tree.map(np.testing.assert_array_equal, *states)
  assert rows(tmp_path / 'stopped') == rows(run)


def test_streamed_conditions_are_those_of_their_images():
  states = []
  for placement in ('device', 'stream'):
    prog = program.build(tiny_config(**CHANGES, data__placement=placement))
    assert prog.feed.placement == placement
    state = prog.fresh_state()
    for begin, end, data in prog.chunks([(0, 2), (2, 3)]):
      state, _ = prog.chunk(state, data, num_steps=end - begin)
    states.append(state)
    train = finish.on_host(prog.train)
    assert isinstance(train.images, np.ndarray)
    assert isinstance(train.conditions, np.ndarray)
    assert train.conditions.shape == (100, 2)
    assert np.isnan(train.conditions[:, 1]).sum() == 60
  same = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6)  # noqa: E731
  jax.tree.map(same, states[0].variables, states[1].variables)


def test_images_without_labels_are_numbered_in_the_projector(tmp_path):
  images = np.random.RandomState(0).randint(0, 256, (200, 8, 8, 1), np.uint8)
  source = Source({'train': Split(images, np.zeros(200, np.int32))}, ())
  config = tiny_config(conditional=False, num_epochs=1)
  loop.train(config, tmp_path / 'run', source=source)
  written = (tmp_path / 'run' / 'projector' / 'labels.tsv').read_text().splitlines()
  assert written == [str(number) for number in range(50)]
