"""16 and 256 latents of the ConvVAE on MNIST, with KL weight 5e-3: two runs and a report.

  python train.py --config configs/sweeps/latent_size.py

Results on a subset of MNIST: docs/ablations.md.
"""

from ml_collections import ConfigDict

from cvae_jax.config import named
from cvae_jax.evaluation.experiment import Experiment, the
from cvae_jax.training.sweep_plan import Axis


def get_config() -> ConfigDict:
  config = named('convvae_mnist')
  config.name = 'latent_size'
  config.data.name = 'mnist'
  return config


def get_experiment() -> Experiment:
  return Experiment(
    question='Do 256 latents separate the classes better than 16?',
    axes=(Axis('latent_dim', (16, 256)),),
    published='256 latents separate no better than 16 (the ConvVAE KL-weight experiment).',
    answer=answer,
    scatter=True,
  )


def answer(findings) -> str:
  """Compares the measures of class separation."""
  few, many = the(findings, latent_dim=16), the(findings, latent_dim=256)
  gain = many.numbers['linear_accuracy'] - few.numbers['linear_accuracy']
  apart = many.numbers['silhouette'] - few.numbers['silhouette']
  verdict = 'better' if min(gain, apart) > 0.01 else 'worse' if max(gain, apart) < -0.01 else ''
  results = [
    f'{finding.name}: linear probe {finding.numbers["linear_accuracy"]:.3f}, silhouette '
    f'{finding.numbers["silhouette"]:.3f}, {finding.numbers["active_units"]:.0f} latents in use'
    for finding in (few, many)
  ]
  judged = f'By both measures {verdict}' if verdict else 'Not by both measures, or by little'
  return f'{judged}. {"; ".join(results)}.'
