"""Whole runs: that they learn, and that one that was stopped goes on as if it had not been."""

import csv
import re
import shutil

import jax
import numpy as np
import pytest

from cvae_jax import config as config_lib
from cvae_jax.data import datasets
from cvae_jax.runtime import devices
from cvae_jax.runtime.errors import InputError, NonFiniteError, OccupiedError
from cvae_jax.training import checkpoints, loop, program
from cvae_jax.training.run import Run
from tiny import DENSE, rows, tiny_config


def final_state(workdir, config, step):
  like = program.build(config).initial_state()
  state, _ = checkpoints.restore(workdir, step, config, like)
  return state


def steps(workdir):
  return sorted(int(path.name) for path in (workdir / 'checkpoints').iterdir())


def stopped_at(run, workdir, step):
  """A copy of `run` as it was when it had written no checkpoint after `step`."""
  shutil.copytree(run, workdir)
  for later in steps(workdir):
    if later > step:
      shutil.rmtree(workdir / 'checkpoints' / str(later))
  shutil.rmtree(workdir / 'samples')


def test_nothing_is_compiled_after_the_first_epoch_and_terms_are_fetched_once_a_line(
  tmp_path, monkeypatch
):
  compiled, counts, waits = [], [], []

  def listen(event, *_, **__):
    if 'backend_compile' in event:
      compiled.append(event)

  jax.monitoring.register_event_duration_secs_listener(listen)
  validate, device_get = Run._validate, jax.device_get

  def counting_validate(run):
    counts.append(len(compiled))
    return validate(run)

  monkeypatch.setattr(Run, '_validate', counting_validate)
  monkeypatch.setattr(loop.jax, 'device_get', lambda tree: waits.append(tree) or device_get(tree))
  try:
    # 3 steps an epoch, and so few lines that most steps have none.
    loop.train(tiny_config(num_epochs=4, log_every_steps=100, **DENSE), tmp_path / 'run')
  finally:
    jax.monitoring.unregister_event_duration_listener(listen)
  assert counts[0] > 0
  assert counts[1] == counts[2] == counts[3]
  windows = [tree for tree in waits if isinstance(tree, list)]
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
  assert 'Total' in (tiny_run / 'train.log').read_text()  # the overview of the parameters


@pytest.mark.parametrize('norm', ['group', pytest.param('batch', marks=pytest.mark.slow)])
def test_a_run_stopped_in_the_middle_of_an_epoch_goes_on_bit_for_bit(norm, tiny_run, tmp_path):
  config = tiny_config(checkpoint_every_steps=2, keep_checkpoints=10, model__norm=norm)
  whole, stopped = tiny_run, tmp_path / 'stopped'
  if norm == 'batch':
    whole = tmp_path / 'whole'
    loop.train(config, whole)
  # Step 4 is the first of three of its epoch; the line of step 6 averages steps 5 and 6, and with
  # 3 steps a line, also one from before the stop.
  stopped_at(whole, stopped, 4)
  loop.train(config, stopped)
  one, two = (final_state(workdir, config, 6) for workdir in (whole, stopped))
  assert ('batch_stats' in one.variables) == (norm == 'batch')
  jax.tree.map(np.testing.assert_array_equal, one, two)
  assert rows(whole) == rows(stopped)
  grids = [(workdir / 'samples' / 'step_6.png').read_bytes() for workdir in (whole, stopped)]
  assert grids[0] == grids[1]


@pytest.mark.slow
def test_a_line_that_spans_the_stop_is_the_same(tmp_path):
  config = tiny_config(checkpoint_every_steps=2, keep_checkpoints=10, log_every_steps=3)
  loop.train(config, tmp_path / 'whole')
  for step in (2, 4):
    stopped_at(tmp_path / 'whole', tmp_path / str(step), step)
    loop.train(config, tmp_path / str(step))
    assert rows(tmp_path / str(step)) == rows(tmp_path / 'whole')


def test_a_run_stopped_before_its_first_checkpoint_begins_again(tiny_run, tmp_path):
  stopped_at(tiny_run, tmp_path / 'run', 0)
  loop.train(tiny_config(checkpoint_every_steps=2, keep_checkpoints=10), tmp_path / 'run')
  assert rows(tmp_path / 'run') == rows(tiny_run)


