"""The ResNet CVAE on your own arrays or IDX files: grey, 28×28, latent 16.

  python train.py --config configs/arrays.py --config.data.dir=FILE.npz

FILE.npz holds train_images and train_labels, and val_... and test_... if there are such splits, as
MedMNIST's files do; or x_train and y_train, or images and labels; a folder of .npy files of these
names does as well. 10 % are held out for each missing split. Images are uint8, or floats in [0, 1];
without labels, train with --config.conditional=False.

  python train.py --config configs/arrays.py --config.data.name=idx --config.data.dir=DIR

DIR holds IDX files, as EMNIST, KMNIST and QMNIST come. Set data.image_size (28, or 64,48 for height
and width) and data.channels as they are in the arrays. The likelihood is a Gaussian with a learned
standard deviation. Cost and results depend on your data.
"""

from ml_collections import ConfigDict

from cvae_jax import default_config


def get_config() -> ConfigDict:
  config = default_config()
  config.name = 'arrays'
  config.likelihood = 'gaussian_learned'
  config.data.name = 'arrays'
  config.data.num_classes = 0  # as many as there are
  config.data.validation_examples = 0  # 10 %
  return config
