"""A ResNet-18 for images of 32×32 (He et al. 2016), in PyTorch: an independent judge of samples.

It reaches about what published classifiers of CIFAR-10 do, so that a classification accuracy score
with it stands beside theirs.
"""

import itertools

import numpy as np
import torch
from torch import nn
from torch.nn import functional

NUM_EPOCHS = 30
BATCH_SIZE = 512
PEAK_LEARNING_RATE = 0.4
WEIGHT_DECAY = 5e-4
LABEL_SMOOTHING = 0.1
PADDING = 4  # pixels: the largest shift


class Block(nn.Module):
  """Two 3×3 convolutions and a skip."""

  def __init__(self, inputs: int, outputs: int, stride: int):
    super().__init__()
    self.conv0 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    self.conv1 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
    self.norm0, self.norm1 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
    self.skip = nn.Identity()
    if inputs != outputs:
      skip = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
      self.skip = nn.Sequential(skip, nn.BatchNorm2d(outputs))

  def forward(self, images: torch.Tensor) -> torch.Tensor:
    """Maps [N, outputs, height / stride, width / stride] of maps [N, inputs, height, width]."""
    hidden = functional.relu(self.norm0(self.conv0(images)))
    return functional.relu(self.norm1(self.conv1(hidden)) + self.skip(images))


def build(channels: int, num_classes: int) -> nn.Module:
  """The network: logits of images [N, channels, height, width]."""
  layers = [nn.Conv2d(channels, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
  widths = (64, 64, 128, 256, 512)
  for stage, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
    layers += [Block(inputs, outputs, 2 if stage else 1), Block(outputs, outputs, 1)]
  return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, num_classes))


def predictions(
  images: np.ndarray,
  labels: np.ndarray,
  others: np.ndarray,
  mirrored: bool,
  num_epochs: int = NUM_EPOCHS,
) -> np.ndarray:
  """Trains on images, with shifts and mirror images, and names the classes of others.

  Args:
    images: uint8 [N, H, W, C], to train on.
    labels: [N] their classes.
    others: uint8 [M, H, W, C].
    mirrored: whether to mirror images.
    num_epochs: passes over the images.

  Returns:
    [M] the most probable class of each of `others`, averaged with its mirror image if `mirrored`.
  """
  device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
  torch.manual_seed(0)
  pixels = torch.tensor(images.astype(np.float32) / 255).permute(0, 3, 1, 2).to(device)
  mean, std = pixels.mean((0, 2, 3), keepdim=True), pixels.std((0, 2, 3), keepdim=True)
  pixels = functional.pad((pixels - mean) / std, (PADDING,) * 4).to(torch.bfloat16)
  targets = torch.tensor(labels.astype(np.int64)).to(device)
  network = build(images.shape[-1], int(labels.max()) + 1)
  network = network.to(device, memory_format=torch.channels_last)
  batch_size = min(BATCH_SIZE, len(images))
  steps = len(images) // batch_size
  decayed = [values for values in network.parameters() if values.ndim > 1]
  undecayed = [values for values in network.parameters() if values.ndim <= 1]
  groups = [{'params': decayed, 'weight_decay': WEIGHT_DECAY}, {'params': undecayed}]
  optimizer = torch.optim.SGD(groups, PEAK_LEARNING_RATE, momentum=0.9, nesterov=True)
  schedule = torch.optim.lr_scheduler.OneCycleLR(
    optimizer, PEAK_LEARNING_RATE, num_epochs * steps, pct_start=0.2, cycle_momentum=False
  )
  side = images.shape[1:3]
  rows = torch.arange(side[0], device=device)[None, :]
  columns = torch.arange(side[1], device=device)[None, :]

  def logits(batch):
    with torch.autocast(device.type, torch.bfloat16):
      return network(batch.contiguous(memory_format=torch.channels_last)).float()

  def shifted(chosen):
    count = len(chosen)
    down, right = torch.randint(2 * PADDING + 1, (2, count, 1), device=device)
    places = columns + right
    if mirrored:
      is_mirrored = torch.rand(count, 1, device=device) < 0.5
      places = torch.where(is_mirrored, places.flip(1), places)
    return pixels[chosen[:, None, None], :, (rows + down)[:, :, None], places[:, None, :]]

  for _ in range(num_epochs):
    order = torch.randperm(len(images), device=device)
    for step in range(steps):
      chosen = order[step * batch_size : (step + 1) * batch_size]
      batch = shifted(chosen).permute(0, 3, 1, 2)
      loss = functional.cross_entropy(
        logits(batch), targets[chosen], label_smoothing=LABEL_SMOOTHING
      )
      optimizer.zero_grad(set_to_none=True)
      loss.backward()
      optimizer.step()
      schedule.step()

  network.eval()
  found = []
  with torch.no_grad():
    for piece in np.array_split(others, max(1, len(others) // batch_size)):
      batch = torch.tensor(piece.astype(np.float32) / 255).permute(0, 3, 1, 2).to(device)
      batch = ((batch - mean) / std).to(torch.bfloat16)
      total = logits(batch).softmax(1)
      if mirrored:
        total += logits(batch.flip(3)).softmax(1)
      found.append(total.argmax(1).cpu().numpy())
  return np.concatenate(found)
