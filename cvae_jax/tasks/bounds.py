"""What training counts: the KL with its free bits, and bounds on log p(x), in nats."""

import jax
import jax.numpy as jnp
from jax import Array


def with_free_bits(kl: Array, free_bits: float) -> Array:
  """The KL that the objective counts: of each group at least `free_bits`, of the batch mean.

  Below it a group has no gradient, so that it need not collapse (Kingma et al. 2016).

  Args:
    kl: [B, groups] nats; a group is one latent dimension, or all of them.
    free_bits: nats per group; 0 gives the mean over images of the sum.

  Returns:
    A scalar, summed over groups.
  """
  return jnp.sum(jnp.maximum(jnp.mean(kl, axis=0), free_bits))


def importance_weighted(log_weights: Array) -> Array:
  """log (1/k) Σᵢ wᵢ, a bound on log p(x) that rises with k (Burda et al. 2016).

  Args:
    log_weights: [k, ...] of log p(x | zᵢ) + log p(zᵢ) − log q(zᵢ | x), nats.

  Returns:
    [...] nats.
  """
  return jax.nn.logsumexp(log_weights, axis=0) - jnp.log(len(log_weights))
