"""A run that is asked to end: by a person, a scheduler, or the time it was given."""

import signal

import pytest

from cvae_jax.runtime.errors import StoppedError
from cvae_jax.training import loop, stopping
from cvae_jax.training.run import Run
from long_run import LongRun, last_step, wait_until
from tiny import DENSE, tiny_config

RUN = LongRun(num_epochs=60)


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """The run that nothing stopped."""
  run = tmp_path_factory.mktemp('whole')
  loop.train(RUN.config(), run)
  return run


@pytest.mark.slow
def test_signals_leave_a_checkpoint_from_which_the_run_ends_as_if_none_had_come(tmp_path, whole):
  run, steps = tmp_path / 'stopped', [0]
  for number, name in ((signal.SIGTERM, 'SIGTERM'), (signal.SIGINT, 'Ctrl-C')):
    process = RUN.begin(tmp_path, 'stopped')
    wait_until(lambda: last_step(run) > steps[-1], process)
    process.send_signal(number)
    _, said = process.communicate(timeout=15)
    assert process.returncode == 128 + number
    (line,) = said.splitlines()
    assert line.startswith(f'train.py: Stopped by {name} at step ')
    steps.append(int(line.partition('at step ')[2].split()[0]))
    assert steps[-2] < steps[-1] < RUN.last
    assert (run / 'checkpoints' / str(steps[-1])).is_dir()
  done = RUN.complete(tmp_path, 'stopped')
  assert (done.returncode, done.stderr) == (0, '')
  assert f'resuming at step {steps[-1]}' in done.stdout
  RUN.assert_same(run, whole)


def test_a_run_that_has_had_its_time_goes_on_with_more(tmp_path, whole):
  run = tmp_path / 'run'
  with pytest.raises(StoppedError, match=r'by max_train_seconds=0\.01 at step 1 of 1500') as stop:
    loop.train(RUN.config(max_train_seconds=0.01), run)
  assert stop.value.status == 0
  loop.train(RUN.config(max_train_seconds=1e9), run)
  RUN.assert_same(run, whole)


def test_a_second_signal_is_served_as_before():
  seen = []
  before = signal.signal(signal.SIGTERM, lambda number, _: seen.append(number))
  try:
    with stopping.listening(max_seconds=0) as asked:
      assert asked() is None
      signal.raise_signal(signal.SIGTERM)
      assert (asked(), seen) == (('SIGTERM', 143), [])
      signal.raise_signal(signal.SIGTERM)
      assert (asked(), seen) == (('SIGTERM', 143), [signal.SIGTERM])
    signal.raise_signal(signal.SIGTERM)
    assert seen == [signal.SIGTERM] * 2
  finally:
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
  ('now', 'best', 'warmup', 'expected'),
  [
    (10, 7, 0, False),
    (11, 7, 0, True),  # four steps without a better one
    (11, 2, 8, False),  # three of them since the warm-up
    (12, 2, 8, True),
    (12, 9, 8, False),
    (99, None, 0, False),
  ],
)
def test_a_run_stagnates_if_nothing_improves_for_long_after_the_warm_up(
  now, best, warmup, expected
):
  assert stopping.is_stagnant(now, best, warmup, patience=4) == expected
  assert not stopping.is_stagnant(now, best, warmup, patience=0)


def test_a_run_stops_early_once_and_for_all(tmp_path, monkeypatch, capsys):
  bounds = iter([30.0, 20.0, 25.0, 24.0, 21.0, 19.0])
  monkeypatch.setattr(
    Run,
    '_validate',
    lambda *_: dict.fromkeys(('reconstruction', 'kl'), 1.0) | {'negative_elbo': next(bounds)},
  )
  config = tiny_config(num_epochs=9, early_stopping_epochs=3, beta_warmup_epochs=1.0, **DENSE)
  loop.train(config, tmp_path / 'run')
  said = capsys.readouterr().out
  assert 'stopped early: no better validation since epoch 2 (early_stopping_epochs=3)' in said
  assert 'best: epoch 2, step 6, validation −ELBO 20.00 = 1.00 + KL 1.00\n' in said
  assert 'last: epoch 5, step 15, validation −ELBO 21.00' in said
  assert f'python evaluate.py --workdir={tmp_path}/run' in said
  assert (tmp_path / 'run' / 'samples' / 'step_15.png').is_file()
  loop.train(config, tmp_path / 'run')
  assert 'is complete: 5 epochs, step 15' in capsys.readouterr().out
  # More patience, and the run goes on.
  config.early_stopping_epochs, config.max_train_seconds = 4, 1e-9
  with pytest.raises(StoppedError, match='at step 16 of 27'):
    loop.train(config, tmp_path / 'run')
