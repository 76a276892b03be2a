"""Random weights of LPIPS in files like the official ones."""

import functools

import torch

ALEXNET, LINEAR = 'alexnet-owt-7be5be79.pth', 'alex.pth'
KERNELS = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}


@functools.cache
def random_alexnet():
  draw = torch.Generator().manual_seed(0)
  tensors = {'classifier.6.bias': torch.zeros(1000)}  # the official file has more than is used
  for number, (outputs, inputs, size) in KERNELS.items():
    scale = (2 / (inputs * size**2)) ** 0.5
    kernel = torch.randn(outputs, inputs, size, size, generator=draw)
    tensors[f'features.{number}.weight'] = scale * kernel
    tensors[f'features.{number}.bias'] = 0.1 * torch.randn(outputs, generator=draw)
  return tensors


@functools.cache
def random_linear():
  draw = torch.Generator().manual_seed(1)
  channels = [outputs for outputs, *_ in KERNELS.values()]
  return {
    f'lin{layer}.model.1.weight': torch.rand(1, size, 1, 1, generator=draw)
    for layer, size in enumerate(channels)
  }


def save(folder, alexnet=None, linear=None):
  folder.mkdir(exist_ok=True)
  torch.save(random_alexnet() if alexnet is None else alexnet, folder / ALEXNET)
  torch.save(random_linear() if linear is None else linear, folder / LINEAR)
  return folder
