"""Where a run begins: at a checkpoint of another run, from its weights, or not on other data."""

import shutil

import jax
import numpy as np
import pytest

from cvae_jax import config as config_lib
from cvae_jax.data import datasets
from cvae_jax.data.readers import DATASETS
from cvae_jax.runtime.errors import InputError, OccupiedError
from cvae_jax.training import loop, program, start
from tiny import RESNET, rows, state_at, steps, stopped_at, tiny_config

CONFIG = tiny_config(checkpoint_every_steps=2, keep_checkpoints=10)  # that of `tiny_run`


def test_resume_from_continues_in_a_folder_that_stands_alone(tiny_run, tmp_path):
  workdir = tmp_path / 'on'
  loop.train(CONFIG, workdir, resume_from=tiny_run / 'checkpoints' / '2')
  assert steps(workdir) == [2, 3, 4, 6]
  one, two = (state_at(folder, CONFIG, 6) for folder in (tiny_run, workdir))
  jax.tree.map(np.testing.assert_array_equal, one, two)
  assert rows(workdir) == [row for row in rows(tiny_run) if int(row['step']) > 2]
  with pytest.raises(OccupiedError, match='--resume_from') as error:
    loop.train(CONFIG, workdir, resume_from=tiny_run)
  assert error.value.free_workdir == tmp_path / 'on-2'


def test_a_continued_run_says_where_it_stands_and_what_its_schedules_follow(
  tiny_run, tmp_path, capsys
):
  config = tiny_config(batch_size=10, num_epochs=1, learning_rate_schedule='constant')
  loop.train(config, tmp_path / 'on', resume_from=tiny_run)  # at step 6 of 6, with 3 an epoch
  line = capsys.readouterr().out.splitlines()[0]
  assert 'epoch 2 of 2 there, epoch 0.6 of 1 here' in line
  assert 'learning rate is 0 there, 0.002 here' in line


@pytest.mark.slow
def test_resume_from_may_change_all_that_keeps_the_shapes(tiny_run, tmp_path):
  loop.train(tiny_config(beta=4.0, num_epochs=3), tmp_path / 'on', resume_from=tiny_run)
  assert rows(tmp_path / 'on')[-1]['train/beta'] == '4.0'
  with pytest.raises(InputError, match=r'latent_dim is 3 there, 4 here'):
    loop.train(tiny_config(latent_dim=4), tmp_path / 'no', resume_from=tiny_run)
  with pytest.raises(InputError, match=r'step 6.*--config\.num_epochs above 2'):
    loop.train(tiny_config(), tmp_path / 'no', resume_from=tiny_run)
  assert not (tmp_path / 'no').exists()


def test_fields_that_the_weights_do_not_depend_on_may_differ(tiny_run, tmp_path):
  def check(**changes):
    return start.check_folder(tiny_config(**changes), tmp_path / 'new', tiny_run)

  assert check(model__hidden_dim=7, likelihood='gaussian') == (tiny_run, None)
  with pytest.raises(InputError, match=r"likelihood is 'bernoulli' there") as error:
    check(likelihood='gaussian_learned')
  assert str(tiny_run) in str(error.value)


def test_the_weights_of_init_from_are_looked_for_before_the_data(tmp_path, monkeypatch):
  monkeypatch.setattr(datasets, 'load', None)
  nowhere = str(tmp_path / 'nowhere')
  with pytest.raises(InputError, match=nowhere):
    loop.train(tiny_config(init_from=nowhere), tmp_path / 'run')


def test_init_from_begins_with_the_weights_of_another_run(tiny_run):
  built = program.build(tiny_config(init_from=str(tiny_run), seed=7))
  state = start.initial_state(built)
  assert int(state.step) == 0
  trained = state_at(tiny_run, CONFIG, 6)
  jax.tree.map(np.testing.assert_array_equal, state.variables, trained.ema)
  built.config.init_from = str(tiny_run / 'checkpoints' / '2')
  earlier = start.initial_state(built)
  trained = state_at(tiny_run, CONFIG, 2)
  jax.tree.map(np.testing.assert_array_equal, earlier.variables, trained.ema)
  with pytest.raises(InputError, match=r'model\.channels is \(4, 8\) there, \(4, 4\) here'):
    start.check_init_from(tiny_config(init_from=str(tiny_run), model__channels=(4, 4)))


