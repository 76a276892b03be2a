"""The PyTorch network of the benchmark is that of this package, and it trains."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvae_jax.models import gaussians
from cvae_jax.models.likelihoods import Bernoulli

torch = pytest.importorskip('torch', reason='PyTorch is not installed')

from benchmarks import pytorch_model, pytorch_training  # noqa: E402

RNG = np.random.RandomState(0)
IMAGES = torch.from_numpy(RNG.randint(0, 256, (64, 1, 28, 28), np.uint8))
LABELS = torch.from_numpy(RNG.randint(0, 10, 64))


def test_it_has_as_many_parameters_as_the_published_network():
  assert sum(weights.numel() for weights in pytorch_model.CVAE().parameters()) == 365_937


def test_its_loss_is_ours():
  logits, images = RNG.randn(5, 1, 28, 28), RNG.randint(0, 2, (5, 1, 28, 28)).astype('float32')
  mean, logvar = RNG.randn(5, 16), RNG.randn(5, 16)
  tensors = (torch.from_numpy(array) for array in (logits, mean, logvar, images))
  mean, logvar, images, logits = map(jnp.float32, (mean, logvar, images, logits))
  zeros = jnp.zeros_like(mean)
  kl = gaussians.kl(mean, logvar, zeros, zeros).sum(-1)
  log_prob = Bernoulli().log_prob(jnp.moveaxis(images, 1, -1), jnp.moveaxis(logits, 1, -1))
  ours = np.mean(-log_prob + 0.3 * kl)
  np.testing.assert_allclose(pytorch_model.negative_elbo(*tensors, 0.3), ours, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
  'options', [{}, {'loader': True}, {'channels_last': True, 'autocast': True}]
)
def test_its_loss_falls(options):
  torch.manual_seed(0)
  grey = IMAGES // 255 * 255  # mostly black: soon learned
  run = pytorch_training.make_run(
    pytorch_training.Options(**options), grey, LABELS, batch_size=16, device='cpu', threads=1
  )
  first = run(1)
  assert run(20) < first - 50


def test_every_image_is_seen_once_an_epoch():
  batches = pytorch_training._on_device(IMAGES, torch.arange(64), 16, 'cpu', 1)
  rows = torch.cat([next(batches)[1] for _ in range(4)])
  assert sorted(rows.tolist()) == list(range(64))
  assert jax.devices()  # both libraries in one process
