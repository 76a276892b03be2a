"""Where chunks begin and end; streamed images train the same weights."""

import os

import jax
import numpy as np
import pytest

from cvae_jax.data import datasets
from cvae_jax.data.readers import file_rows
from cvae_jax.runtime import devices
from cvae_jax.runtime.errors import InputError
from cvae_jax.training import feed, finish, program
from tiny import tiny_config


@pytest.mark.parametrize('longest', [1, 2, 512])
def test_chunks_end_at_fixed_steps(longest):
  def bounds(start):
    return list(feed.bounds(start, 21, 7, checkpoint_every_steps=5, longest=longest))

  whole = bounds(0)
  begins, ends = zip(*whole, strict=True)
  assert begins == (0, *ends[:-1])
  assert {5, 7, 10, 14, 15, 20, 21} <= set(ends)
  lengths = np.subtract(ends, begins)
  assert max(lengths) <= longest
  assert set(lengths) <= {1, 2, 4}  # few programs to compile
  for start in begins:
    assert bounds(start) == [bound for bound in whole if bound[0] >= start]


def test_an_epoch_is_one_chunk_where_nothing_cuts_it():
  assert list(feed.bounds(0, 858, 429, 0, 512)) == [(0, 429), (429, 858)]
  assert list(feed.bounds(0, 1000, 1000, 0, 512)) == [(0, 512), (512, 1000)]
  assert list(feed.bounds(600, 1000, 1000, 0, 512)) == [(600, 1000)]


def trained(placement, bounds, begin_state=None):
  prog = program.build(tiny_config(data__placement=placement))
  assert prog.feed.placement == placement
  state = begin_state or prog.fresh_state()
  for begin, end, data in prog.chunks(bounds):
    assert int(state.step) == begin
    state, terms = prog.chunk(state, data, num_steps=end - begin)
  return prog, state, terms


SINGLE_STEPS = [(number, number + 1) for number in range(6)]


@pytest.fixture(scope='module')
def on_device():
  return trained('device', SINGLE_STEPS)


def assert_same(state, other):
  same = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6)  # noqa: E731
  jax.tree.map(same, (state.variables, state.ema), (other.variables, other.ema))


@pytest.mark.parametrize('bounds', [SINGLE_STEPS, [(0, 2), (2, 3), (3, 6)]])
def test_streamed_images_train_the_same_weights(on_device, bounds):
  _, expected, _ = on_device
  prog, state, _ = trained('stream', bounds)
  assert isinstance(prog.train.images, np.ndarray)
  assert_same(state, expected)


def test_a_stream_resumes_at_any_step(on_device):
  _, expected, _ = on_device
  _, halfway, _ = trained('stream', SINGLE_STEPS[:4])
  _, state, _ = trained('stream', SINGLE_STEPS[4:], halfway)
  assert_same(state, expected)


def test_a_streamed_validation_is_the_same(on_device):
  prog, state, _ = on_device
  streamed, _, _ = trained('stream', SINGLE_STEPS[:1])
  results = [
    p.evaluate(state.eval_variables, p.validation.images, p.validation.labels, jax.random.key(3))
    for p in (prog, streamed)
  ]
  assert results[0] == pytest.approx(results[1], rel=1e-6)


@pytest.mark.parametrize(
  ('free', 'expected'), [(None, 'device'), (10**9, 'device'), (10_000, 'stream')]
)
def test_auto_streams_what_would_fill_more_than_half_of_the_free_memory(
  monkeypatch, free, expected
):
  monkeypatch.setattr(devices, 'free_bytes', lambda: free)
  assert program.build(tiny_config()).feed.placement == expected


def test_streamed_chunks_stay_small(monkeypatch):
  monkeypatch.setattr(devices, 'chunk_steps', lambda: 512)
  monkeypatch.setattr(feed, 'MAX_STREAMED_BYTES', 3 * 32 * 64)
  assert program.build(tiny_config(data__placement='stream')).feed.longest == 3
  assert program.build(tiny_config()).feed.longest == 512


def test_images_in_a_file_train_the_same_weights(tmp_path, monkeypatch):
  monkeypatch.setattr(file_rows, 'MAX_IN_MEMORY', 0)
  config = tiny_config()
  splits = datasets.load(config)

  def in_file(name, dataset):
    np.save(tmp_path / name, dataset.images)
    return dataset._replace(images=file_rows.in_file(np.load(tmp_path / name, mmap_mode='r')))

  in_files = in_file('train.npy', splits.train), in_file('validation.npy', splits.validation)
  states, artifacts, placements = [], [], []
  for placement, (train, validation) in (
    ('stream', splits[:2]),
    ('auto', in_files),
    ('device', in_files),
  ):
    config.data.placement = placement
    prog = program.assemble(config, train, validation)
    placements.append(prog.feed.placement)
    state = prog.fresh_state()
    for begin, end, data in prog.chunks(SINGLE_STEPS):
      state, _ = prog.chunk(state, data, num_steps=end - begin)
    states.append((state, prog.validate(state)))
    made = prog.task.finish(state.variables, finish.on_host(prog.train), jax.random.key(0))
    artifacts.append(made['prior'].arrays)
  assert placements == ['stream', 'stream', 'device']  # on a CPU, auto leaves them in their file
  for (state, validation), arrays in zip(states[1:], artifacts[1:], strict=True):
    assert_same(state, states[0][0])
    assert validation == pytest.approx(states[0][1], rel=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), arrays, artifacts[0])


def test_a_file_that_becomes_shorter_ends_the_run(tmp_path, monkeypatch):
  monkeypatch.setattr(file_rows, 'MAX_IN_MEMORY', 0)
  config = tiny_config()
  train, validation, _ = datasets.load(config)
  np.save(tmp_path / 'train.npy', train.images)
  images = file_rows.in_file(np.load(tmp_path / 'train.npy', mmap_mode='r'))
  prog = program.assemble(config, train._replace(images=images), validation)
  chunks = prog.chunks(SINGLE_STEPS)
  next(chunks)
  os.truncate(tmp_path / 'train.npy', 200)
  with pytest.raises(InputError, match=r'train\.npy has become shorter'):
    list(chunks)
