"""Latents for TensorBoard's projector, which shows them in three dimensions."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cvae_jax.plots import grids
from cvae_jax.runtime import paths

FOLDER = 'projector'
CONFIG_NAME = 'projector_config.pbtxt'  # where TensorBoard looks, beside the event files
# TensorBoard's limit is a sprite of 8192 pixels a side, and images have up to 256.
MAX_IMAGES = 1_000

CONFIG = """embeddings {{
  tensor_name: "latents"
  tensor_path: "{folder}/latents.tsv"
  metadata_path: "{folder}/labels.tsv"
  sprite {{
    image_path: "{folder}/sprite.png"
    single_image_dim: {width}
    single_image_dim: {height}
  }}
}}
"""


def write(
  workdir: Path,
  latents: np.ndarray,
  images: np.ndarray,
  described: Mapping[str, Sequence[str]],
) -> None:
  """Writes the latents with their images and what these are.

  Args:
    workdir: the run's folder.
    latents: [N, latent].
    images: uint8 [N, H, W, 1 or 3], N at most MAX_IMAGES.
    described: columns of [N] texts. The name of one alone is left out, as TensorBoard wants it.
  """
  folder = workdir / FOLDER
  height, width = images.shape[1:3]
  columns = int(np.ceil(np.sqrt(len(images))))
  tiles = np.pad(images, ((0, columns**2 - len(images)), (0, 0), (0, 0), (0, 0)))
  grids.save_png(folder / 'sprite.png', grids.tile(grids.rows_of(tiles, columns), border=0))
  rows = [
    '\t'.join(' '.join(text.split()) for text in row)
    for row in zip(*described.values(), strict=True)
  ]
  header = ['\t'.join(' '.join(name.split()) for name in described)] if len(described) > 1 else []
  lines = {
    folder / 'latents.tsv': ['\t'.join(f'{value:.6g}' for value in row) for row in latents],
    folder / 'labels.tsv': header + rows,
    workdir / CONFIG_NAME: [CONFIG.format(folder=FOLDER, width=width, height=height).rstrip()],
  }
  for path, texts in lines.items():
    with paths.whole(path) as temporary:
      temporary.write_text('\n'.join(texts) + '\n', encoding='utf-8')
