"""KL weights of the ConvVAE on MNIST, from 5e-1 to 5e-6: six runs and a report.

The weight is that of the KL, summed over latents, against the reconstruction, averaged over the
1,024 pixels. β, with both summed, is 1,024 times the weight.

  python train.py --config configs/sweeps/kld_weight.py

Results on a subset of MNIST: docs/ablations.md.
"""

from ml_collections import ConfigDict

from cvae_jax.config import named
from cvae_jax.evaluation.experiment import Experiment
from cvae_jax.training.sweep_plan import Axis

WEIGHTS = (5e-1, 5e-2, 5e-3, 5e-4, 5e-5, 5e-6)
PIXELS = 1024
SAME = 0.05  # relative: a smaller difference of the error does not show in reconstructions


def get_config() -> ConfigDict:
  config = named('convvae_mnist')
  config.name = 'kld_weight'
  config.data.name = 'mnist'
  return config


def get_experiment() -> Experiment:
  return Experiment(
    question='Down to which KL weight do reconstructions improve, and which gives varied samples '
    'that still look like digits?',
    axes=(Axis('beta', tuple(PIXELS * weight for weight in WEIGHTS)),),
    published='reconstructions no longer differ below 5e-3, and 5e-3 gives the most diverse '
    'samples that keep their quality (the ConvVAE KL-weight experiment).',
    answer=answer,
    name=name,
  )


def name(values) -> str:
  """A setting as weight and as β."""
  return f'weight {values["beta"] / PIXELS:.0e} (β {values["beta"]:.3g})'


def answer(findings) -> str:
  """Names where the error stops falling, and the settings with the best samples."""
  findings = sorted(findings, key=lambda finding: -finding.values['beta'])
  errors = [finding.numbers['mse'] for finding in findings]
  same = [finding for finding in findings if finding.numbers['mse'] <= (1 + SAME) * min(errors)]
  if findings[-len(same) :] == same:
    where = f'from {same[0].name} on downwards'
  else:
    where = f'at {", ".join(finding.name for finding in same)} alone'
  nearest = min(findings, key=lambda finding: finding.numbers['frechet'])
  most = max(findings, key=lambda finding: finding.numbers['diversity'])
  return (
    f'The error of reconstructions is within {SAME:.0%} of the lowest, {min(errors):.4f}, {where}. '
    f'Samples come nearest to test images at {nearest.name}: Fréchet distance '
    f'{nearest.numbers["frechet"]:.2f}, {nearest.numbers["diversity"]:.2f} times as varied as test '
    f'images. The most varied ones are those of {most.name} ({most.numbers["diversity"]:.2f}), at '
    f'a distance of {most.numbers["frechet"]:.2f}.'
  )
