"""clip_norm 0.1 and 0.5 for the baseline on Fashion-MNIST: six runs and a report.

  python train.py --config configs/sweeps/grad_clip.py

Results on a subset of Fashion-MNIST: docs/ablations.md.
"""

from ml_collections import ConfigDict

from cvae_jax.config import named
from cvae_jax.evaluation.experiment import Experiment, differ, paired, the
from cvae_jax.training.sweep_plan import Axis


def get_config() -> ConfigDict:
  config = named('baseline_fashion_mnist')
  config.name = 'grad_clip'
  return config


def get_experiment() -> Experiment:
  return Experiment(
    question='Is training steadier with the gradient clipped at 0.1 than at 0.5?',
    axes=(Axis('clip_norm', (0.1, 0.5)), Axis('seed', (0, 1, 2))),
    published='0.1 is steadier than 0.5 (the ablations of the VAE baseline).',
    answer=answer,
  )


def answer(findings) -> str:
  """Compares roughness and −ELBO of both settings."""
  low, high = the(findings, clip_norm=0.1), the(findings, clip_norm=0.5)
  pairs = paired(low, high, 'roughness')
  ratio = pairs[0].mean() / pairs[1].mean()
  num_seeds = pairs.shape[1]
  results = [
    f'{finding.name}: from one line of the log to the next the training loss moves by '
    f'{finding.numbers["roughness"]:.2f} nats, validation −ELBO '
    f'{finding.numbers["negative_elbo"]:.2f}'
    for finding in (low, high)
  ]
  verdict = 'One seed cannot tell'
  if num_seeds > 1:
    verdict = ('Yes' if ratio < 1 else 'No') if differ(pairs) else 'These seeds cannot tell'
    verdict += f' (paired t-test over {num_seeds} seeds, 5 %)'
  return f'{verdict}: the roughness is {ratio:.2f} times as large. {"; ".join(results)}.'
