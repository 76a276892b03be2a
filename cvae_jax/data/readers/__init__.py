"""One module per file format, which registers the data sets in that format."""

from cvae_jax.data.readers.sources import DATASETS, Source, Split

__all__ = ['DATASETS', 'Source', 'Split']