@pytest.mark.slow
def test_a_run_that_began_from_weights_resumes_without_them(tiny_run, tmp_path):
  shutil.copytree(tiny_run, tmp_path / 'source')
  config = tiny_config(init_from=str(tmp_path / 'source'), keep_checkpoints=10, seed=7)
  loop.train(config, tmp_path / 'whole')
  shutil.rmtree(tmp_path / 'source')
  stopped_at(tmp_path / 'whole', tmp_path / 'stopped', 3)
  loop.train(config, tmp_path / 'stopped')
  assert rows(tmp_path / 'stopped') == rows(tmp_path / 'whole')


def test_weights_of_another_architecture_do_not_fit(tiny_run, tmp_path):
  with pytest.raises(InputError, match=r"model\.name is 'mlp' there, 'resnet' here"):
    loop.train(tiny_config(**RESNET), tmp_path / 'run', resume_from=tiny_run)


def change_digits(monkeypatch, change):
  """Replaces the reader of 'digits': `change` maps its `Source` to another."""
  entry = DATASETS._loaded()['digits']
  changed = entry._replace(value=lambda data: change(entry.value(data)))
  monkeypatch.setitem(DATASETS._loaded(), 'digits', changed)


def with_other_pixels(splits):
  for split in splits.values():
    split.images[:, 0, 0] ^= 1
  return splits


def with_other_labels(splits):
  return {name: split._replace(labels=(split.labels + 1) % 10) for name, split in splits.items()}


def with_fewer_images(splits):
  return splits | {'train': splits['train'].take(slice(130))}


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (with_other_pixels, 'same labels.* other pixels'),
    (with_other_labels, 'other labels'),
    (with_fewer_images, '100 training images then, 80 now'),
  ],
)
def test_a_run_does_not_resume_on_changed_data(change, message, tiny_run, tmp_path, monkeypatch):
  run = tmp_path / 'run'
  shutil.copytree(tiny_run, run)
  before = {path: path.read_bytes() for path in run.rglob('*') if path.is_file()}
  change_digits(monkeypatch, lambda source: source._replace(splits=change(source.splits)))
  with pytest.raises(OccupiedError, match=f'other data: .*{message}'):
    loop.train(tiny_config(), run)
  after = {path: path.read_bytes() for path in run.rglob('*') if path.is_file()}
  assert after | {run / '.lock': b''} == before | {run / '.lock': b''}


def test_a_run_does_not_resume_on_other_classes(tiny_run, tmp_path, monkeypatch):
  shutil.copytree(tiny_run, tmp_path / 'run')
  others = tuple('abcdefghij')
  change_digits(monkeypatch, lambda source: source._replace(class_names=others))
  with pytest.raises(OccupiedError, match=r'classes are 0, 1.* a, b'):
    loop.train(tiny_config(), tmp_path / 'run')
  assert config_lib.read(tmp_path / 'run').class_names == tuple('0123456789')


def test_an_early_run_that_did_not_count_its_images_names_what_it_can(tiny_run, tmp_path):
  run = tmp_path / 'run'
  shutil.copytree(tiny_run, run)
  config_lib.save(run, config_lib.read(run)._replace(data_parts=None, data_fingerprint='f00d'))
  with pytest.raises(OccupiedError, match='images or labels'):
    loop.train(tiny_config(), run)
  config_lib.save(run, config_lib.read(run)._replace(data_fingerprint=None))
  loop.train(tiny_config(), run)
  assert config_lib.read(run).data_parts['training images'] == 100
