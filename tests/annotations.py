"""Checks annotated types, shapes and dtypes in every call; see conftest."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # where floats are expected, ints will do