def test_a_run_that_is_longer_than_asked_for_says_how_long_it_is(tmp_path, capsys):
  config = tiny_config(learning_rate_schedule='constant', **DENSE)
  loop.train(config, tmp_path / 'run')
  capsys.readouterr()
  config.num_epochs = 1
  loop.train(config, tmp_path / 'run')
  assert 'is complete: 2 epochs, step 6' in capsys.readouterr().out
  assert [path.name for path in (tmp_path / 'run' / 'samples').iterdir()] == ['step_6.png']


def test_a_complete_run_is_left_alone_but_for_a_missing_grid(tiny_run, tmp_path, capsys):
  shutil.copytree(tiny_run, tmp_path / 'run')
  before = (tmp_path / 'run' / 'metrics.csv').read_bytes()
  grid = tmp_path / 'run' / 'samples' / 'step_6.png'
  grid.unlink()
  for _ in range(2):
    loop.train(tiny_config(), tmp_path / 'run')
    said = capsys.readouterr().out
    assert 'is complete: 2 epochs, step 6' in said
    assert f'samples of the prior it was trained with: {grid}' in said
    assert grid.read_bytes() == (tiny_run / 'samples' / 'step_6.png').read_bytes()
  assert (tmp_path / 'run' / 'metrics.csv').read_bytes() == before


def test_another_config_is_refused_and_touches_nothing(tiny_run):
  before = sorted(tiny_run.rglob('*'))
  with pytest.raises(OccupiedError, match=r'latent_dim is 3 there, 4 here'):
    loop.train(tiny_config(latent_dim=4), tiny_run)
  assert sorted(tiny_run.rglob('*')) == before


@pytest.mark.parametrize(
  'changes', [{'batch_size': 0}, {'data__name': 'mnist', 'data__dir': __file__}]
)
def test_what_cannot_begin_leaves_no_folder(changes, tmp_path):
  with pytest.raises(InputError):
    loop.train(tiny_config(**changes), tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_resume_from_goes_on_in_a_folder_that_stands_alone(tiny_run, tmp_path):
  config = tiny_config(checkpoint_every_steps=2, keep_checkpoints=10)
  workdir = tmp_path / 'on'
  loop.train(config, workdir, resume_from=tiny_run / 'checkpoints' / '2')
  assert steps(workdir) == [2, 3, 4, 6]
  one, two = (final_state(folder, config, 6) for folder in (tiny_run, workdir))
  jax.tree.map(np.testing.assert_array_equal, one, two)
  assert rows(workdir) == [row for row in rows(tiny_run) if int(row['step']) > 2]
  with pytest.raises(OccupiedError, match='leave out --resume_from'):
    loop.train(config, workdir, resume_from=tiny_run)


@pytest.mark.slow
def test_resume_from_may_change_what_keeps_the_shapes(tiny_run, tmp_path):
  loop.train(tiny_config(beta=4.0, num_epochs=3), tmp_path / 'on', resume_from=tiny_run)
  assert rows(tmp_path / 'on')[-1]['train/beta'] == '4.0'
  with pytest.raises(InputError, match=r'do not fit: latent_dim is 3 there, 4 here'):
    loop.train(tiny_config(latent_dim=4), tmp_path / 'no', resume_from=tiny_run)
  with pytest.raises(InputError, match=r'from step 6, and the run would end at step 6'):
    loop.train(tiny_config(), tmp_path / 'no', resume_from=tiny_run)
  assert not (tmp_path / 'no').exists()


def test_what_the_weights_do_not_depend_on_may_differ(tiny_run):
  program.check_same_shapes(tiny_run, tiny_config(model__hidden_dim=7, likelihood='gaussian'))
  with pytest.raises(InputError, match=r'do not fit: likelihood is .bernoulli. there'):
    program.check_same_shapes(tiny_run, tiny_config(likelihood='gaussian_learned'))


def test_weights_to_begin_from_are_looked_for_before_the_data(tmp_path, monkeypatch):
  monkeypatch.setattr(datasets, 'load', None)
  with pytest.raises(InputError, match='neither a run folder nor a checkpoint'):
    loop.train(tiny_config(init_from=str(tmp_path / 'nowhere')), tmp_path / 'run')


def test_a_delay_that_never_ends_is_said(tmp_path, capsys):
  changes = {'model__name': 'mlp', 'model__norm': 'none', 'beta_delay_steps': 6}
  loop.train(tiny_config(**changes), tmp_path / 'run')
  assert 'β stays 0: its delay of 6 steps is as long as the run of 6' in capsys.readouterr().out


def test_init_from_starts_anew_from_the_weights_of_another_run(tiny_run):
  config = tiny_config(init_from=str(tiny_run), seed=7)
  state = program.build(config).initial_state()
  trained = final_state(tiny_run, tiny_config(), 6)
  assert int(state.step) == 0
  jax.tree.map(np.testing.assert_array_equal, state.variables, trained.ema)
  config.init_from = str(tiny_run / 'checkpoints' / '2')
  earlier = program.build(config).initial_state()
  jax.tree.map(
    np.testing.assert_array_equal, earlier.variables, final_state(tiny_run, tiny_config(), 2).ema
  )
  with pytest.raises(InputError, match=r'do not fit: model.channels'):
    program.check_init_from(tiny_config(init_from=str(tiny_run), model__channels=(4, 4)))


@pytest.mark.slow
def test_a_run_that_began_from_weights_resumes_without_them(tiny_run, tmp_path):
  shutil.copytree(tiny_run, tmp_path / 'source')
  config = tiny_config(init_from=str(tmp_path / 'source'), keep_checkpoints=10, seed=7)
  loop.train(config, tmp_path / 'whole')
  shutil.rmtree(tmp_path / 'source')
  stopped_at(tmp_path / 'whole', tmp_path / 'stopped', 3)
  loop.train(config, tmp_path / 'stopped')
  assert rows(tmp_path / 'stopped') == rows(tmp_path / 'whole')


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_good_checkpoint(
  tiny_run, tmp_path
):
  config = tiny_config(
    learning_rate=1e30,
    learning_rate_schedule='constant',
    clip_norm=0.0,
    likelihood='gaussian',
    checkpoint_every_steps=1,
    keep_checkpoints=10,
  )
  with pytest.raises(NonFiniteError, match=r'Step \d gave .*--resume_from=') as stop:
    loop.train(config, tmp_path / 'run', resume_from=tiny_run / 'checkpoints' / '2')
  last = steps(tmp_path / 'run')[-1]
  assert f'checkpoints/{last} ' in str(stop.value)
  kept = final_state(tmp_path / 'run', config, last)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(kept))


