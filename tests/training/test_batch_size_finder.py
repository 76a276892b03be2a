"""Batch sizes: the memory of a compiled step, which sizes are tried, which is suggested."""

import jax
import pytest

from cvae_jax.data import datasets
from cvae_jax.runtime.errors import InputError
from cvae_jax.training import batch_size_finder as finder
from cvae_jax.training import program
from cvae_jax.training.batch_size_finder import Trial
from tiny import tiny_config

CONFIG = tiny_config(data__max_examples=0)


@pytest.fixture(scope='module')
def parts():
  found = datasets.load(CONFIG)
  return found.train, found.validation


def test_a_step_needs_its_state_its_images_and_what_it_computes(parts):
  needs = []
  for size in (64, 128):
    config = tiny_config(data__max_examples=0, batch_size=size)
    needs.append(finder.step_bytes(program.assemble(config, *parts)))
  prog = program.assemble(CONFIG, *parts)
  state = jax.eval_shape(prog.fresh_state)
  at_least = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
  at_least += prog.train.images.nbytes
  assert at_least < needs[0] < needs[1] < at_least + (1 << 22)
  pixels = 64 * 8 * 8 * 4  # of 64 more images in float32, at least once
  assert needs[1] - needs[0] > pixels


def test_a_few_real_steps_have_a_pace(parts):
  trial = finder.try_size(CONFIG, 32, *parts)
  assert trial.fits
  assert trial.images_per_second > 0
  assert finder.try_size(CONFIG, 32, *parts, runs=False).images_per_second is None


def test_memory_that_is_not_there_is_not_taken(parts, monkeypatch):
  monkeypatch.setattr(finder, 'memory_bytes', lambda: 1000)
  monkeypatch.setattr(finder, 'images_per_second', lambda _: pytest.fail('it ran'))
  (trial,) = finder.powers(CONFIG, *parts)
  assert not trial.fits
  assert not next(finder.bisection(CONFIG, *parts)).fits


def pretend(monkeypatch, limit, pace=lambda size: 100.0):
  """As if steps of up to `limit` images fitted, and had that pace."""

  def try_size(config, size, train, validation, runs=True):
    return Trial(size, 2**20 * size, size <= limit, pace(size) if runs and size <= limit else None)

  monkeypatch.setattr(finder, 'try_size', try_size)


def test_powers_end_where_larger_is_no_faster(parts, monkeypatch):
  pretend(monkeypatch, limit=10_000, pace=lambda size: min(size, 64))
  assert [trial.batch_size for trial in finder.powers(CONFIG, *parts)] == [16, 32, 64, 128, 256]
  pretend(monkeypatch, limit=100, pace=lambda size: size)
  trials = list(finder.powers(CONFIG, *parts))
  assert [trial.batch_size for trial in trials] == [16, 32, 64, 128]
  assert [trial.fits for trial in trials] == [True, True, True, False]


@pytest.mark.parametrize('limit', [16, 100, 517, 1000, 10_000])
def test_bisection_ends_near_the_limit(parts, monkeypatch, limit):
  pretend(monkeypatch, limit)
  *_, last = finder.bisection(CONFIG, *parts)
  most = min(limit, len(parts[0].labels))
  assert most / finder.MAX_RATIO - 1 <= last.batch_size <= most
  assert last.images_per_second == 100.0


def test_a_size_that_runs_out_of_memory_although_it_should_fit_is_halved(parts, monkeypatch):
  pretend(monkeypatch, 10_000)
  pretended = finder.try_size

  def try_size(config, size, train, validation, runs=True):
    trial = pretended(config, size, train, validation, runs)
    return trial._replace(fits=False, images_per_second=None) if runs and size > 300 else trial

  monkeypatch.setattr(finder, 'try_size', try_size)
  *_, last = finder.bisection(CONFIG, *parts)
  assert last.fits
  assert 150 <= last.batch_size <= 300


def test_the_suggestion(monkeypatch, capsys):
  pretend(monkeypatch, limit=100, pace=lambda size: min(size, 32))
  finder.suggest(CONFIG, 'power')
  lines = capsys.readouterr().out.splitlines()
  assert lines[-1].endswith('--config.batch_size=32')
  assert lines[-2] == 'batch    128     0.12 GiB  does not fit'
  finder.suggest(CONFIG, 'binsearch')
  assert '--config.batch_size=9' in capsys.readouterr().out.splitlines()[-1]
  pretend(monkeypatch, limit=1)
  with pytest.raises(InputError, match='batch'):
    finder.suggest(CONFIG, 'power')
