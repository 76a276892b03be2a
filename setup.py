"""Packages of the wheel: the configs go into it as `cvae_jax.configs`."""

from setuptools import find_namespace_packages, setup

CONFIGS = {'cvae_jax.configs': 'configs', 'cvae_jax.configs.sweeps': 'configs/sweeps'}

setup(packages=[*find_namespace_packages(include=['cvae_jax*']), *CONFIGS], package_dir=CONFIGS)
