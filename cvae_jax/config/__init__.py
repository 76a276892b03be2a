"""Configs: one table of fields, their defaults and checks, the configs that ship, config.json."""

from cvae_jax.config.columns import Column, Inputs, asked, class_column, inputs_of, inputs_text
from cvae_jax.config.saved import FILE_NAME, MAX_BYTES, SavedConfig, from_plain, read, save
from cvae_jax.config.shipped import named, shipped_config, shipped_configs
from cvae_jax.config.table import (
  FIELDS,
  FREE,
  MAX_CHANNELS,
  MAX_STEPS,
  SHAPES,
  TEXT,
  TRACED,
  Effect,
  Field,
  Registered,
  having,
)
from cvae_jax.config.values import (
  Difference,
  check,
  check_fields,
  default,
  differences,
  fields,
  has_table,
  height_and_width,
  image_shape,
  is_in_memory,
  latent_shape,
  shares_program,
  shown_channels,
  with_data,
  with_defaults,
)
