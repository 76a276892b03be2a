"""Models of tables of conditions: what samples show of what they were asked for."""

import dataclasses

import numpy as np
import pytest

import cvae_jax
from cvae_jax.config import Column
from cvae_jax.data import datasets
from cvae_jax.data.measures import MEASURES
from cvae_jax.data.readers import Source, Split
from cvae_jax.evaluation import classifier, column_judge, conditions, generation, scatter, suite
from cvae_jax.evaluation.conditions import Judgement, Pairs
from cvae_jax.evaluation.report import Evaluation
from cvae_jax.inference import inputs
from cvae_jax.models import generation as network_functions
from cvae_jax.training import loop
from tiny import tiny_config

NAN = np.nan
SHAPE = Column('shape', 'category', ('upright', 'level'))  # of a bar: the class
SIDE = Column('side', 'category', ('first', 'middle', 'last'))  # third in which it lies
LIT = Column('lit', 'flag')  # whether the ground is
SPOT = Column('spot/size', 'number', unit='mm')  # brightness of the corner


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
  """Judges that are trained for 300 steps, into a cache of the test."""
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  monkeypatch.setattr(classifier, 'MIN_STEPS', 300)


def bars(count, seed=0):
  """Images of bars, uint8 [N, 9, 9, 1], and their cells; one in ten is empty."""
  random = np.random.RandomState(seed)
  shape, side, lit = random.randint(0, [2, 3, 2], (count, 3)).T
  spot = random.uniform(1, 5, count)
  images = np.where(lit, 60, 0)[:, None, None] + random.randint(0, 20, (count, 9, 9))
  for image, is_level, place, size in zip(images, shape, side, spot, strict=True):
    (image.T if not is_level else image)[3 * place + 1] = 200
    image[0, 0] = image[0, 8] = image[8, 0] = image[8, 8] = 50 * size
  cells = np.stack([shape, side, lit, spot], axis=1).astype(np.float32)
  cells[random.rand(*cells.shape) < 0.1] = NAN
  return images.astype(np.uint8)[..., None], cells


@pytest.fixture(scope='module')
def config():
  fields = {'data__name': 'arrays', 'data__image_size': 9, 'data__num_classes': 0}
  return tiny_config(
    **fields, data__max_examples=0, data__conditions='all', classifier_weight=0.0, num_epochs=1
  )


@pytest.fixture(scope='module')
def source():
  splits = {}
  for seed, (name, count) in enumerate({'train': 600, 'validation': 100, 'test': 300}.items()):
    images, cells = bars(count, seed)
    splits[name] = Split(images, np.nan_to_num(cells[:, 0], nan=-1).astype(np.int32), cells)
  return Source(splits, SHAPE.names, True, columns=(SHAPE, SIDE, LIT, SPOT))


