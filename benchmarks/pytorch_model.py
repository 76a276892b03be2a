"""The default model in idiomatic PyTorch, and its loss."""

import torch
from torch import nn
from torch.nn import functional

NUM_CLASSES = 10


class ResBlock(nn.Module):
  """Conv 3×3 → GroupNorm → SiLU → conv 3×3, plus a skip, then SiLU."""

  def __init__(self, in_channels: int, channels: int, resample: str):
    super().__init__()
    stride = 2 if resample == 'down' else 1
    upsample = [nn.Upsample(scale_factor=2, mode='nearest')] if resample == 'up' else []
    self.main = nn.Sequential(
      *upsample,
      nn.Conv2d(in_channels, channels, 3, stride, padding=1),
      nn.GroupNorm(8, channels),
      nn.SiLU(),
      nn.Conv2d(channels, channels, 3, padding=1),
    )
    if resample == 'keep':
      self.skip = nn.Identity()
    else:
      self.skip = nn.Sequential(*upsample, nn.Conv2d(in_channels, channels, 1, stride))

  def forward(self, x):
    return functional.silu(self.main(x) + self.skip(x))


class CVAE(nn.Module):
  """The network of configs/mnist.py: images [B, 1, 28, 28], 365,937 parameters at latent 16."""

  def __init__(self, latent_dim: int = 16, embed_dim: int = 16):
    super().__init__()
    self.embed = nn.Sequential(nn.Linear(NUM_CLASSES, embed_dim), nn.SiLU())
    self.encoder = nn.Sequential(
      nn.Conv2d(1, 32, 3, padding=1),
      nn.GroupNorm(8, 32),
      nn.SiLU(),
      ResBlock(32, 32, 'down'),
      ResBlock(32, 64, 'down'),
      ResBlock(64, 64, 'keep'),
      nn.AdaptiveAvgPool2d(1),
      nn.Flatten(),
    )
    self.mean = nn.Linear(64 + embed_dim, latent_dim)
    self.logvar = nn.Linear(64 + embed_dim, latent_dim)
    self.project = nn.Linear(latent_dim + embed_dim, 64 * 7 * 7)
    self.decoder = nn.Sequential(
      nn.Unflatten(1, (64, 7, 7)),
      ResBlock(64, 64, 'up'),
      ResBlock(64, 32, 'up'),
      nn.Conv2d(32, 1, 1),
    )

  def forward(self, images, labels):
    embedding = self.embed(functional.one_hot(labels, NUM_CLASSES).float())
    features = torch.cat([self.encoder(images), embedding], dim=1)
    mean, logvar = self.mean(features), self.logvar(features)
    latents = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)
    logits = self.decoder(self.project(torch.cat([latents, embedding], dim=1)))
    return logits, mean, logvar


def negative_elbo(logits, mean, logvar, images, beta):
  """Nats per image: summed over pixels and latents, averaged over the batch."""
  reconstruction = functional.binary_cross_entropy_with_logits(
    logits.float(), images, reduction='sum'
  )
  mean, logvar = mean.float(), logvar.float()
  kl = 0.5 * torch.sum(torch.exp(logvar) + mean.square() - 1 - logvar)
  return (reconstruction + beta * kl) / len(images)
