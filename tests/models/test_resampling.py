"""Convolutions that halve or double a map, against explicit sums and JAX's own gradients."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from cvae_jax.models import resampling


def test_upsample_repeats_each_pixel_in_a_square():
  image = jnp.arange(6.0).reshape(1, 2, 3, 1)
  expected = np.repeat(np.repeat(np.asarray(image), 2, axis=1), 2, axis=2)
  np.testing.assert_array_equal(resampling.upsample2x(image), expected)


@pytest.mark.parametrize('size', [(3, 4), (1, 1)])
def test_upsampling_folded_into_the_convolution_gives_the_same_and_the_same_gradient(size):
  inputs = jax.random.normal(jax.random.key(0), (2, *size, 3))
  random = np.random.RandomState(1)
  kernel, bias = np.float32(random.randn(3, 3, 3, 5)), np.float32(random.randn(5))
  weights = np.float32(random.randn(2, 2 * size[0], 2 * size[1], 5))
  upsampled = np.repeat(np.repeat(inputs, 2, 1), 2, 2)
  padded = np.pad(upsampled, ((0, 0), (1, 1), (1, 1), (0, 0)))
  expected = sum(
    padded[:, i : i + 2 * size[0], j : j + 2 * size[1]] @ kernel[i, j]
    for i in range(3)
    for j in range(3)
  )

  def loss(layer, params, inputs):
    outputs = layer.apply({'params': params}, inputs)
    return jnp.sum(weights * outputs**2), outputs

  gradients = []
  for folded in (False, True):
    layer = resampling.UpsampledConv(5, jnp.float32, folded)
    compute = jax.jit(jax.grad(partial(loss, layer), argnums=(0, 1), has_aux=True))
    gradient, outputs = compute({'kernel': kernel, 'bias': bias}, inputs)
    np.testing.assert_allclose(outputs, expected + bias, atol=1e-5)
    gradients.append(gradient)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3), *gradients)


@pytest.mark.parametrize('size', [(4, 6), (7, 3), (1, 1)])
def test_halving_gives_what_a_plain_convolution_does_and_the_same_gradient(size):
  inputs = jax.random.normal(jax.random.key(0), (2, *size, 3))
  convolve = partial(nn.Conv, 5, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
  params = convolve().init(jax.random.key(1), inputs)

  def loss(layer, params, inputs):
    outputs = layer.apply(params, inputs)
    return jnp.sum(jnp.sin(outputs)), outputs

  found, expected = (
    jax.jit(jax.value_and_grad(partial(loss, layer), argnums=(0, 1), has_aux=True))(params, inputs)
    for layer in (convolve(conv_general_dilated=resampling.halve), convolve())
  )
  jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5), found, expected)
