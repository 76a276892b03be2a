"""A static β against annealed ones, of the baseline on Fashion-MNIST: six runs and a report.

  python train.py --config configs/sweeps/annealing.py

Measured on a part of Fashion-MNIST: docs/ablations.md.
"""

from ml_collections import ConfigDict

from configs import baseline_fashion_mnist
from cvae_jax.evaluation.experiment import Experiment, the
from cvae_jax.training.sweep_plan import Axis

SHARE = 1 / 3  # of the run, in which β rises
SAME = 0.01  # of the −ELBO


def get_config() -> ConfigDict:
  config = baseline_fashion_mnist.get_config()
  config.name = 'annealing'
  # Of the epochs that the command line gives, if it does.
  config.beta_warmup_epochs = config.get_oneway_ref('num_epochs').to_float() * SHARE
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
  static = the(findings, beta_schedule='constant')
  others = [finding for finding in findings if finding is not static]
  level = static.numbers['negative_elbo']
  distances = [finding.numbers['negative_elbo'] / level - 1 for finding in others]
  told = [
    f'{finding.name}: −ELBO {finding.numbers["negative_elbo"]:.2f}, '
    f'KL {finding.numbers["kl"]:.2f}, Fréchet {finding.numbers["frechet"]:.1f}'
    for finding in (static, *others)
  ]
  verdict = 'No' if max(map(abs, distances)) < SAME else 'Yes'
  return (
    f'{verdict}: the validation −ELBO ends '
    f'{" and ".join(f"{distance:+.1%}" for distance in distances)} from the static one. '
    f'{"; ".join(told)}.'
  )
