"""What names of files and arrays say."""

import pytest

from cvae_jax.data.readers import roles
from cvae_jax.runtime.errors import InputError


@pytest.mark.parametrize(
  ('name', 'role'),
  [
    ('train_images', ('train', 'images')),
    ('val_labels', ('validation', 'labels')),
    ('x_test', ('test', 'images')),
    ('Y_valid', ('validation', 'labels')),
    ('images', ('train', 'images')),
    ('targets', ('train', 'labels')),
    ('t10k-images-idx3-ubyte', ('test', 'images')),
    ('emnist-byclass-test-labels-idx1-ubyte', ('test', 'labels')),
    ('kmnist-train-imgs', ('train', 'images')),
    ('masks', None),
    ('image_labels', None),
    ('train_test_images', None),
    ('arr_0', None),
  ],
)
def test_words_say_the_split_and_the_kind(name, role):
  assert roles.role_of(name) == role


def test_names_are_assigned_or_refused():
  train, test = roles.Role('train', 'images'), roles.Role('test', 'images')
  assert roles.assign(['x_test', 'x', 'z'], 'here', '') == {train: 'x', test: 'x_test'}
  with pytest.raises(InputError, match=r'here holds 2 .*train images: images, x\. Rename'):
    roles.assign(['x', 'images', 'x_test', 'images_test'], 'here', 'Rename one.')
  with pytest.raises(InputError, match=r'no training images.*x_test'):
    roles.assign(['x_test'], 'here', '')


@pytest.mark.parametrize(
  ('name', 'expected'),
  [
    ('angle', ('train', 'angle')),
    ('train_angle', ('train', 'angle')),
    ('Angle_TEST', ('test', 'Angle')),
    ('val-stroke_width', ('validation', 'stroke_width')),
    ('stroke.width.valid', ('validation', 'stroke.width')),
    ('test', ('train', 'test')),
    ('testing', ('train', 'testing')),
    ('trainer', ('train', 'trainer')),
    ('latest', ('train', 'latest')),
  ],
)
def test_a_column_has_the_rest_of_the_name(name, expected):
  assert roles.column_of(name) == expected
