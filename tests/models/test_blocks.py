"""Single layers against explicit sums."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from cvae_jax.models import blocks


def test_convolution_pads_one_pixel_on_each_side_at_stride_two():
  # Only 'SAME' would see the corner twice; with (1, 1) the first window starts outside.
  image = jnp.arange(1.0, 17.0).reshape(1, 4, 4, 1)
  layer = blocks.conv3x3(1, jnp.float32, stride=2)
  params = {'params': {'kernel': jnp.ones((3, 3, 1, 1)), 'bias': jnp.zeros(1)}}
  output = layer.apply(params, image)[0, :, :, 0]
  np.testing.assert_array_equal(
    output,
    [
      [1 + 2 + 5 + 6, 2 + 3 + 4 + 6 + 7 + 8],
      [5 + 6 + 9 + 10 + 13 + 14, 6 + 7 + 8 + 10 + 11 + 12 + 14 + 15 + 16],
    ],
  )


def test_group_norm_uses_its_epsilon_and_float32_statistics():
  style = blocks.Style(jax.nn.silu, 'group', 2, 0.0, jnp.bfloat16, folded=True)
  # So large a mean that bfloat16 statistics would lose the variance entirely.
  inputs = (30 + jax.random.normal(jax.random.key(0), (2, 4, 4, 4))).astype(jnp.bfloat16)
  norm = blocks.Norm(style)
  outputs, _ = jax.jit(partial(norm.init_with_output, train=True))(jax.random.key(0), inputs)
  grouped = (
    np.asarray(inputs, np.float64).reshape(2, 16, 2, 2).transpose(0, 2, 1, 3).reshape(2, 2, -1)
  )
  mean, variance = grouped.mean(-1), grouped.var(-1)
  normalized = (grouped - mean[..., None]) / np.sqrt(variance[..., None] + 1e-5)
  expected = normalized.reshape(2, 2, 16, 2).transpose(0, 2, 1, 3).reshape(2, 4, 4, 4)
  np.testing.assert_allclose(np.asarray(outputs, np.float64), expected, atol=0.03)


@pytest.mark.parametrize('shape', [(3, 5, 4, 12), (4, 12)])
def test_group_norm_and_its_gradients_are_those_of_flax(shape):
  inputs = 2 + 3 * jax.random.normal(jax.random.key(0), shape)
  scale, bias = jax.random.normal(jax.random.key(1), (2, shape[-1]))
  params = {'params': {'scale': scale, 'bias': bias}}

  def loss(layer, params, inputs):
    outputs = layer.apply(params, inputs)
    return jnp.sum(jnp.sin(outputs)), outputs

  found, expected = (
    jax.jit(jax.value_and_grad(partial(loss, layer), argnums=(0, 1), has_aux=True))(params, inputs)
    for layer in (
      blocks.GroupNorm(3, 1e-5, jnp.float32),
      nn.GroupNorm(num_groups=3, epsilon=1e-5, dtype=jnp.float32),
    )
  )
  jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), found, expected)
