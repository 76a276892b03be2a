"""Tables in text files, as spreadsheets write them: encoding and separator are found."""

import codecs
import csv
import io
import itertools
from pathlib import Path

from cvae_jax.data.readers import files
from cvae_jax.data.readers.decoding import SUFFIXES
from cvae_jax.runtime.errors import InputError
from cvae_jax.runtime.paths import printable

SEPARATORS = ',\t;'
SAMPLE_ROWS = 100  # to find the separator
MAX_BYTES = 1 << 28


def rows_of(path: Path) -> list[tuple[int, list[str]]]:
  """Line numbers and stripped cells of all rows that are not empty, two cells or more.

  The text is UTF-8, or UTF-16 with its mark; commas, tabs or semicolons separate cells.

  Raises:
    InputError: it is no such table.
  """
  text, shown = _text(path), printable(path)
  separator = max(SEPARATORS, key=lambda each: _fitness(text, each))
  rows, reader = [], csv.reader(io.StringIO(text, newline=''), delimiter=separator)
  try:
    for cells in reader:
      cells = [cell.strip() for cell in cells]
      if any(cells):
        rows.append((reader.line_num, cells))
  except csv.Error as error:
    raise InputError(f'{shown}, line {reader.line_num}: {error}.') from error
  if not rows:
    raise InputError(f'{shown} is empty, expected the file and the class of each picture.')
  width = len(rows[0][1])
  if width < 2:
    raise InputError(
      f'{shown} has one column only, {rows[0][1][0][:60]!r}: expected two, separated by commas, '
      'tabs or semicolons.'
    )
  for line, cells in rows:
    if len(cells) != width:
      raise InputError(
        f'{shown}, line {line} has {len(cells)} column(s), expected {width} as in line '
        f'{rows[0][0]}. Quote names that hold the separator {separator!r}.'
      )
  return rows


def _fitness(text, separator):
  """How well a separator fits: one number of columns in all rows, and pictures in the first."""
  reader = csv.reader(io.StringIO(text, newline=''), delimiter=separator)
  try:
    rows = [row for row in itertools.islice(reader, SAMPLE_ROWS) if row]
  except csv.Error:
    return (False, 0)
  widths = {len(row) for row in rows}
  pictures = sum(row[0].strip().lower().endswith(SUFFIXES) for row in rows)
  return (len(widths) == 1 and min(widths) > 1, pictures, max(widths, default=0) > 1)


def _text(path):
  content, shown = files.read_bytes(path, MAX_BYTES), printable(path)
  is_wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
  advice = 'Save it as UTF-8, for example with iconv -f latin1 -t utf-8.'
  try:
    text = content.decode('utf-16' if is_wide else 'utf-8-sig')
  except UnicodeDecodeError as error:
    line = content[: error.start].count(b'\n') + 1
    raise InputError(
      f'{shown}, line {line} is no UTF-8 (byte 0x{content[error.start]:02x}). {advice}'
    ) from error
  if '\0' in text:
    raise InputError(f'{shown} is no text in UTF-8. {advice}')
  return text
