"""The search for the nearest training images, and what copies do to the numbers."""

import dataclasses

import numpy as np
import pytest
from scipy.spatial import distance

import cvae_jax
from cvae_jax.data.readers import file_rows
from cvae_jax.evaluation import classifier, memorization
from cvae_jax.evaluation.report import Evaluation

SHAPE = (6, 5, 2)


def images(count, seed):
  return np.random.RandomState(seed).randint(0, 256, (count, *SHAPE), np.uint8)


def flat(rows):
  rows = rows.reshape(len(rows), np.prod(rows.shape[1:])) / (255 if rows.dtype == np.uint8 else 1)
  return np.float64(rows)


@pytest.fixture
def few_at_once(monkeypatch):
  """Several pieces of both sides, the last of them short."""
  monkeypatch.setattr(memorization, 'QUERY_ROWS', 16)
  monkeypatch.setattr(memorization, 'OTHER_ROWS', 32)


@pytest.mark.parametrize('kind', ['bytes', 'floats', 'bytes in a file'])
def test_the_nearest_are_those_of_scipy(few_at_once, kind, tmp_path, monkeypatch):
  queries, others = images(40, 0), images(101, 1)
  others[77] = queries[3]
  if kind == 'floats':
    queries, others = (np.float32(flat(x)[:, :7]) for x in (queries, others))
  expected = distance.cdist(flat(queries), flat(others))
  if kind == 'bytes in a file':
    monkeypatch.setattr(file_rows, 'MAX_IN_MEMORY', 0)
    np.save(tmp_path / 'others.npy', others)
    others = file_rows.in_file(np.load(tmp_path / 'others.npy', mmap_mode='r'))
    assert isinstance(others, file_rows.FileRows)
  fractions = []
  found = memorization.nearest(queries, others, fractions.append)
  np.testing.assert_array_equal(found.rows, expected.argmin(axis=1))
  np.testing.assert_allclose(found.distances, expected.min(axis=1), rtol=1e-5)
  assert (found.rows[3], found.distances[3]) == (77, 0)
  assert fractions == sorted(fractions)
  assert fractions[-1] == 1


def test_of_no_images_there_is_nothing_near():
  found = memorization.nearest(images(0, 0), images(3, 1))
  assert found.distances.shape == found.rows.shape == (0,)


class Judge(classifier.Classifier):
  """Its features are the sums of rows of pixels."""

  def judge(self, images):
    return np.float32((images / 255).sum(axis=(2, 3))), None


def measured(tiny_run, samples, num_real=1_000):
  model = dataclasses.replace(cvae_jax.load(tiny_run), image_shape=SHAPE)
  judge, training, unseen = Judge({}, 10, 'trained'), images(500, 2), images(num_real, 3)
  known = memorization.reference(
    judge, 'in features', 'a weak judge', training, unseen, judge.judge(unseen)[0]
  )
  evaluation = Evaluation(model, 'test', 300, 300, 5000)
  features, _ = judge.judge(samples)
  labels = np.full(len(samples), -1)
  memorization.add_metrics(evaluation, 'g', known, samples, features, labels, 'from here', 'near')
  return {metric.name: metric for metric in evaluation.metrics}, evaluation, training


def test_one_of_each_class_comes_before_the_second_of_any():
  order = memorization.in_turns(np.array([2, 2, 0, 1, 2, 0]))
  np.testing.assert_array_equal(order, [2, 3, 0, 5, 1, 4])
  np.testing.assert_array_equal(memorization.in_turns(np.full(4, -1)), np.arange(4))


def test_copies_are_told_from_new_images(tiny_run):
  new, _, training = measured(tiny_run, images(1_000, 4))
  assert list(new) == [*memorization.METRICS]
  copies = images(1_000, 4)
  copies[::2] = training
  some, _, _ = measured(tiny_run, copies)
  for space in memorization.SPACES:
    ratio, fraction = (new[f'{name}_{space}'] for name in ('training_distance', 'near_copies'))
    assert ratio.low < 1 < ratio.high
    assert ratio.high - ratio.low < 0.1
    assert fraction.low < 0.01 < fraction.high
    assert fraction.value < 0.03
    assert f'of {len(training)} training images' in fraction.protocol
    assert '1,000 samples, from here' in fraction.protocol
    assert ratio.warning == fraction.warning == ('a weak judge' if space == 'features' else '')
    assert 0.5 <= some[f'near_copies_{space}'].value < 0.53
    assert some[f'training_distance_{space}'].high < 0.95


def test_all_copies_are_at_no_distance(tiny_run):
  found, _, _ = measured(tiny_run, images(500, 2), num_real=40)
  for space in memorization.SPACES:
    assert found[f'training_distance_{space}'].value == 0
    assert found[f'near_copies_{space}'].value == 1
    assert '40 unseen' in found[f'near_copies_{space}'].warning


def test_the_figure_has_the_nearest_under_each_sample(tiny_run, monkeypatch):
  shown = []
  monkeypatch.setattr(
    memorization.figures, 'image_grid', lambda tiles, *_, **__: shown.append(tiles)
  )
  samples, copied, judge = images(30, 4), images(500, 2)[7], Judge({}, 10)
  samples[25] = copied
  _, evaluation, training = measured(tiny_run, samples)
  assert list(evaluation.undrawn) == ['near']
  evaluation.undrawn['near']()
  (tiles,) = shown
  assert tiles.shape[:2] == (6, 10)
  first = np.float32(samples[:10]) / 255
  in_pixels = distance.cdist(flat(first), flat(training)).argmin(axis=1)
  both = judge.judge(samples[:10])[0], judge.judge(training)[0]
  in_features = distance.cdist(*both).argmin(axis=1)
  # The last channel of two is left out of pictures.
  for row, expected in enumerate([first, training[in_pixels] / 255, training[in_features] / 255]):
    np.testing.assert_allclose(tiles[row], expected[..., : tiles.shape[-1]], rtol=1e-6)
  for row in (3, 4, 5):  # the most similar sample comes first
    np.testing.assert_allclose(tiles[row, 0], copied[..., : tiles.shape[-1]] / 255, rtol=1e-6)


def test_without_unseen_images_there_is_nothing_to_compare_with(tiny_run):
  found, evaluation, _ = measured(tiny_run, images(0, 0), num_real=0)
  assert {metric.value for metric in found.values()} == {None}
  assert list(found) == [*memorization.METRICS]
  assert not evaluation.undrawn
