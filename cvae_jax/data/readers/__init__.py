"""One module per file format."""

from cvae_jax.runtime.registry import Registry

DATASETS = Registry('data.name')
for _name in ('digits', 'mnist', 'fashion_mnist', 'cifar10', 'celeba', 'binarized_mnist', 'folder'):
  DATASETS.register(
    _name,
    binary=_name == 'binarized_mnist',
    mirrored=_name in ('fashion_mnist', 'cifar10', 'celeba'),
    own_test_split=_name not in ('digits', 'folder'),
  )(None)
