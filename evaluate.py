"""`python evaluate.py` runs `python -m cvae_jax.evaluate`: see cvae_jax/evaluate.py, or --help."""

from cvae_jax.evaluate import run

if __name__ == '__main__':
  run()
