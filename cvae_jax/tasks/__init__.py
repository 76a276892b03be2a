"""What is learned: one module per kind of model."""

from cvae_jax.models import cvae
from cvae_jax.runtime.errors import InputError
from cvae_jax.runtime.registry import Registry

TASKS = Registry('objective')


def _check_vae(config) -> None:
  cvae.check(config)
  if config.free_bits and config.num_importance_samples > 1:
    raise InputError(
      f'free_bits={config.free_bits} is about the KL of the ELBO, which '
      f'num_importance_samples={config.num_importance_samples} replaces by the IWAE bound. '
      'Set one of them back: free_bits=0 or num_importance_samples=1.'
    )


def _check_dae(config) -> None:
  cvae.check(config)
  for field, value in (('num_importance_samples', 1), ('free_bits', 0), ('prior', 'standard')):
    if config[field] != value:
      raise InputError(
        f"objective='dae' has no distribution of latents, which {field}={config[field]!r} is "
        f'about. Set --config.{field}={value}.'
      )


TASKS.register('vae', _check_vae)(None)
TASKS.register('dae', _check_dae)(None)
