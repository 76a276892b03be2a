"""A static β against annealed ones, of the baseline on Fashion-MNIST: six runs and a report.

  python train.py --config configs/sweeps/annealing.py

Measured on a part of Fashion-MNIST: docs/ablations.md.
"""

from ml_collections import ConfigDict

from configs import baseline_fashion_mnist
from cvae_jax.experiments.report import Experiment
from cvae_jax.experiments.sweep import Axis

SHARE = 1 / 3  # of the run, in which β rises
SAME = 0.01  # of the −ELBO


def get_config() -> ConfigDict:
  config = baseline_fashion_mnist.get_config()
  config.name = 'annealing'
  config.beta_warmup_epochs = SHARE * config.num_epochs
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
  """The ends of all, beside that of the static one."""
  static = findings[0].numbers['negative_elbo']
  distances = [finding.numbers['negative_elbo'] / static - 1 for finding in findings[1:]]
  told = [
    f'{finding.name}: −ELBO {finding.numbers["negative_elbo"]:.2f}, '
    f'KL {finding.numbers["kl"]:.2f}, Fréchet {finding.numbers["frechet"]:.1f}'
    for finding in findings
  ]
  verdict = 'No' if max(map(abs, distances)) < SAME else 'Yes'
  return (
    f'{verdict}: the validation −ELBO ends '
    f'{" and ".join(f"{distance:+.1%}" for distance in distances)} from the static one. '
    f'{"; ".join(told)}.'
  )
