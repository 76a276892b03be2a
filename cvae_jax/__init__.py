"""Train, evaluate and sample conditional variational autoencoders on images, with JAX and Flax."""

__version__ = '0.2.0'


def __getattr__(name):
  # Late: reading a config or printing help does not wait for JAX.
  if name == 'load':
    from cvae_jax.inference.loading import load

    return load
  if name == 'fit':
    from cvae_jax.inference.fitting import fit

    return fit
  if name == 'default_config':
    from cvae_jax.config import default

    return default
  if name == 'available':
    from cvae_jax.inference.shipped import available

    return available
  if name == 'InputError':
    from cvae_jax.runtime.errors import InputError

    return InputError
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__():
  return [*globals(), 'InputError', 'available', 'default_config', 'fit', 'load']
