"""Constant and annealed β for the baseline on Fashion-MNIST: six runs and a report.

  python train.py --config configs/sweeps/annealing.py

Results on a subset of Fashion-MNIST: docs/ablations.md.
"""

from ml_collections import ConfigDict

from cvae_jax.config import named
from cvae_jax.evaluation.experiment import Experiment, the
from cvae_jax.training.sweep_plan import Axis

WARMUP_FRACTION = 1 / 3  # of the run
SAME = 0.01  # relative: a smaller difference of the −ELBO does not count


def get_config() -> ConfigDict:
  config = named('baseline_fashion_mnist')
  config.name = 'annealing'
  # A reference, so that it follows --config.num_epochs.
  config.beta_warmup_epochs = config.get_oneway_ref('num_epochs').to_float() * WARMUP_FRACTION
  return config


def get_experiment() -> Experiment:
  return Experiment(
    question='Does annealing β end anywhere else than a static β of the same final value?',
    axes=(Axis('beta_schedule', ('constant', 'linear', 'cyclical')), Axis('seed', (0, 1))),
    published='annealing ends where a well-chosen static β ends on Fashion-MNIST (the ablations of '
    'the VAE baseline).',
    answer=answer,
  )


def answer(findings) -> str:
  """Compares the final −ELBO of each schedule with that of the constant β."""
  static = the(findings, beta_schedule='constant')
  others = [finding for finding in findings if finding is not static]
  level = static.numbers['negative_elbo']
  distances = [finding.numbers['negative_elbo'] / level - 1 for finding in others]
  results = [
    f'{finding.name}: −ELBO {finding.numbers["negative_elbo"]:.2f}, '
    f'KL {finding.numbers["kl"]:.2f}, Fréchet {finding.numbers["frechet"]:.1f}'
    for finding in (static, *others)
  ]
  verdict = 'No' if max(map(abs, distances)) < SAME else 'Yes'
  return (
    f'{verdict}: the validation −ELBO ends '
    f'{" and ".join(f"{distance:+.1%}" for distance in distances)} from the static one. '
    f'{"; ".join(results)}.'
  )
