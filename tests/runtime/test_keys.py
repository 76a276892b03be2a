"""Random keys."""

import jax
import numpy as np
import pytest

from cvae_jax.runtime import keys
from cvae_jax.runtime.errors import InputError


def bits(key):
  return jax.random.key_data(key).tolist()


def test_a_stream_is_a_function_of_seed_and_name():
  assert bits(keys.stream(3, 'order')) == bits(keys.stream(3, 'order'))
  others = [keys.stream(4, 'order'), keys.stream(3, 'noise'), keys.stream(2**32 - 1, 'order')]
  assert all(bits(other) != bits(keys.stream(3, 'order')) for other in others)


def test_each_example_has_its_own_noise_whatever_its_batch():
  key = keys.stream(0, 'pixels')
  whole = keys.per_example(key, np.arange(5))
  some = keys.per_example(key, np.array([4, 2]))
  assert bits(some) == bits(whole[np.array([4, 2])])
  assert len(set(map(tuple, bits(whole)))) == 5


@pytest.mark.parametrize('seed', [-1, 2**32, 1.5])
def test_a_seed_of_a_user_is_checked(seed):
  assert bits(keys.of_user(3, 'order')) == bits(keys.stream(3, 'order'))
  with pytest.raises(InputError, match=f'seed={seed}'):
    keys.of_user(seed, 'order')
