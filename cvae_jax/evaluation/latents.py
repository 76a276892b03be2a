"""What the latents of a whole set say: which are used, how much they know, where they lie.

All of it in float64 on the host, from the posteriors N(mean, exp(logvar)) of N images.
"""

from typing import NamedTuple

import numpy as np
from scipy import special

from cvae_jax.data import batches

MAX_IMAGES = 10_000  # of the mutual information, whose cost grows with their square
PIECE = 512


class Aggregate(NamedTuple):
  """Mean and covariance of q(z) = (1/N) Σₙ q(z | xₙ)."""

  mean: np.ndarray  # [latent]
  covariance: np.ndarray  # [latent, latent]


def aggregate(mean: np.ndarray, logvar: np.ndarray) -> Aggregate:
  """Moments of the aggregate posterior: that of the means, plus the mean of the variances.

  Args:
    mean: [N, latent] posterior means.
    logvar: [N, latent] posterior log-variances.
  """
  mean, logvar = (np.asarray(x, np.float64) for x in (mean, logvar))
  within = np.diag(np.exp(logvar).mean(axis=0))
  return Aggregate(mean.mean(axis=0), np.atleast_2d(np.cov(mean.T, bias=True)) + within)


def kl_to_aggregate(mean: np.ndarray, logvar: np.ndarray) -> np.ndarray:
  """What each dimension says of the image: the mean KL(q(z_d | x) ‖ N(moments of q(z_d))), in nats.

  Args:
    mean: [N, latent] posterior means.
    logvar: [N, latent] posterior log-variances.

  Returns:
    [latent].
  """
  moments = aggregate(mean, logvar)
  variance = np.diag(moments.covariance)
  mean, logvar = (np.asarray(x, np.float64) for x in (mean, logvar))
  ratio = (np.square(mean - moments.mean) + np.exp(logvar)) / variance
  return 0.5 * np.mean(ratio - 1 + np.log(variance) - logvar, axis=0)


def mutual_information(mean: np.ndarray, logvar: np.ndarray, latents: np.ndarray) -> float:
  """I_q(x; z) in nats, one sample of each posterior (Hoffman & Johnson 2016).

  E[log q(zₙ | xₙ) − log (1/N) Σₘ q(zₙ | xₘ)]: at most ln N, whatever the truth is, so that a
  value near it says only "at least so much".

  Args:
    mean: [N, latent] posterior means.
    logvar: [N, latent] posterior log-variances.
    latents: [N, latent] samples, of the same rows.
  """
  mean, logvar, latents = (np.asarray(x, np.float64) for x in (mean, logvar, latents))
  precision = np.exp(-logvar)
  # −2 log q, but for a constant, as one product: z²·p − 2z·(m p) + Σ(m² p + log σ²).
  factors = np.concatenate([precision, -2 * mean * precision], axis=1).T
  offsets = np.sum(mean**2 * precision + logvar, axis=1)
  total = 0.0
  for rows in batches.pieces(len(latents), PIECE):
    piece = latents[rows]
    log_q = -0.5 * (np.concatenate([piece**2, piece], axis=1) @ factors + offsets)
    own = log_q[np.arange(len(piece)), rows.start + np.arange(len(piece))]
    total += np.sum(own - special.logsumexp(log_q, axis=1))
  return float(total / len(latents) + np.log(len(latents)))
