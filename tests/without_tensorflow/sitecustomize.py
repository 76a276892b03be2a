"""Read by Python at its start, where PYTHONPATH names this folder: TensorFlow is not installed."""

from importlib.machinery import PathFinder

HIDDEN = {'tensorflow', 'tensorflow_datasets', 'tensorboard'}
find_spec = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: (
  None if name.split('.')[0] in HIDDEN else find_spec(name, *rest)
)
