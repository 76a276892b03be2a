"""Trained models that ship with the package.

Each model is a folder with `config.json`, `weights.safetensors`, `prior.safetensors` and a card,
`README.md`. `python -m tools.ship_weights` makes them.
"""

from cvae_jax.runtime.paths import SHIPPED as FOLDER
from cvae_jax.runtime.paths import WEIGHTS_FILE


def available() -> tuple[str, ...]:
  """The names of the models, which `cvae_jax.load` takes besides paths."""
  return tuple(sorted(path.parent.name for path in FOLDER.glob(f'*/{WEIGHTS_FILE}')))
