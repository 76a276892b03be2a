"""Layers of PyTorch with the weights of linen layers: an independent reference for networks."""

from functools import partial

import jax
import numpy as np
import torch
from torch import nn

from cvae_jax.models import cvae


def random_variables(network):
  """Variables off their initial 0 and 1, so that one that is forgotten shows."""
  return jax.tree.map(
    lambda leaf: leaf + 0.1 * np.random.RandomState(leaf.size).randn(*leaf.shape).astype('float32'),
    jax.device_get(jax.jit(lambda key: cvae.init(network, key))(jax.random.key(0))),
  )


def images(array):
  """[N, H, W, C] to a tensor [N, C, H, W]."""
  return torch.from_numpy(np.array(array)).permute(0, 3, 1, 2)


def _with_weights(layer, weight, bias):
  layer.weight = nn.Parameter(torch.from_numpy(np.array(weight)))
  layer.bias = nn.Parameter(torch.from_numpy(np.array(bias)))
  return layer


def dense(params):
  kernel = params['kernel']
  return _with_weights(nn.Linear(*kernel.shape), kernel.T, params['bias'])


def conv(params, stride=1):
  """Padded so that stride 1 keeps the size."""
  size, _, channels_in, channels_out = params['kernel'].shape
  layer = nn.Conv2d(channels_in, channels_out, size, stride=stride, padding=size // 2)
  return _with_weights(layer, params['kernel'].transpose(3, 2, 0, 1), params['bias'])


def doubling_conv(params):
  size, _, channels_in, channels_out = params['kernel'].shape
  layer = nn.ConvTranspose2d(channels_in, channels_out, size, stride=2, padding=1, output_padding=1)
  # PyTorch's is the gradient of a convolution, whose kernel is mirrored.
  kernel = params['kernel'][::-1, ::-1].transpose(2, 3, 0, 1)
  return _with_weights(layer, kernel, params['bias'])


def assert_same(network, variables, encode, decode, num_images=6):
  """Asserts that both compute the same, from random images and latents of random classes.

  Args:
    network: a `CVAE`.
    variables: its variables.
    encode: from tensors [N, C, H, W] and one-hot labels to mean and log-variance.
    decode: from latents and one-hot labels to [N, C, H, W].
    num_images: N.
  """
  random = np.random.RandomState(1)
  x = random.rand(num_images, *network.image_shape).astype('float32')
  z = random.randn(num_images, network.latent_dim).astype('float32')
  labels = random.randint(0, max(network.num_classes, 1), num_images)
  one_hot = torch.eye(max(network.num_classes, 1))[torch.from_numpy(labels)]

  def apply(method, inputs):
    run = partial(network.apply, train=True, method=method, mutable=['batch_stats'])
    return jax.jit(run)(variables, inputs, labels)[0]

  with torch.no_grad():
    expected = [
      *encode(images(x), one_hot),
      decode(torch.from_numpy(z), one_hot).permute(0, 2, 3, 1),
    ]
  for ours, theirs in zip((*apply('encode', x), apply('decode', z)), expected, strict=True):
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-4)
