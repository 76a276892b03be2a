"""The registry of encoders and decoders, and the checks that they share."""

import math

from jax.typing import ArrayLike
from jaxtyping import Float

from cvae_jax.config import height_and_width
from cvae_jax.runtime import devices
from cvae_jax.runtime.errors import InputError
from cvae_jax.runtime.registry import Registry

Images = Float[ArrayLike, 'batch h w c']  # and outputs of a decoder
Features = Float[ArrayLike, 'batch features']

# A function of (config, image shape [H, W, C], `blocks.Style`) -> (encoder, decoder): modules from
# images to features, and from features to outputs in the shape of the images, float32, both called
# with (inputs, train). The trait 'xla_cpu_options': XLA's options for programs on a CPU.
ARCHITECTURES = Registry('model.name', 'cvae_jax.models')


def check_norm(config, *names: str) -> None:
  """Raises InputError unless the groups of a group norm divide the widths of all layers.

  Args:
    config: the config.
    *names: fields of `config.model` with widths, besides `channels`.
  """
  model = config.model
  if model.norm != 'group':
    return
  widths, fields = tuple(model.channels), f'model.channels={tuple(model.channels)}'
  for name in names:
    widths, fields = (*widths, model[name]), f'{fields} and model.{name}={model[name]}'
  common = math.gcd(*widths)
  if common % model.groups:
    divisors = [str(d) for d in range(1, common + 1) if common % d == 0]
    raise InputError(
      f'model.groups={model.groups} does not divide all of {fields}. '
      f'Choose one of: {", ".join(divisors)}.'
    )


def check_convolutions(config, *names: str) -> None:
  """`check_norm`; raises InputError also where so many stages cannot halve the image."""
  check_norm(config, *names)
  stages = len(config.model.channels)
  if 2**stages > min(height_and_width(config.data)):
    raise InputError(
      f'model.channels={tuple(config.model.channels)} halves the image {stages} times, more than '
      f'data.image_size={config.data.image_size} allows. Give fewer stages.'
    )


def compiler_options(name: str, deterministic: bool = False) -> dict[str, str]:
  """XLA's options for the programs of an architecture; see `devices.compiler_options`."""
  return devices.compiler_options(ARCHITECTURES.trait(name, 'xla_cpu_options', {}), deterministic)
