"""Small Parquet files as Hugging Face's library writes them."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from PIL import Image

CELL = pa.struct([('bytes', pa.binary()), ('path', pa.string())])


def encoded(image, form='PNG'):
  file = io.BytesIO()
  Image.fromarray(image).save(file, form)
  return file.getvalue()


def images(count, seed=0, size=8):
  return np.random.RandomState(seed).randint(0, 256, (count, size, size), np.uint8)


def cells(pictures):
  return pa.array([{'bytes': encoded(picture), 'path': None} for picture in pictures], CELL)


def class_label(names, column='label'):
  """The metadata of a schema whose `column` is a ClassLabel."""
  features = {'image': {'_type': 'Image'}, column: {'names': list(names), '_type': 'ClassLabel'}}
  return {b'huggingface': json.dumps({'info': {'features': features}}).encode()}


def write(path, columns, metadata=None, **options):
  path.parent.mkdir(parents=True, exist_ok=True)
  table = pa.table(columns).replace_schema_metadata(metadata)
  pyarrow.parquet.write_table(table, path, **options)
  return path
