"""Experiments of config files, and the helpers that their answers use."""

import numpy as np
import pytest

from conftest import ROOT
from cvae_jax.evaluation import experiment
from cvae_jax.evaluation.experiment import Finding

LOW = Finding('low', {'clip': 1}, {0: {'loss': 1.0}, 1: {'loss': 2.0}, 2: {'loss': 3.1}, 3: {}})
HIGH = Finding('high', {'clip': 2}, {1: {'loss': 2.5}, 2: {'loss': 3.5}, 3: {'loss': 9.0}})


def test_a_config_file_may_have_an_experiment():
  assert experiment.of_file(None) is None
  assert experiment.of_file(str(ROOT / 'configs' / 'mnist.py')) is None
  found = experiment.of_file(str(ROOT / 'configs' / 'sweeps' / 'grad_clip.py'))
  assert [axis.field for axis in found.axes] == ['clip_norm', 'seed']


def test_numbers_are_means_over_the_seeds_that_have_them():
  assert LOW.numbers == {'loss': pytest.approx(6.1 / 3)}
  assert LOW.column('loss') == {0: 1.0, 1: 2.0, 2: 3.1}


def test_settings_are_paired_at_the_seeds_that_both_have():
  np.testing.assert_array_equal(experiment.paired(LOW, HIGH, 'loss'), [[2.0, 3.1], [2.5, 3.5]])
  with pytest.raises(KeyError, match='low and high'):
    experiment.paired(LOW, HIGH._replace(runs={0: {}, 9: {'loss': 1.0}}), 'loss')


def test_the_difference_of_pairs_decides_and_not_the_spread_of_seeds():
  seeds = np.array([10.0, 20.0, 30.0])
  steady, mixed = np.array([1.0, 1.1, 0.9]), np.array([1.0, -1.1, 0.9])
  assert experiment.differ(np.stack([seeds, seeds + steady]))
  assert not experiment.differ(np.stack([seeds, seeds + mixed]))
  assert not experiment.differ(np.array([[1.0], [2.0]]))


def test_a_setting_is_found_by_its_values():
  assert experiment.the([LOW, HIGH], clip=2) is HIGH
  for findings in ([LOW], [HIGH, HIGH], [HIGH._replace(runs={})]):
    with pytest.raises(KeyError, match='clip=2'):
      experiment.the(findings, clip=2)
