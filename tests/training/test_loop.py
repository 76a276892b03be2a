"""Whole runs: that they learn, and that a run that was stopped ends as one that was not."""

import csv
import shutil

import jax
import numpy as np
import pytest

from cvae_jax import config as config_lib
from cvae_jax.data.readers import Source, Split
from cvae_jax.runtime import devices
from cvae_jax.runtime.errors import InputError, OccupiedError
from cvae_jax.training import hooks, loop, program
from tiny import RESNET, rows, state_at, steps, stopped_at, tiny_config

CONFIG = tiny_config(checkpoint_every_steps=2, keep_checkpoints=10)  # that of `tiny_run`


def assert_same(run, other, config):
  """The two runs ended with the same bits."""
  jax.tree.map(np.testing.assert_array_equal, *(state_at(x, config, 6) for x in (run, other)))
  assert rows(run) == rows(other)
  pictures = [(workdir / 'samples' / 'step_6.png').read_bytes() for workdir in (run, other)]
  assert pictures[0] == pictures[1]


def test_nothing_is_compiled_after_the_first_epoch_and_terms_are_fetched_once_a_line(
  tmp_path, monkeypatch
):
  compiled, counts, fetched = [], [], []

  def listen(event, *_, **__):
    if 'backend_compile' in event:
      compiled.append(event)

  validate, device_get = hooks.Validate.__call__, jax.device_get

  def counting_validate(hook, event):
    if event.ends_epoch:
      counts.append(len(compiled))
    validate(hook, event)

  monkeypatch.setattr(hooks.Validate, '__call__', counting_validate)
  monkeypatch.setattr(jax, 'device_get', lambda tree: fetched.append(tree) or device_get(tree))
  jax.monitoring.register_event_duration_secs_listener(listen)
  try:
    # 3 steps an epoch, and so few lines that most steps have none.
    loop.train(tiny_config(num_epochs=4, log_every_steps=100), tmp_path / 'run')
  finally:
    jax.monitoring.unregister_event_duration_listener(listen)
  assert counts[0] > 0
  assert counts[1] == counts[2] == counts[3]
  windows = [tree for tree in fetched if isinstance(tree, list)]
  assert [len(window) for window in windows] == [3, 3, 3, 3]


def test_a_run_leaves_what_is_documented(tiny_run):
  names = {path.name for path in tiny_run.iterdir()}
  assert {'config.json', 'checkpoints', 'metrics.csv', 'train.log', 'samples'} <= names
  assert any(name.startswith('events.out.tfevents') for name in names)
  assert steps(tiny_run) == [2, 3, 4, 6]
  # Lines at multiples of 2 and at the ends of the two epochs of 3 steps.
  assert [row['step'] for row in rows(tiny_run)] == ['2', '3', '4', '6']
  validated = [row['step'] for row in rows(tiny_run) if row['validation/negative_elbo']]
  assert validated == ['3', '6']
  for row in rows(tiny_run):
    loss = float(row['train/reconstruction']) + float(row['train/beta']) * float(row['train/kl'])
    assert abs(float(row['train/loss']) - loss) < 1  # of averages: not exact where β moves
  assert (tiny_run / 'samples' / 'step_6.png').is_file()
  assert (tiny_run / 'checkpoints' / '6' / 'prior.safetensors').is_file()
  assert 'Total' in (tiny_run / 'train.log').read_text()  # the overview of the parameters


@pytest.mark.parametrize('norm', ['none', pytest.param('batch', marks=pytest.mark.slow)])
def test_a_run_stopped_in_the_middle_of_an_epoch_resumes_bit_for_bit(norm, tiny_run, tmp_path):
  config, whole, stopped = CONFIG, tiny_run, tmp_path / 'stopped'
  if norm == 'batch':
    whole = tmp_path / 'whole'
    changes = RESNET | {'model__norm': 'batch'}
    config = tiny_config(checkpoint_every_steps=2, keep_checkpoints=10, **changes)
    loop.train(config, whole)
  # Step 4 is the first of three of its epoch; the line of step 6 averages steps 5 and 6.
  stopped_at(whole, stopped, 4)
  loop.train(config, stopped)
  assert ('batch_stats' in state_at(whole, config, 6).variables) == (norm == 'batch')
  assert_same(whole, stopped, config)