@pytest.fixture(scope='module')
def run(config, source, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('runs') / 'bars'
  loop.train(config, workdir, source=source)
  return workdir


@pytest.fixture(scope='module')
def digits_run(tmp_path_factory):
  workdir = tmp_path_factory.mktemp('runs') / 'digits'
  loop.train(tiny_config(data__conditions='digit,slant', num_epochs=1), workdir)
  return workdir


def found(evaluation):
  return {metric.name: metric for metric in evaluation.metrics}


def measured(model, data, images, monkeypatch, asked=('conditions',)):
  """The group of a generator that draws these images for the conditions of the test images."""
  monkeypatch.setattr(generation, 'draw', lambda *_: images)
  dataset = data.test
  evaluation = Evaluation(model, 'test', len(dataset.labels), len(dataset.labels), 3, asked)
  conditions.add_metrics(evaluation, data, dataset)
  return evaluation


@pytest.mark.slow
def test_every_kind_of_column_of_a_perfect_generator_and_of_one_that_mixes_rows_up(
  run, config, source, monkeypatch, capsys
):
  model, data = cvae_jax.load(run), datasets.load(config, source=source)
  metrics = found(measured(model, data, data.test.images, monkeypatch))
  names = ['shape_accuracy', 'side_accuracy', 'lit_accuracy', 'lit_auroc']
  names += ['spot/size_r2', 'spot/size_mean_absolute_error']
  assert sorted(metrics) == sorted([*names, *(f'{name}_of_real_images' for name in names)])
  for name in names:  # of the same images, so a judge sees the same
    real = metrics[f'{name}_of_real_images']
    drawn = metrics[name]
    assert (drawn.value, drawn.low, drawn.high) == (real.value, real.low, real.high)
    assert drawn.warning == ''
  for name in names[:4]:
    assert metrics[name].value > 0.95
  assert metrics['spot/size_r2'].value > 0.9
  error = metrics['spot/size_mean_absolute_error']
  assert (error.unit, error.value < 0.5) == ('mm', True)
  known = np.isfinite(data.test.table.values).sum(axis=0)
  assert f'{known[3]:,} real images' in metrics['spot/size_r2_of_real_images'].protocol
  mixed = found(measured(model, data, np.roll(data.test.images, 1, 0), monkeypatch))
  assert 'training' not in capsys.readouterr().out.split('once')[-1]  # the judges are kept
  assert mixed['side_accuracy'].high < 0.6
  assert mixed['spot/size_r2'].high < 0
  assert abs(mixed['lit_auroc'].value - 0.5) < 0.15
  for name in names:  # the judge stays what it was
    assert mixed[f'{name}_of_real_images'] == metrics[f'{name}_of_real_images']


@pytest.mark.slow
def test_what_the_judge_of_columns_reads_does_not_depend_on_other_images(run, config, source):
  data = datasets.load(config, source=source)
  judge = column_judge.reference(config.data, data.train, [1, 2, 3])
  together, alone = judge.read(data.test.images[:5]), judge.read(data.test.images[3:4])
  for name, values in together.items():
    np.testing.assert_allclose(values[3:4], alone[name], rtol=1e-4)
  # In the unit of the column.
  assert 1 < together['spot/size'].mean() < 5


def test_measured_numbers_of_samples_are_measured(digits_run, monkeypatch, capsys):
  model = cvae_jax.load(digits_run)
  data = model.data()
  evaluation = measured(model, data, data.test.images, monkeypatch)
  metrics = found(evaluation)
  assert metrics['slant_r2'].value == pytest.approx(1, abs=1e-5)
  assert metrics['slant_mean_absolute_error'].value == pytest.approx(0, abs=1e-5)
  assert 'slant_r2_of_real_images' not in metrics
  evaluation.draw_all()
  (picture,) = evaluation.pictures.values()
  assert picture.png
  assert 'slant' in picture.title
  # Ten are empty: nothing can be measured of them.
  images = np.roll(data.test.images, 1, 0)
  images[:10] = 0
  truth, seen = (MEASURES['slant'](x)[10:] for x in (data.test.images, images))
  metrics = found(measured(model, data, images, monkeypatch))
  error = metrics['slant_mean_absolute_error']
  assert error.value == pytest.approx(np.abs(truth - seen).mean(), rel=1e-4)
  assert '10 of 300 samples cannot be measured' in error.warning


def test_samples_have_the_conditions_of_the_images_row_by_row(digits_run, monkeypatch):
  model, drawn = cvae_jax.load(digits_run), []
  data = model.data()

  def sample(model, rows, *_):
    drawn.append(rows.values)
    return model.decode(np.zeros((len(rows), 3), np.float32), conditions=rows)

  monkeypatch.setattr(generation, 'sample', sample)
  dataset = data.test.take(slice(40))
  evaluation = Evaluation(model, 'test', 40, 300, 3)
  conditions.add_metrics(evaluation, data, dataset)
  np.testing.assert_array_equal(drawn[0], dataset.conditions)
  drawn.clear()
  generation.add_metrics(evaluation, data, dataset)
  np.testing.assert_array_equal(drawn[0], data.validation.conditions[:40])
  of_training = np.concatenate([data.train.conditions, data.validation.conditions])[:40]
  np.testing.assert_array_equal(drawn[1], of_training)


def test_a_model_without_a_table_has_the_group_only_where_it_is_asked_for(tiny_run):
  model = cvae_jax.load(tiny_run)
  data = model.data()
  for asked, count in ((suite.GROUPS, 0), (('conditions',), 1)):
    evaluation = Evaluation(model, 'test', 300, 300, 3, asked)
    conditions.add_metrics(evaluation, data, data.test)
    assert [metric.value for metric in evaluation.metrics] == count * [None]


@pytest.fixture
def judged(tiny_run):
  """Gives the metrics of one column from values alone."""
  model = cvae_jax.load(tiny_run)

  def judged(column, asked, seen, real, real_seen):
    pairs = [Pairs.of(np.float64(x), np.float64(y)) for x, y in ((asked, seen), (real, real_seen))]
    evaluation = Evaluation(model, 'test', 10, 10, 3)
    conditions.add_column(evaluation, column, Judgement(*pairs, 'seen by one'), 'samples')
    return found(evaluation)

  return judged


def test_accuracies_leave_out_empty_cells(judged):
  metrics = judged(SIDE, [0, 1, 2, NAN, 1], [0, 1, 1, 1, 1], 100 * [0, 1, 2], 100 * [0, 1, 2])
  assert metrics['side_accuracy'].value == 0.75
  assert metrics['side_accuracy_of_real_images'].value == 1
  of_flag = judged(LIT, [1, 1, 0, NAN], [2.0, -1.0, -3.0, 9.0], 50 * [0, 1], 50 * [-1, 1])
  assert of_flag['lit_accuracy'].value == pytest.approx(2 / 3)
  assert of_flag['lit_auroc'].value == 1  # the right order, though one is on the wrong side


@pytest.mark.parametrize(
  ('column', 'real', 'seen', 'reason'),
  [
    (SIDE, 30 * [0, 1], 60 * [0], 'always naming the most frequent'),
    (LIT, 30 * [0, 1], 15 * [0, 1, 1, 0], '0.50'),
    (LIT, 30 * [1], 30 * [3], 'one lit'),
    (SPOT, 30 * [1, 2], 15 * [1, 2, 2, 1], 'chance'),
    (SPOT, 30 * [2], 30 * [2], 'one spot'),
    (SPOT, 30 * [NAN], 30 * [2], 'no real image'),
  ],
)
def test_a_judge_that_knows_nothing_of_a_column_judges_nothing(judged, column, real, seen, reason):
  metrics = judged(column, [0, 1, 1], [0, 1, 1], real, seen)
  for name in conditions.METRICS[column.kind]:
    metric = metrics[f'{column.name}_{name}']
    assert metric.value is None
    assert reason in metric.protocol


def test_a_judge_that_is_often_wrong_is_named_beside_what_it_says(judged):
  random = np.random.RandomState(0)
  truth = random.randn(500)
  metrics = judged(SPOT, [0, 1, 2], [0, 1, 2], truth, truth + 0.7 * random.randn(500))
  assert metrics['spot/size_r2'].value == 1
  assert metrics['spot/size_r2'].warning == metrics['spot/size_r2_of_real_images'].warning != ''


def test_one_value_for_all_samples_leaves_what_it_leaves(judged):
  metrics = judged(SPOT, [2, 2], [2, 3], 50 * [1, 2, 3], 50 * [1, 2, 3])
  assert metrics['spot/size_r2'].value is None
  assert metrics['spot/size_mean_absolute_error'].value == 0.5


@pytest.mark.slow
def test_no_column_is_a_category(tmp_path):
  loop.train(tiny_config(data__conditions='slant', num_epochs=1), tmp_path / 'run')
  model = cvae_jax.load(tmp_path / 'run')
  evaluation = suite.evaluate(model, model.data(), 'test', 3, 30)
  metrics = found(evaluation)
  for name in ('accuracy', 'calibration_error', 'coverage'):
    assert metrics[name].value is None
  assert metrics['slant_r2'].value is not None
  for name in ('negative_elbo', 'mse', 'active_units', 'iwae'):
    assert np.isfinite(metrics[name].value)
  assert all(picture.png for picture in evaluation.pictures.values())
  assert {'latents', 'samples', 'reconstructions'} <= set(evaluation.pictures)


@pytest.fixture(scope='module')
def few_labels_run(tmp_path_factory):
  """A model with q(c | x): 30 of 100 training images have a class."""
  workdir = tmp_path_factory.mktemp('runs') / 'few'
  loop.train(tiny_config(data__num_labels=30, num_epochs=10, learning_rate=1e-2), workdir)
  return workdir


def without_classes(dataset, rows):
  """The dataset, as if these images had no class."""
  labels, values = dataset.labels.copy(), dataset.table.values.copy()
  labels[rows], values[rows, 0] = -1, NAN
  return dataset._replace(labels=labels, table=dataset.table._replace(values=values))


@pytest.mark.slow
def test_a_model_with_q_of_c_has_its_accuracy_beside_that_of_bayes(few_labels_run, tmp_path):
  model = dataclasses.replace(cvae_jax.load(few_labels_run), folder=tmp_path)
  data = model.data()
  truth = data.test.labels
  rows = np.arange(0, 300, 3)
  data = data._replace(test=without_classes(data.test, rows))
  asked = ('likelihood', 'reconstruction', 'classifier', 'iwae')
  evaluation = suite.evaluate(model, data, 'test', 3, asked=asked)
  metrics = found(evaluation)
  known = np.setdiff1d(np.arange(300), rows)
  images = data.test.images.astype(np.float32) / 255
  (log_probs,) = network_functions.infer(
    model.task.network, model.task.likelihood, model.variables, images
  )
  right = np.asarray(log_probs).argmax(axis=1) == truth
  assert metrics['inferred_accuracy'].value == pytest.approx(right[known].mean())
  assert right.mean() > 0.2
  bayes = model.classify(images[known]).argmax(axis=1)
  assert metrics['accuracy'].value == pytest.approx((bayes == truth[known]).mean(), abs=0.02)
  for name in ('accuracy', 'inferred_accuracy', 'calibration_error'):
    assert '200 of 300 images' in metrics[name].protocol
  # The bound has the KL of the class, which is none where it is known.
  parts = sum(metrics[name].value for name in ('reconstruction', 'kl', 'class_kl'))
  assert metrics['negative_elbo'].value == pytest.approx(parts, rel=1e-5)
  assert '100 images without a class' in metrics['kl'].protocol
  assert '200 images' in metrics['iwae'].protocol


def test_samples_of_images_without_a_class_have_the_one_that_is_inferred(few_labels_run):
  model = cvae_jax.load(few_labels_run)
  data = model.data()
  dataset = without_classes(data.test, slice(100))
  drawn = generation.conditions_to_draw(model, dataset)
  images = data.test.images.astype(np.float32) / 255
  own = inputs.conditions_of(model, dataset)
  np.testing.assert_array_equal(drawn.values, model.inferred(images, own).values)
  np.testing.assert_array_equal(drawn.labels[100:], dataset.labels[100:])
  assert drawn.labels.min() >= 0
  evaluation = Evaluation(model, 'test', 300, 300, 3)
  learned = generation._conditions_to_learn_from(evaluation, data)
  assert len(learned) == 150
  assert learned.labels.min() >= 0


@pytest.mark.slow
def test_a_split_without_any_class_has_no_accuracies_and_a_grey_scatter(few_labels_run, tmp_path):
  model = dataclasses.replace(cvae_jax.load(few_labels_run), folder=tmp_path)
  data = model.data()
  data = data._replace(test=without_classes(data.test, slice(None)))
  asked = ('generation', 'classifier', 'conditions', 'iwae')
  metrics = found(suite.evaluate(model, data, 'test', 3, 40, asked=asked))
  assert {metric.value for metric in metrics.values()} == {None}
  assert {'coverage', 'accuracy', 'digit_accuracy', 'iwae'} <= set(metrics)
  figure = scatter.draw(model, data.test, 'pca', 'few')
  assert not figure.axes[0].get_legend_handles_labels()[1]