def test_steps_that_are_skipped_are_counted_and_too_many_in_a_row_stop_the_run(tmp_path, capsys):
  changes = {'on_nonfinite': 'skip', 'max_gradient_norm': 1e-9, 'log_every_steps': 1} | DENSE
  with pytest.raises(NonFiniteError, match=r'Step 5 gave a gradient .*, the 5\. in a row'):
    loop.train(tiny_config(max_skipped_steps=4, **changes), tmp_path / 'run')
  assert '1 of the 1 steps up to 4 were skipped' in capsys.readouterr().out
  config = tiny_config(max_skipped_steps=4, **changes)
  kept = final_state(tmp_path / 'run', config, 3)
  fresh = program.build(config).initial_state()
  jax.tree.map(np.testing.assert_array_equal, kept.variables, fresh.variables)


def test_a_new_best_is_kept_between_the_regular_checkpoints(tmp_path):
  loop.train(tiny_config(checkpoint_every_epochs=100), tmp_path / 'run')
  assert steps(tmp_path / 'run') == [3, 6]


@pytest.mark.slow
def test_no_average_and_a_gaussian_in_bfloat16_train_too(tmp_path):
  config = tiny_config(ema_decay=0.0, likelihood='gaussian', precision='bfloat16', clip_norm=0.0)
  loop.train(config, tmp_path / 'run')
  assert not (tmp_path / 'run' / 'checkpoints' / '6' / 'ema').exists()
  assert rows(tmp_path / 'run')[-1]['validation/bits_per_dim'] == ''


@pytest.mark.slow
def test_bits_per_dimension_of_binary_images(tmp_path):
  config = tiny_config(num_epochs=1, data__binarize='dynamic', **DENSE)
  loop.train(config, tmp_path / 'run')
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
    model__channels=(8, 16),
  )
  loop.train(config, tmp_path / 'run')
  prog = program.build(config)
  grey = np.float64(prog.validation.images) / 255
  mean = np.clip(np.float64(prog.train.images).mean(0) / 255, 1e-3, 1 - 1e-3)
  baseline = -(grey * np.log(mean) + (1 - grey) * np.log1p(-mean)).sum((1, 2, 3)).mean()
  final = rows(tmp_path / 'run')[-1]
  assert float(final['validation/negative_elbo']) < baseline - 1
  assert float(final['validation/kl']) > 0.3


