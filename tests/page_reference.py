"""The reading and the tiles of a page, computed by JAX."""

import math

import numpy as np

SEED = 24  # of the page's noises


def noise(seed, length):
  """The first draw of `assets/random.js`: mulberry32 and Box-Muller, written anew."""
  state = seed

  def uniform():
    nonlocal state
    state = (state + 0x6D2B79F5) % 2**32
    t = ((state ^ state >> 15) * (1 | state)) % 2**32
    t ^= (t + (t ^ t >> 7) * (61 | t)) % 2**32
    return (t ^ t >> 14) / 2**32

  return np.float32(
    [
      math.sqrt(-2 * math.log(1 - uniform())) * math.cos(2 * math.pi * uniform())
      for _ in range(length)
    ]
  )


def read(model, images):
  """What the page says of images, float32 [N, H, W, C], with two draws of the posterior.

  Returns:
    ELBOs [N, classes] of grey values, p(c | x) [N, classes], and the tiles [N, classes, pixels]:
    the posterior mean under the likeliest class, decoded in every class. The prior is N(0, I).
  """
  eps, classes = noise(SEED, model.config.latent_dim), range(len(model.class_names))
  network, likelihood = model.task.network, model.task.likelihood
  elbos, means = [], []
  for label in classes:
    labels = np.full(len(images), label)
    mean, logvar = model.encode(images, labels)
    draws = np.stack([mean + sign * np.exp(logvar / 2) * eps for sign in (1, -1)])
    outputs = network.apply(
      model.variables, draws, labels.astype(np.int32), train=False, method='decode'
    )
    kl = 0.5 * (mean**2 + np.exp(logvar) - logvar - 1).sum(axis=1)
    elbos.append(np.asarray(likelihood.log_prob(images[None], outputs)).mean(axis=0) - kl)
    means.append(mean)
  elbos = np.stack(elbos, axis=1)
  posterior = np.exp(elbos - elbos.max(axis=1, keepdims=True))
  latents = np.stack(means, axis=1)[np.arange(len(images)), elbos.argmax(axis=1)]
  tiles = model.decode(np.repeat(latents, len(classes), axis=0), np.tile(classes, len(images)))
  return elbos, posterior / posterior.sum(axis=1, keepdims=True), tiles.reshape(*elbos.shape, -1)
