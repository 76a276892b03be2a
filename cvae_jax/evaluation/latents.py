"""Statistics of the latents of a dataset, from the posteriors N(mean, exp(logvar)) of its images.

They are computed in float64 on the host.
"""

import numpy as np
from jaxtyping import Float
from scipy import special

from cvae_jax.data import batches

MAX_IMAGES = 10_000  # for the mutual information, whose cost is quadratic in them
PIECE = 512

Posterior = Float[np.ndarray, 'images latent']  # means, log-variances or samples
Vector, Matrix = Float[np.ndarray, ' latent'], Float[np.ndarray, 'latent latent']


def aggregate(mean: Posterior, logvar: Posterior) -> tuple[Vector, Matrix]:
  """Mean and covariance of the aggregate posterior q(z) = (1/N) Σₙ q(z | xₙ)."""
  mean, logvar = (np.asarray(x, np.float64) for x in (mean, logvar))
  within = np.diag(np.exp(logvar).mean(axis=0))
  return mean.mean(axis=0), np.atleast_2d(np.cov(mean.T, bias=True)) + within


def kl_to_aggregate(mean: Posterior, logvar: Posterior) -> Vector:
  """KL(q(z_d | x) ‖ N(moments of q(z_d))) of each dimension d, in nats, mean over images."""
  middle, covariance = aggregate(mean, logvar)
  variance = np.diag(covariance)
  mean, logvar = (np.asarray(x, np.float64) for x in (mean, logvar))
  ratio = (np.square(mean - middle) + np.exp(logvar)) / variance
  return 0.5 * np.mean(ratio - 1 + np.log(variance) - logvar, axis=0)


def mutual_information(mean: Posterior, logvar: Posterior, latents: Posterior) -> float:
  """I_q(x; z) = E[log q(zₙ | xₙ) − log (1/N) Σₘ q(zₙ | xₘ)] in nats (Hoffman & Johnson 2016).

  The estimate from one sample of each posterior is at most ln N: a value near it is only a lower
  bound.
  """
  mean, logvar, latents = (np.asarray(x, np.float64) for x in (mean, logvar, latents))
  precision = np.exp(-logvar)
  # −2 log q up to a constant, as one product: z²·p − 2z·(m p) + Σ(m² p + log σ²).
  factors = np.concatenate([precision, -2 * mean * precision], axis=1).T
  offsets = np.sum(mean**2 * precision + logvar, axis=1)
  total = 0.0
  for rows in batches.pieces(len(latents), PIECE):
    piece = latents[rows]
    log_q = -0.5 * (np.concatenate([piece**2, piece], axis=1) @ factors + offsets)
    own = log_q[np.arange(len(piece)), rows.start + np.arange(len(piece))]
    total += np.sum(own - special.logsumexp(log_q, axis=1))
  return float(total / len(latents) + np.log(len(latents)))
