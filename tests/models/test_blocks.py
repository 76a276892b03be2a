"""Single layers against explicit sums."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvae_jax.models import blocks


def test_upsample_repeats_each_pixel_in_a_square():
  image = jnp.arange(6.0).reshape(1, 2, 3, 1)
  expected = np.repeat(np.repeat(np.asarray(image), 2, axis=1), 2, axis=2)
  np.testing.assert_array_equal(blocks.upsample2x(image), expected)


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
    layer = blocks.UpsampledConv(5, jnp.float32, folded)
    compute = jax.jit(jax.grad(partial(loss, layer), argnums=(0, 1), has_aux=True))
    gradient, outputs = compute({'kernel': kernel, 'bias': bias}, inputs)
    np.testing.assert_allclose(outputs, expected + bias, atol=1e-5)
    gradients.append(gradient)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3), *gradients)


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
