"""Keys are functions of seed, stream and place."""

import jax
import numpy as np

from cvae_jax.runtime import keys


def bits(key):
  return jax.random.key_data(key).tolist()


def test_a_stream_is_a_function_of_seed_and_name():
  assert bits(keys.stream(3, 'order')) == bits(keys.stream(3, 'order'))
  others = [keys.stream(4, 'order'), keys.stream(3, 'noise'), keys.stream(2**32 - 1, 'order')]
  assert all(bits(other) != bits(keys.stream(3, 'order')) for other in others)


def test_noise_of_an_example_does_not_depend_on_its_batch():
  key = keys.stream(0, 'pixels')
  whole = keys.per_example(key, np.arange(5))
  part = keys.per_example(key, np.array([4, 2]))
  assert bits(part) == bits(whole[np.array([4, 2])])
