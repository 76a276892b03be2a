"""β and sample quality of the baseline on Fashion-MNIST: five runs, a curve and a report.

  python train.py --config configs/sweeps/beta_tradeoff.py

Results on a subset of Fashion-MNIST: docs/ablations.md.
"""

from ml_collections import ConfigDict

from cvae_jax.config import named
from cvae_jax.evaluation.experiment import Experiment
from cvae_jax.training.sweep_plan import Axis


def get_config() -> ConfigDict:
  config = named('baseline_fashion_mnist')
  config.name = 'beta_tradeoff'
  return config


def get_experiment() -> Experiment:
  return Experiment(
    question='What does a better reconstruction cost in the quality of samples?',
    axes=(Axis('beta', (0.1, 0.3, 0.8, 2.5, 8.0)),),
    published='no figures; β against sample quality is one of the ablations of the VAE baseline.',
    answer=answer,
    plane=('mse', 'frechet'),
  )


def answer(findings) -> str:
  """Names the settings with the best samples and the best reconstructions."""
  nearest = min(findings, key=lambda finding: finding.numbers['frechet'])
  sharpest = min(findings, key=lambda finding: finding.numbers['mse'])
  results = [
    f'{finding.name}: MSE {finding.numbers["mse"]:.4f}, Fréchet {finding.numbers["frechet"]:.1f}'
    for finding in findings
  ]
  return (
    f'Samples are nearest to test images at {nearest.name}, reconstructions at {sharpest.name}. '
    f'{"; ".join(results)}.'
  )
