"""The ResNet CVAE on your own pictures, files or in Parquet: RGB, 64×64, latent 64.

  python train.py --config configs/folder.py --config.data.dir=DIR

DIR holds train/<class>/, and validation/<class>/ and test/<class>/ if there are such splits; or
only <class>/; then 10 % are held out for each missing split. A labels.csv in DIR names the classes
of pictures in any folders. Without classes, train/ or DIR itself holds the pictures of an
unconditional model (--config.conditional=False). Files are PNG, JPEG, WebP, BMP, TIFF or GIF of any
size: the largest centred part with the proportions of data.image_size is resized to it;
--config.data.fit=pad or stretch keeps all of a picture. --config.data.channels=1 converts them to
grey.

  python train.py --config configs/folder.py --config.data.name=parquet --config.data.dir=DIR

DIR holds the Parquet files of a Hugging Face data set, train-*.parquet and so on, there or in
data/. The likelihood is a Gaussian with a learned standard deviation. Cost and results depend on
your pictures.
"""

from ml_collections import ConfigDict

from cvae_jax import default_config


def get_config() -> ConfigDict:
  config = default_config()
  config.name = 'folder'
  config.latent_dim = 64
  config.likelihood = 'gaussian_learned'
  config.data.name = 'folder'
  config.data.image_size = 64
  config.data.channels = 3
  config.data.num_classes = 0  # as many as there are
  config.data.validation_examples = 0  # 10 %
  config.data.augment.flip_probability = 0.5
  config.model.channels = (32, 64, 128)
  return config
