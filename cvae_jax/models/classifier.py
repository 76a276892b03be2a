"""The network of the reference classifiers, and the perceptual distance in its maps.

`evaluation/classifier.py` trains them and judges with them; those in `shipped/classifiers` are also
what `perceptual_weight` compares an image and its reconstruction by.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import traverse_util
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from cvae_jax import config as config_lib
from cvae_jax.runtime import paths, tensor_files
from cvae_jax.runtime.errors import InputError

# <name of the data set>.safetensors
SHIPPED = paths.SHIPPED / 'classifiers'
# Of the images that they were trained on.
SHIPPED_SHAPES = {
  'cifar10': (32, 32, 3),
  'digits': (28, 28, 1),
  'fashion_mnist': (28, 28, 1),
  'mnist': (28, 28, 1),
}
NUM_FEATURES = 128
MAX_WIDTH = 128
# Below this length the features of a pixel count as nothing: a ReLU may leave none at all.
MIN_LENGTH = 1e-2
HIGHEST = jax.lax.Precision.HIGHEST  # accelerators would multiply float32 at a lower one

Images = Float[ArrayLike, 'batch height width channels']  # in [0, 1]
Maps = list[Float[Array, 'batch _ _ _']]  # [batch, height, width, channels] each


class Network(nn.Module):
  """Convolutions 3×3 of stride 2 until the map has at most 4 pixels a side; two dense layers.

  BatchNorm and ReLU follow each layer but the last; widths are 32, 64, 128, 128, ... The features
  are the inputs of the last layer. It has strides instead of pooling, whose gradient takes XLA's
  CPU backend five times as long as all the rest.
  """

  num_classes: int

  def __call__(
    self, images: Images, train: bool
  ) -> tuple[Float[Array, 'batch features'], Float[Array, 'batch classes']]:
    """Features and logits of images in [0, 1]."""
    _, features, logits = self.layers(images, train)
    return features, logits

  @nn.compact
  def layers(
    self, images: Images, train: bool
  ) -> tuple[Maps, Float[Array, 'batch features'], Float[Array, 'batch classes']]:
    """The maps after each convolution, the features and the logits."""

    def normalized(hidden):
      return nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(hidden))

    maps, hidden, width = [], images - 0.5, 32
    while max(hidden.shape[1:3]) > 4:
      conv = nn.Conv(width, (3, 3), 2, padding=1, use_bias=False, precision=HIGHEST)
      hidden = normalized(conv(hidden))
      maps.append(hidden)
      width = min(2 * width, MAX_WIDTH)
    flat = hidden.reshape(len(hidden), -1)
    features = normalized(nn.Dense(NUM_FEATURES, precision=HIGHEST)(flat))
    dropped = nn.Dropout(0.3, deterministic=not train)(features)
    return maps, features, nn.Dense(self.num_classes, precision=HIGHEST)(dropped)


def perceptual_distance(variables: dict, images: Images, others: Images) -> Float[Array, ' batch']:
  """Σ_layers mean_pixels Σ_channels (f / ‖f‖ − g / ‖g‖)², from the maps f and g of two images.

  This is the distance of Zhang et al. 2018 (LPIPS, equation 1) with equal weights of the channels,
  in the maps of a reference classifier in place of a network trained on ImageNet. It is 0 for equal
  images, and at most 2 for each layer.

  Args:
    variables: of a trained `Network` for images of this size.
    images: in [0, 1].
    others: of the same shape; they may leave [0, 1], and have a gradient there too.
  """
  network = Network(len(variables['params']['Dense_1']['bias']))

  def directions(images):
    maps, *_ = network.apply(variables, images, train=False, method='layers')
    return [x * jax.lax.rsqrt(jnp.sum(x**2, axis=-1, keepdims=True) + MIN_LENGTH**2) for x in maps]

  return sum(
    jnp.mean(jnp.sum((one - other) ** 2, axis=-1), axis=(1, 2))
    for one, other in zip(directions(images), directions(others), strict=True)
  )


def shipped_for(config) -> Path:
  """The file of the classifier that ships for a config's data set and size of images.

  Raises:
    InputError: none does.
  """
  data, by_size = config.data, '{}×{}×{}'.format
  shape = config_lib.image_shape(data)
  if SHIPPED_SHAPES.get(data.name) == shape:
    return SHIPPED / f'{data.name}.safetensors'
  known = ', '.join(f'{name} at {by_size(*of)}' for name, of in SHIPPED_SHAPES.items())
  raise InputError(
    f'perceptual_weight={config.perceptual_weight:g} compares images in the maps of a reference '
    f'classifier, which ships for {known} only, not for data.name={data.name!r} at '
    f'{by_size(*shape)}. Set --config.perceptual_weight=0.'
  )


def load(path: Path) -> dict:
  """The variables of a shipped classifier, as NumPy arrays."""
  flat, _ = tensor_files.read_arrays(path)
  return traverse_util.unflatten_dict(flat, sep=tensor_files.SEPARATOR)