@pytest.mark.slow
def test_the_seconds_of_a_run_go_on_after_a_stop(tiny_run, tmp_path):
  stopped_at(tiny_run, tmp_path / 'run', 4)
  loop.train(tiny_config(keep_checkpoints=10), tmp_path / 'run')
  with open(tmp_path / 'run' / 'metrics.csv', newline='') as file:
    seconds = [float(row['seconds']) for row in csv.DictReader(file)]
  assert seconds == sorted(seconds)


def test_the_chunks_of_an_accelerator_train_the_same_run(tiny_run, tmp_path, monkeypatch):
  monkeypatch.setattr(devices, 'chunk_steps', lambda: 512)
  config = tiny_config(checkpoint_every_steps=2, keep_checkpoints=10)
  loop.train(config, tmp_path / 'run')
  one, two = (final_state(folder, config, 6) for folder in (tiny_run, tmp_path / 'run'))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), one.ema, two.ema)
  assert [row['step'] for row in rows(tiny_run)] == [row['step'] for row in rows(tmp_path / 'run')]


@pytest.mark.slow
def test_profile_writes_a_trace(tmp_path):
  loop.train(tiny_config(profile=True, num_epochs=4), tmp_path / 'run')
  assert list((tmp_path / 'run').glob('plugins/profile/*/*'))


@pytest.mark.slow
def test_smoke_says_what_it_did_and_writes_nothing(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  loop.smoke(tiny_config())
  said = capsys.readouterr().out
  assert 'train step: loss' in said
  assert re.search(r'validation −ELBO [\d.]+ = [\d.]+ \+ KL [\d.]+, of 32 images', said)
  assert 'sample grid: ' in said
  assert list(tmp_path.iterdir()) == []


def test_free_fields_are_saved_when_they_change(tiny_run, tmp_path):
  shutil.copytree(tiny_run, tmp_path / 'run')
  loop.train(tiny_config(keep_checkpoints=7), tmp_path / 'run')
  assert config_lib.read(tmp_path / 'run').config.keep_checkpoints == 7


@pytest.mark.slow
@pytest.mark.parametrize(('beta', 'said_to'), [(200.0, True), (0.0, False)])
def test_latents_that_are_not_used_are_said_once_beta_has_risen(beta, said_to, tmp_path, capsys):
  fields = {'num_epochs': 40, 'beta': beta, 'beta_warmup_epochs': 25.0, 'learning_rate': 0.02}
  fields |= {'eval_every_epochs': 10, 'checkpoint_every_epochs': 40}
  loop.train(tiny_config(**fields, **DENSE), tmp_path / 'run')
  lines = capsys.readouterr().out.splitlines()
  found = [number for number, line in enumerate(lines) if 'posterior collapse' in line]
  assert len(found) == said_to
  if said_to:
    assert lines[found[0]].startswith('posterior collapse: 0 of 3 latents answer to the image')
    assert lines[found[0] - 1].startswith('epoch  30/40')


def test_the_same_config_gives_the_same_bits(tiny_run, tmp_path):
  config = tiny_config(checkpoint_every_steps=2, keep_checkpoints=10)
  loop.train(config, tmp_path / 'again')
  assert rows(tiny_run) == rows(tmp_path / 'again')
  states = [final_state(run, config, 6) for run in (tiny_run, tmp_path / 'again')]
  jax.tree.map(np.testing.assert_array_equal, *states)


def test_a_run_whose_checkpoints_are_gone_keeps_its_log(tiny_run, tmp_path, capsys):
  run = tmp_path / 'run'
  shutil.copytree(tiny_run, run)
  shutil.rmtree(run / 'checkpoints')
  loop.train(tiny_config(checkpoint_every_steps=2, keep_checkpoints=10), run)
  assert f'begins anew, and its log is kept as {run}/damaged/metrics.csv' in capsys.readouterr().out
  before = (run / 'damaged' / 'metrics.csv').read_bytes()
  assert before == (tiny_run / 'metrics.csv').read_bytes()
  assert rows(run) == rows(tiny_run)