def test_balanced_classes_resume_bit_for_bit_and_need_classes(tmp_path):
  config = tiny_config(data__balance='classes', checkpoint_every_steps=2, keep_checkpoints=10)
  loop.train(config, tmp_path / 'whole')
  stopped_at(tmp_path / 'whole', tmp_path / 'stopped', 4)
  loop.train(config, tmp_path / 'stopped')
  assert_same(tmp_path / 'whole', tmp_path / 'stopped', config)

  def unlabelled(data):
    images = np.zeros((200, 8, 8, 1), np.uint8)
    return Source({'train': Split(images, np.zeros(200, np.int32))}, ())

  config = tiny_config(data__balance='classes', conditional=False)
  with pytest.raises(InputError, match=r'data\.balance'):
    loop.train(config, tmp_path / 'unlabelled', source=unlabelled(config.data))
  assert not (tmp_path / 'unlabelled').exists()


@pytest.mark.slow
def test_a_line_that_spans_the_stop_is_the_same(tmp_path):
  config = tiny_config(checkpoint_every_steps=2, keep_checkpoints=10, log_every_steps=3)
  loop.train(config, tmp_path / 'whole')
  for step in (2, 4):
    stopped_at(tmp_path / 'whole', tmp_path / str(step), step)
    loop.train(config, tmp_path / str(step))
    assert rows(tmp_path / str(step)) == rows(tmp_path / 'whole')


def test_a_run_without_a_checkpoint_begins_anew_to_the_same_bits_and_keeps_its_log(
  tiny_run, tmp_path, capsys
):
  run = tmp_path / 'run'
  stopped_at(tiny_run, run, 0)
  loop.train(CONFIG, run)
  assert f'{run}/damaged/metrics.csv' in capsys.readouterr().out
  kept = (run / 'damaged' / 'metrics.csv').read_bytes()
  assert kept == (tiny_run / 'metrics.csv').read_bytes()
  assert_same(run, tiny_run, CONFIG)


def test_a_run_longer_than_asked_for_shows_its_length(tmp_path, capsys):
  config = tiny_config(learning_rate_schedule='constant')
  loop.train(config, tmp_path / 'run')
  capsys.readouterr()
  config.num_epochs = 1
  loop.train(config, tmp_path / 'run')
  assert 'complete: 2 epochs, step 6' in capsys.readouterr().out
  assert [path.name for path in (tmp_path / 'run' / 'samples').iterdir()] == ['step_6.png']


def test_a_complete_run_is_left_alone_but_for_missing_pictures_and_free_fields(
  tiny_run, tmp_path, capsys
):
  run = tmp_path / 'run'
  shutil.copytree(tiny_run, run)
  before = (run / 'metrics.csv').read_bytes()
  picture = run / 'samples' / 'step_6.png'
  picture.unlink()
  for _ in range(2):
    loop.train(tiny_config(keep_checkpoints=7), run)
    out = capsys.readouterr().out
    assert 'complete: 2 epochs, step 6' in out
    assert f': {picture}\n' in out
    assert picture.read_bytes() == (tiny_run / 'samples' / 'step_6.png').read_bytes()
  assert (run / 'metrics.csv').read_bytes() == before
  assert config_lib.read(run).config.keep_checkpoints == 7


def test_another_config_is_refused_and_touches_nothing(tiny_run):
  before = sorted(tiny_run.rglob('*'))
  with pytest.raises(OccupiedError, match=r'latent_dim is 3 there, 4 here'):
    loop.train(tiny_config(latent_dim=4), tiny_run)
  assert sorted(tiny_run.rglob('*')) == before


