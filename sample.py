"""`python sample.py` runs `python -m cvae_jax.sample`: see cvae_jax/sample.py, or --help."""

from cvae_jax.sample import run

if __name__ == '__main__':
  run()
