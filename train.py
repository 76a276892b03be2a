"""`python train.py` runs `python -m cvae_jax.train`: see cvae_jax/train.py, or --help."""

from cvae_jax.train import run

if __name__ == '__main__':
  run()