@pytest.mark.parametrize(
  'changes', [{'batch_size': 0}, {'data__name': 'mnist', 'data__dir': __file__}]
)
def test_a_run_that_cannot_begin_leaves_no_folder(changes, tmp_path):
  with pytest.raises(InputError):
    loop.train(tiny_config(**changes), tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


@pytest.mark.slow
def test_no_average_and_a_gaussian_in_bfloat16_train_too(tmp_path):
  changes = {'ema_decay': 0.0, 'likelihood': 'gaussian', 'precision': 'bfloat16', 'clip_norm': 0.0}
  loop.train(tiny_config(**changes, **RESNET), tmp_path / 'run')
  assert not (tmp_path / 'run' / 'checkpoints' / '6' / 'ema').exists()
  assert 'validation/bits_per_dim' not in rows(tmp_path / 'run')[-1]


@pytest.mark.slow
def test_bits_per_dimension_of_binary_images(tmp_path):
  loop.train(tiny_config(num_epochs=1, data__binarize='dynamic'), tmp_path / 'run')
  last = rows(tmp_path / 'run')[-1]
  expected = float(last['validation/negative_elbo']) / (64 * np.log(2))
  assert float(last['validation/bits_per_dim']) == pytest.approx(expected)


@pytest.mark.slow
def test_it_learns(tmp_path):
  """In 200 steps on small digits: well below the entropy of the mean image, and not without z."""
  config = tiny_config(
    num_epochs=10,
    batch_size=64,
    latent_dim=8,
    learning_rate=1e-2,
    eval_every_epochs=10,
    checkpoint_every_epochs=10,
    log_every_steps=100,
    data__max_examples=0,
    **(RESNET | {'model__channels': (8, 16)}),
  )
  loop.train(config, tmp_path / 'run')
  built = program.build(config)
  grey = np.float64(built.validation.images) / 255
  mean = np.clip(np.float64(built.train.images).mean(0) / 255, 1e-3, 1 - 1e-3)
  baseline = -(grey * np.log(mean) + (1 - grey) * np.log1p(-mean)).sum((1, 2, 3)).mean()
  final = rows(tmp_path / 'run')[-1]
  assert float(final['validation/negative_elbo']) < baseline - 1
  assert float(final['validation/kl']) > 0.3


@pytest.mark.slow
def test_the_seconds_of_a_run_continue_after_a_stop(tiny_run, tmp_path):
  stopped_at(tiny_run, tmp_path / 'run', 4)
  loop.train(tiny_config(keep_checkpoints=10), tmp_path / 'run')
  with open(tmp_path / 'run' / 'metrics.csv', newline='') as file:
    seconds = [float(row['seconds']) for row in csv.DictReader(file)]
  assert seconds == sorted(seconds)


def test_the_chunks_of_an_accelerator_train_the_same_run(tiny_run, tmp_path, monkeypatch):
  monkeypatch.setattr(devices, 'chunk_steps', lambda: 512)
  loop.train(CONFIG, tmp_path / 'run')
  one, two = (state_at(folder, CONFIG, 6) for folder in (tiny_run, tmp_path / 'run'))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), one.ema, two.ema)
  assert [row['step'] for row in rows(tiny_run)] == [row['step'] for row in rows(tmp_path / 'run')]


@pytest.mark.slow
def test_profile_writes_a_trace(tmp_path):
  loop.train(tiny_config(profile=True, num_epochs=4), tmp_path / 'run')
  assert list((tmp_path / 'run').glob('plugins/profile/*/*'))


@pytest.mark.slow
def test_a_smoke_test_shows_its_terms_and_writes_nothing(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  loop.smoke(tiny_config())
  training, validation, *pictures, _ = capsys.readouterr().out.splitlines()
  assert all(f'{name} ' in training for name in ('loss', 'reconstruction', 'kl', 'beta'))
  assert '32 images' in validation
  assert all(f'{name} ' in validation for name in ('negative_elbo', 'reconstruction', 'kl'))
  assert [line.partition(':')[0] for line in pictures] == ['samples', 'reconstructions']
  assert list(tmp_path.iterdir()) == []
