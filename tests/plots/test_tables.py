"""Tables as text and CSV."""

import csv

from cvae_jax.plots import tables


def test_columns_are_aligned_with_their_headings():
  assert tables.as_text(('name', 'n'), [('a', '10'), ('long', '5')]) == (
    'name   n\na     10\nlong   5'
  )


def test_the_standard_deviation_is_that_of_a_sample():
  assert tables.mean_and_std([1.0, 3.0]) == '2.00 ± 1.41'
  assert tables.mean_and_std([1.25]) == '1.25'
  assert tables.mean_and_std([-0.001]) == '0.00'
  assert tables.mean_and_std([]) == '–'
  assert tables.mean_and_std([0.5, 0.5], digits=3) == '0.500 ± 0.000'


def test_a_csv_file_reads_back_as_the_same_numbers():
  text = tables.as_csv(['name', 'value'], [['a, "b"', 1 / 3], [None, 1e-300]])
  assert list(csv.reader(text.splitlines())) == [
    ['name', 'value'],
    ['a, "b"', repr(1 / 3)],
    ['', '1e-300'],
  ]
