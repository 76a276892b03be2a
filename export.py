"""`python export.py` runs `python -m cvae_jax.export`: see cvae_jax/export.py, or --help."""

from cvae_jax.export import run

if __name__ == '__main__':
  run()
