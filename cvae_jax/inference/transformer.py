"""A trained encoder as a step of a scikit-learn pipeline."""

import math
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin


class PosteriorMeans(TransformerMixin, BaseEstimator):
  """Images to the means of q(z | x, c), [N, latent] float32; made by `Model.as_transformer`.

  The model is trained already: `fit` learns nothing. It can be pickled, the weights with it.
  """

  def __init__(self, model: Any, label: str | int | None = None):
    self.model = model
    self.label = label

  def fit(self, images: Any, labels: Any = None) -> 'PosteriorMeans':
    """Returns itself."""
    return self

  def transform(self, images: Any) -> np.ndarray:
    """The means, for images as `Model.encode` takes them, or flattened: [N, H·W·C].

    Raises:
      InputError: the images are none of this model, or `label` is not one of its classes.
    """
    images = np.asarray(images)
    shape = self.model.image_shape
    if images.shape[1:] == (math.prod(shape),):
      images = images.reshape(-1, *shape)
    if not self.model.has_classes:
      return self.model.encode(images)[0]
    label = 0 if self.label is None else self.model.label(self.label)
    return self.model.encode(images, np.full(len(images), label))[0]

  def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
    """z0, z1, ..."""
    return np.array([f'z{number}' for number in range(self.model.config.latent_dim)], object)

  def __sklearn_is_fitted__(self) -> bool:
    return True
