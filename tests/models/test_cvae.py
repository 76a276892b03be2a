"""What holds for all architectures: conditioning, several draws, a learned σ, dropout."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvae_jax.models import cvae
from tiny import DENSE, tiny_config

NAMES = ['resnet', 'conv', 'conv_resize', 'mlp']


def built(**changes):
  model = cvae.build(tiny_config(**changes))
  return model, jax.jit(lambda key: cvae.init(model, key))(jax.random.key(0))


@pytest.mark.parametrize(
  ('name', 'conditional'),
  [
    pytest.param(name, on, marks=[] if name == 'mlp' else pytest.mark.slow)
    for name in NAMES
    for on in (False, True)
  ],
)
def test_the_class_reaches_both_sides_only_where_the_model_is_conditional(name, conditional):
  model, variables = built(model__name=name, conditional=conditional)
  assert ('class_embedding' in variables['params']) == conditional
  images, labels = jnp.ones((2, 8, 8, 1)), jnp.array([3, 7])
  run = jax.jit(
    lambda images: model.apply(
      variables, images, labels, draw=lambda mean, _: jnp.ones_like(mean), train=False
    )
  )
  forward = run(images)
  for array in (forward.mean, forward.logvar, forward.outputs):
    assert np.allclose(array[0], array[1]) != conditional


@pytest.mark.parametrize('shape', [(37, 22, 5), (8, 29, 2)])
@pytest.mark.parametrize('prior', ['standard', 'vamp'])
@pytest.mark.parametrize('name', NAMES)
def test_outputs_have_the_shape_of_the_images(name, prior, shape):
  fields = {'data__image_size': shape[:2], 'data__channels': shape[2], 'prior': prior}
  network = cvae.build(tiny_config(model__name=name, **fields))

  def run(key):
    variables = cvae.init(network, key)
    images, labels = jnp.ones((2, *shape)), jnp.array([3, 7])
    return network.apply(variables, images, labels, lambda mean, _: mean[None], train=False)

  forward = jax.eval_shape(run, jax.random.key(0))
  assert forward.outputs.shape == (1, 2, *shape)
  assert forward.mean.shape == (2, 3)


def test_several_draws_decode_as_each_for_itself():
  model, variables = built(**DENSE)
  latents, labels = jax.random.normal(jax.random.key(1), (4, 2, 3)), jnp.array([3, 7])
  decode = jax.jit(partial(model.apply, train=False, method='decode'))
  together = decode(variables, latents, labels)
  assert together.shape == (4, 2, 8, 8, 1)
  for draw, outputs in zip(latents, together, strict=True):
    np.testing.assert_allclose(outputs, decode(variables, draw, labels), atol=1e-5)


@pytest.mark.parametrize('likelihood', ['gaussian_learned', 'discretized_logistic'])
def test_a_learned_scale_is_one_weight_per_channel(likelihood):
  model, variables = built(likelihood=likelihood, data__channels=3, sigma=0.25, **DENSE)
  np.testing.assert_allclose(variables['params']['log_sigma'], np.log([0.25] * 3), rtol=1e-6)
  decode = jax.jit(partial(model.apply, train=False, method='decode'))
  outputs = decode(variables, jnp.ones((2, 3)), jnp.array([3, 7]))
  assert outputs.shape == (2, 8, 8, 6)
  np.testing.assert_allclose(outputs[..., 3:], np.log(0.25), rtol=1e-6)


@pytest.mark.parametrize(
  'name', [pytest.param(n, marks=[] if n == 'mlp' else pytest.mark.slow) for n in NAMES]
)
def test_dropout_is_drawn_in_training_only(name):
  model, variables = built(model__name=name, model__dropout=0.5)
  images, labels = jnp.ones((2, 8, 8, 1)), jnp.array([3, 7])

  @partial(jax.jit, static_argnums=0)
  def encode(train, key):
    rngs = {'dropout': jax.random.key(key)}
    return model.apply(variables, images, labels, train=train, method='encode', rngs=rngs)[0]

  np.testing.assert_array_equal(encode(False, 0), encode(False, 1))
  np.testing.assert_array_equal(encode(True, 0), encode(True, 0))
  assert not np.allclose(encode(True, 0), encode(True, 1))
  assert not np.allclose(encode(True, 0), encode(False, 0))


def test_looked_up_embeddings_are_those_of_the_product_with_one_hot_labels(monkeypatch):
  model, variables = built()
  images, labels = (
    jax.random.uniform(jax.random.key(1), (6, 8, 8, 1)),
    jnp.array([3, 7, 3, 0, 9, 3]),
  )

  def total(params):
    forward = model.apply(
      {'params': params}, images, labels, draw=lambda mean, _: mean, train=False
    )
    return jnp.sum(forward.outputs**2), forward.outputs

  run = lambda: jax.grad(total, has_aux=True)(variables['params'])  # noqa: E731
  gradient, outputs = run()
  monkeypatch.setattr(cvae, 'MAX_ONE_HOT', 9)
  other, same = run()
  np.testing.assert_allclose(same, outputs, rtol=1e-6)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), gradient, other)
  assert jnp.any(other['class_embedding']['kernel'][3] != 0)
  assert not jnp.any(other['class_embedding']['kernel'][1])
